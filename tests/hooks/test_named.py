"""Which hooks a step waits for: those that its words and its conditions name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine import Engine, email
from tests.hooks.conftest import add_function, add_hook

ON_SCORE = {"hook": "score", "operator": ">", "expected_value": 70}


def named(engine: Engine) -> dict[str, list[str]]:
    """Return the hooks of every step."""
    return {row.key: row.hooks for row in engine.rows("select key, hooks from dripdrop.steps")}


def http(*keys: str) -> list[dict[str, str]]:
    """Return the HTTP hooks of a document."""
    return [{"key": key, "url": "https://api.example.com/"} for key in keys]


@pytest.mark.parametrize(
    "words",
    [
        "{{ score }}",
        "{{score}}",
        "{{- score -}}",
        "Yours: {{ score | default: 'none' }}!",
        "{{ score.value }}",
        "{% if score > 70 %}Good{% endif %}",
        "{%\nif\nscore %}Good{% endif %}",
        "{{ name }} {{ score }}",
    ],
)
def test_words_name_a_hook(engine: Engine, words: str) -> None:
    engine.author(email("welcome", template={"subject": "Hello", "text": words}))
    add_hook(engine)
    assert named(engine) == {"welcome": ["score"]}


@pytest.mark.parametrize(
    "words", ["Your score", "{{ name }} score {{ name }}", "{{ scored }}", "{{ my_score }}", ""]
)
def test_other_words_name_none(engine: Engine, words: str) -> None:
    engine.author(email("welcome", template={"subject": "Hello", "text": words + "."}))
    add_hook(engine)
    assert named(engine) == {"welcome": []}


def test_words_deep_in_a_template_count(engine: Engine) -> None:
    body = {"lead": [{"score": "{{ score }}"}]}
    engine.author({"key": "notify", "channel": "webhook", "template": {"body": body}})
    add_hook(engine)
    assert named(engine) == {"notify": ["score"]}


def test_a_condition_of_a_step_names_its_hook(engine: Engine) -> None:
    engine.author(email("welcome"), email("tip", conditions=[ON_SCORE]), hooks=http("score"))
    assert named(engine) == {"welcome": [], "tip": ["score"]}


def test_a_condition_of_a_transition_is_for_the_step_it_leaves(engine: Engine) -> None:
    ways = [{"to": "tip", "conditions": [ON_SCORE]}, {"to": None}]
    engine.author(email("welcome", transitions=ways), email("tip"), hooks=http("score"))
    assert named(engine) == {"welcome": ["score"], "tip": []}


def test_a_goal_is_for_every_step(engine: Engine) -> None:
    engine.author(email("welcome"), email("tip"), goals=[ON_SCORE], hooks=http("score"))
    assert named(engine) == {"welcome": ["score"], "tip": ["score"]}


@pytest.mark.parametrize(
    ("predicate", "hooks"),
    [
        ("$.hooks.score > 70", ["score"]),
        ('$.hooks."lead-score" > 70', ["lead-score"]),
        ("$.hooks.score > 70 && $.enrollment.plan == $.hooks.plan", ["plan", "score"]),
        ("exists($.hooks ? (@.score > 70))", ["score"]),
        ("$.enrollment.score > 70", []),
        ("$.hooks.other > 70 && $.enrollment.score > 70", ["other"]),
    ],
)
def test_a_predicate_names_the_hooks_in_it(
    engine: Engine, predicate: str, hooks: list[str]
) -> None:
    step = email("welcome", conditions=[{"predicate": predicate}])
    engine.author(step, hooks=http("score", "plan", "other", "lead-score"))
    assert named(engine) == {"welcome": hooks}


def test_a_hook_that_is_switched_off_counts(engine: Engine) -> None:
    engine.author(email("welcome", template={"subject": "Hello", "text": "{{ score }}"}))
    add_hook(engine, active=False)
    assert named(engine) == {"welcome": ["score"]}


def test_functions_count_of_the_tenant_and_shared(engine: Engine) -> None:
    text = "{{ mine }} {{ shared }} {{ theirs }}"
    engine.author(email("welcome", template={"subject": "Hello", "text": text}))
    for key, tenant in {"mine": "acme", "shared": None, "theirs": "other"}.items():
        add_function(engine, key=key, tenant_key=tenant)
    assert named(engine) == {"welcome": ["mine", "shared"]}


def test_a_hook_of_another_sequence_does_not_count(engine: Engine) -> None:
    engine.author(email("welcome"))
    add_hook(engine)
    other = email("hello", template={"subject": "Hello", "text": "{{ score }}"})
    engine.author(other, key="other", name="Other")
    assert named(engine) == {"welcome": [], "hello": []}


@pytest.mark.parametrize("add", [add_hook, add_function])
def test_a_hook_that_comes_later_is_found_in_what_is_active(engine: Engine, add: Any) -> None:
    engine.author(email("welcome", template={"subject": "Hello", "text": "{{ score }}"}))
    add(engine)
    assert engine.rows("select hooks from dripdrop.steps")[0].hooks == ["score"]
