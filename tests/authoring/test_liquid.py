"""Liquid in SQL: a filter or tag that there is not is refused where a template is written."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from liquid import Environment
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument
from dripdrop.templates.dialect import FILTERS, TAGS
from dripdrop.templates.liquid import MESSAGE, REQUEST, template_faults
from tests.engine import TENANT, Engine, email, onboarding
from tests.hooks.conftest import add_hook

MADE = {
    "filter": "{{ name | upcse }}",
    "tag": "{% fi %}",
    "include": "{% include 'footer' %}",
    "filter of a tag": "{% assign a = name | upcse %}",
    "second filter": "{{ name | append: ' | ' | upcse }}",
    "filter on the next line": "{{ name\n  | upcse }}",
    "no blanks": "{{name|upcse}}",
    "hyphens": "{{- name | upcse -}}",
    "line of liquid": "{% liquid\n  assign a = name\n  echo a | upcse\n%}",
    "tag in liquid": "{% liquid\n  fi\n%}",
    "behind a quote": """{{ name | append: "it's" | upcse }}""",
    "behind raw": "{% raw %}{{ a | b }}{% endraw %}{{ name | upcse }}",
}
SOUND = {
    "prose": "a | upcse {fi}",
    "text": "{{ 'a | upcse' }}",
    "raw": "{% raw %}{{ name | upcse }}{% fi %}{% endraw %}",
    "comment": "{%- comment -%}{{ name | upcse }}{% fi %}{%- endcomment -%}",
    "doc": "{% doc %}{{ name | upcse }}{% enddoc %}",
    "line comment": "{% # fi | upcse %}",
    "comment in liquid": "{% liquid\n  # fi\n  comment\n    fi | upcse\n  endcomment\n  echo a\n%}",
    "branches": "{% if a %}{% elsif b %}{% else %}{% endif %}",
    "case": "{% case a %}{% when 1 %}{% else %}{% endcase %}",
    "loops": "{% for i in a %}{% break %}{% continue %}{% endfor %}{% cycle 'a', 'b' %}",
    "filters": "{{ name | strip | default: 'x' | upcase }}",
}


def words(engine: Engine, escaping: str) -> dict[str, set[str]]:
    """Return the filters and tags that SQL knows."""
    rows = engine.rows("select * from dripdrop._liquid_words(%s)", escaping)
    return {row.kind: set(row.words) for row in rows}


def environments() -> dict[str, Environment]:
    """Return the environments that render, by what SQL calls them."""
    return {"message": MESSAGE["html"], **REQUEST}


@pytest.mark.parametrize("escaping", ["message", "url", "form", "json"])
def test_sql_knows_the_filters_and_tags_of_the_renderer(engine: Engine, escaping: str) -> None:
    environment = environments()[escaping]
    known = words(engine, escaping)
    assert known["filter"] == set(environment.filters)
    tags = {*TAGS} & {*environment.tags, "raw"}
    assert known["tag"] == tags.union(*(TAGS[tag] for tag in tags))


def test_the_renderer_has_every_filter_and_tag_of_the_dialect() -> None:
    assert environments()["message"].filters.keys() == set(FILTERS)
    assert environments()["message"].tags.keys() >= set(TAGS) - {"raw"}


@pytest.mark.parametrize("text", MADE.values(), ids=MADE)
def test_a_filter_or_tag_that_there_is_not_is_refused(
    engine: Engine, draft_id: UUID, text: str
) -> None:
    assert template_faults(text)
    with engine.refused(InvalidArgument) as refusal:
        engine.create_step(TENANT, draft_id, "one", "email", {"subject": "Hi", "text": text})
    assert re.fullmatch(r'(filter|tag) ".+" is unknown', str(refusal.value.diag.message_primary))
    assert refusal.value.diag.column_name == "template.text"


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_what_the_renderer_takes_is_taken(engine: Engine, draft_id: UUID, text: str) -> None:
    assert not template_faults(text)
    engine.create_step(TENANT, draft_id, "one", "email", {"subject": "Hi", "text": text})


def test_apply_says_where_and_what_there_is(engine: Engine) -> None:
    template = {"subject": "Hi", "text": "Hi", "headers": {"X-Plan": "{{ plan | upcse }}"}}
    with engine.refused(InvalidArgument) as refusal:
        engine.apply(TENANT, onboarding(email("welcome", template=template)))
    assert 'filter "upcse" is unknown' in str(refusal.value)
    assert refusal.value.diag.column_name == "steps[0].template.headers"
    assert "upcase" in str(refusal.value.diag.message_hint)


def test_words_that_are_mended_are_looked_at_as_well(engine: Engine) -> None:
    engine.author(email("welcome"))
    (step,) = engine.rows("select id from dripdrop.steps")
    with engine.refused(InvalidArgument) as refusal:
        engine.update_step_content(TENANT, step.id, {"subject": "Hi", "text": "{% fi %}"})
    assert 'tag "fi"' in str(refusal.value)


def test_a_stored_template_with_such_a_filter_keeps_its_version_from_being_activated(
    engine: Engine,
) -> None:
    version = engine.author(email("welcome"), activate=False)
    engine.connection.execute(
        "update dripdrop.steps set template_content = template_content || %s",
        [Jsonb({"text": "{{ a | b }}"})],
    )
    problems = engine.validate_sequence_version(TENANT, version.id)
    assert [row.problem for row in problems] == ["invalid_template"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "https://a.example/{{ x | json }}"}, "url"),
        ({"url": "https://a.example/{% echo x %}"}, "url"),
        ({"body_template": "{{ x | upcse }}"}, "body_template"),
        (
            {
                "body_template": "{{ x | json }}",
                "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            },
            "body_template",
        ),
    ],
)
def test_a_hooks_request_has_the_words_of_its_part(
    engine: Engine, fields: dict[str, Any], field: str
) -> None:
    engine.author()
    with engine.refused(InvalidArgument) as refusal:
        add_hook(engine, **fields)
    assert refusal.value.diag.column_name == field


def test_a_json_body_has_a_filter_of_its_own(engine: Engine) -> None:
    engine.author()
    assert add_hook(engine, body_template='{"plan": {{ plan | json }}}')
