"""What keeps a version from being activated."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument, InvalidVersion, StillUsed
from tests.engine import TENANT, Engine, after, email, onboarding

SCORE = {"field_path": "score", "operator": ">", "expected_value": 1}
EVENT = {"type": "event", "trigger_event": "paid"}


def draft(engine: Engine, *steps: Any, **fields: Any) -> UUID:
    version: UUID = engine.author(*steps, activate=False, **fields).id
    return version


def problems(engine: Engine, version_id: UUID) -> list[tuple[str, str | None]]:
    return [(p.problem, p.step_key) for p in engine.validate_sequence_version(TENANT, version_id)]


def test_a_version_with_everything_in_it_is_sound(engine: Engine) -> None:
    version_id = draft(
        engine,
        email("welcome", conditions=[SCORE], transitions=[{"to": "tip", "conditions": [SCORE]}]),
        email("tip", timing=EVENT | {"timeout": "3 days", "on_timeout": "bye"}),
        email("bye", timing=after(1, "days"), transitions=[{"to": "welcome"}]),
        email("news", timing={"type": "cron", "cron_expression": "@daily", "recurring": True}),
        hooks=[{"key": "score", "url": "https://crm.example.com"}],
        goals=[{"hook": "score", "expected_value": 1}],
        entry=[{"to": "tip", "conditions": [SCORE]}, {"to": "welcome"}],
    )
    assert problems(engine, version_id) == []


def test_side_steps_alone_are_a_version(engine: Engine) -> None:
    version_id = draft(engine, email("receipt", timing=EVENT | {"recurring": True}))
    assert problems(engine, version_id) == []


@pytest.mark.parametrize("fields", [{"active": False}, {"active": False, "timing": EVENT}])
def test_a_version_begins_somewhere(engine: Engine, fields: dict[str, Any]) -> None:
    assert problems(engine, draft(engine, email("one", **fields))) == [("no_entry_path", None)]


def test_a_step_that_no_way_leads_to_is_a_problem(engine: Engine) -> None:
    version_id = draft(
        engine,
        email("one", transitions=[{"to": "three"}]),
        email("two"),
        email("three"),
        email("side", timing=EVENT | {"recurring": True}),
        email("off", active=False),
    )
    assert problems(engine, version_id) == [("unreachable_step", "two")]


def test_entry_transitions_choose_the_first_step(engine: Engine) -> None:
    version_id = draft(engine, email("one"), email("two"), entry=[{"to": "two"}])
    assert problems(engine, version_id) == [("unreachable_step", "one")]


def test_a_timeout_is_a_way(engine: Engine) -> None:
    waiting = EVENT | {"timeout": "3 days", "on_timeout": "three"}
    version_id = draft(
        engine,
        email("one", timing=waiting, transitions=[{"to": None}]),
        email("two", active=False),
        email("three"),
    )
    assert problems(engine, version_id) == []


@pytest.mark.parametrize("timing", [{"type": "immediate"}, EVENT | {"since": "enrollment"}])
def test_a_circle_without_a_wait_is_a_problem(engine: Engine, timing: dict[str, Any]) -> None:
    back = [{"to": "one", "conditions": [SCORE]}, {"to": None}]
    version_id = draft(engine, email("one"), email("two", timing=timing, transitions=back))
    assert problems(engine, version_id) == [("cycle_without_wait", "one")]
    (problem,) = engine.validate_sequence_version(TENANT, version_id)
    assert problem.detail == "comes back to itself at once: one, two"


def test_a_step_that_leads_to_itself_at_once_is_a_problem(engine: Engine) -> None:
    back = [{"to": "one", "conditions": [SCORE]}]
    assert problems(engine, draft(engine, email("one", transitions=back))) == [
        ("cycle_without_wait", "one")
    ]


@pytest.mark.parametrize(
    "timing", [after(1, "days"), {"type": "cron", "cron_expression": "0 9 * * *"}, EVENT]
)
def test_a_circle_with_a_wait_is_none(engine: Engine, timing: dict[str, Any]) -> None:
    back = [{"to": "one", "conditions": [SCORE]}, {"to": None}]
    version_id = draft(engine, email("one"), email("two", timing=timing, transitions=back))
    assert problems(engine, version_id) == []


def test_a_version_without_an_end_is_a_problem(engine: Engine) -> None:
    for_ever = email("one", timing=after(1, "days"), transitions=[{"to": "one"}])
    assert problems(engine, draft(engine, for_ever)) == [("no_completion", None)]


def test_a_goal_is_an_end(engine: Engine) -> None:
    for_ever = email("one", timing=after(1, "days"), transitions=[{"to": "one"}])
    assert problems(engine, draft(engine, for_ever, goals=[{"event": "bought"}])) == []


def test_a_step_with_a_way_out_of_the_version_is_a_problem(engine: Engine) -> None:
    version_id = draft(engine, email("one", transitions=[{"to": None}]))
    draft(engine, email("elsewhere"))
    engine.rows(
        "update dripdrop.step_transitions set to_step_id ="
        " (select id from dripdrop.steps where key = 'elsewhere') returning 1"
    )
    assert ("transition_leaves_version", "one") in problems(engine, version_id)


@pytest.mark.parametrize(
    "transitions", [{"one": [{"to": "side"}, {"to": None}]}, {"side": [{"to": None}]}]
)
def test_a_side_step_is_on_no_way(engine: Engine, transitions: dict[str, Any]) -> None:
    version_id = draft(
        engine,
        email("one", transitions=transitions.get("one", [])),
        email("side", timing=EVENT | {"recurring": True}, transitions=transitions.get("side", [])),
    )
    assert problems(engine, version_id) == [("transition_of_side_step", next(iter(transitions)))]


def test_a_mode_that_does_not_fit_its_conditions_is_a_problem(engine: Engine) -> None:
    version_id = draft(engine, email("one"), email("two"))
    engine.create_step_transition(TENANT, version_id, "one", "two", condition_mode="any")
    always = engine.create_step_transition(TENANT, version_id, "one", "two")
    engine.create_condition(TENANT, SCORE, transition_id=always.id)
    assert problems(engine, version_id) == [
        ("transition_without_conditions", "one"),
        ("conditions_without_effect", "one"),
    ]


CORRUPTIONS: list[tuple[str, str, str | None]] = [
    ('steps set timing = \'{"type": "someday"}\'', "invalid_timing", "one"),
    (
        'steps set timing = \'{"type": "cron", "cron_expression": "every day at 9am"}\'',
        "invalid_timing",
        "one",
    ),
    (
        'steps set timing = \'{"type": "cron", "cron_expression": "0 9 * * *",'
        ' "timezone": "foo5"}\'',
        "unknown_time_zone",
        "one",
    ),
    ("steps set config = '{\"max_retrys\": 1}'", "invalid_config", "one"),
    ('steps set config = \'{"time_zone": "foo5"}\'', "unknown_time_zone", "one"),
    ("steps set template_content = '{}'", "invalid_template", "one"),
    (
        'steps set timing = \'{"type": "event", "trigger_event": "x",'
        ' "timeout": "1 day", "on_timeout": "gone"}\'',
        "unknown_timeout_step",
        "one",
    ),
    ("sequences set time_zone = 'foo5'", "unknown_time_zone", None),
    ("conditions set predicate = '$.a' where predicate is not null", "invalid_condition", "one"),
    ("conditions set config = '{}' where sequence_id is not null", "invalid_condition", None),
    ("conditions set hook = 'gone' where hook is not null", "missing_hook", "one"),
    (
        "conditions set predicate = '$.hooks.x == 1' where predicate is not null",
        "missing_hook",
        "one",
    ),
    ("http_hooks set active = false", "inactive_hook", "one"),
]


@pytest.mark.parametrize(
    ("corruption", "problem", "step"), CORRUPTIONS, ids=[c for c, *_ in CORRUPTIONS]
)
def test_what_was_written_past_the_functions_is_found(
    engine: Engine, corruption: str, problem: str, step: str | None
) -> None:
    version_id = draft(
        engine,
        email(
            "one",
            conditions=[{"hook": "score", "expected_value": 1}],
            transitions=[{"to": None, "conditions": [{"predicate": "$.enrollment.a > 1"}]}],
        ),
        hooks=[{"key": "score", "url": "https://crm.example.com"}],
        goals=[{"event": "bought"}],
    )
    assert problems(engine, version_id) == []
    engine.connection.execute(f"update dripdrop.{corruption}".encode())
    assert problems(engine, version_id) == [(problem, step)]


def test_a_hook_cannot_choose_the_first_step(engine: Engine) -> None:
    hook = {"key": "score", "url": "https://example.com/score"}
    asked = [{"hook": "score", "operator": ">", "expected_value": 1}]
    version = engine.author(
        email("welcome"),
        hooks=[hook],
        entry=[{"to": "welcome", "conditions": asked}],
        activate=False,
    )
    problems = engine.validate_sequence_version(TENANT, version.id)
    assert ("hook_at_entry", 'hook "score"') in [(p.problem, p.detail) for p in problems]


def test_a_hook_may_be_a_sql_function_that_is_there(engine: Engine) -> None:
    engine.connection.execute(
        "create function public.score(dripdrop.enrollments, jsonb) returns jsonb"
        " language sql return '1'::jsonb"
    )
    (function,) = engine.rows("select 'public.score'::regproc::oid::int as oid")
    engine.connection.execute(
        "select dripdrop.create_hook(%s, 'score', %s::oid::regprocedure)", [TENANT, function.oid]
    )
    version_id = draft(engine, email("one", conditions=[{"hook": "score", "expected_value": 1}]))
    assert problems(engine, version_id) == []
    engine.connection.execute("drop function public.score")
    assert problems(engine, version_id) == [("missing_hook_function", "one")]


def test_a_sender_of_the_sequence_that_cannot_send_is_a_problem(engine: Engine) -> None:
    theirs = engine.create_channel_adapter("other", "post", "email", "smtp")
    version_id = draft(engine, email("one"))
    for adapter in (str(theirs.id), "00000000-0000-0000-0000-000000000000"):
        for field, value in (
            ("channel_adapters", adapter),
            ("channel_rotation", [{"adapter_id": adapter, "weight": 1}]),
        ):
            engine.connection.execute(
                "update dripdrop.sequences set metadata = %s",
                [Jsonb({field: {"email": value, "webhook": value}})],
            )
            assert problems(engine, version_id) == [("missing_channel_adapter", None)]


def test_a_default_rotation_with_a_sender_that_is_off_is_a_problem(engine: Engine) -> None:
    ours = engine.create_channel_adapter(TENANT, "mail", "email", "smtp")
    rotation = {"channel_rotation": {"default": ["mail"]}}
    version_id = engine.apply(TENANT, onboarding(email("one"), metadata=rotation)).id
    assert problems(engine, version_id) == []
    engine.update_channel_adapter(TENANT, ours.id, active=False)
    assert problems(engine, version_id) == [("adapter_inactive", None)]


def test_an_outbound_version_needs_a_pool_with_senders(engine: Engine) -> None:
    def with_pool(**config: Any) -> list[tuple[str, str | None]]:
        return problems(engine, draft(engine, email("one"), mode="outbound", config=config))

    assert with_pool() == [("outbound_requires_pool", None)]
    nobody = "00000000-0000-0000-0000-000000000000"
    assert with_pool(pool_id=nobody) == [("missing_adapter_pool", None)]
    (theirs,) = engine.rows(
        "insert into dripdrop.adapter_pools (tenant_key, name) values ('other', 'a') returning id"
    )
    assert with_pool(pool_id=str(theirs.id)) == [("missing_adapter_pool", None)]
    (ours,) = engine.rows(
        "insert into dripdrop.adapter_pools (tenant_key, name) values (%s, 'a') returning id",
        TENANT,
    )
    assert with_pool(pool_id=str(ours.id)) == [("pool_empty", None)]
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp")
    engine.rows(
        "insert into dripdrop.adapter_pool_members (tenant_key, pool_id, adapter_id)"
        " values (%s, %s, %s) returning id",
        TENANT,
        ours.id,
        adapter.id,
    )
    assert with_pool(pool_id=str(ours.id)) == []


def test_a_refused_activation_names_all_of_it(engine: Engine) -> None:
    back = [{"to": "one", "conditions": [{"hook": "score", "expected_value": 1}]}]
    version_id = draft(engine, email("one", transitions=back), email("two"))
    with engine.refused(InvalidVersion) as refusal:
        engine.activate_sequence_version(TENANT, version_id)
    detail = refusal.value.diag.message_detail or ""
    found = [part.split()[0] for part in detail.split("; ")]
    assert found == ["unreachable_step", "cycle_without_wait", "missing_hook"]


def test_a_document_with_a_problem_is_not_activated(engine: Engine) -> None:
    with engine.refused(InvalidVersion):
        engine.apply(TENANT, onboarding(email("one", transitions=[{"to": "one"}])))


LINKED = {"subject": "Hello", "html": '<a href="{{ unsubscribe_url }}">Stop</a>', "text": "Hello"}


@pytest.mark.parametrize(
    ("config", "is_sound"),
    [
        ({}, False),
        ({"unsubscribe": True, "kind": "transactional"}, False),
        ({"kind": "transactional"}, True),
        ({"unsubscribe": False}, True),
    ],
)
def test_a_link_to_unsubscribe_needs_an_address(
    engine: Engine, config: dict[str, Any], is_sound: bool
) -> None:
    version_id = draft(engine, email("welcome", template=LINKED, config=config))
    found = problems(engine, version_id)
    assert found == ([] if is_sound else [("no_unsubscribe_url", "welcome")])
    if not is_sound:
        with engine.refused(InvalidVersion):
            engine.activate_sequence_version(TENANT, version_id)
    engine.update_tenant_settings(None, unsubscribe_url="https://mail.acme.example")
    assert problems(engine, version_id) == []
    assert engine.activate_sequence_version(TENANT, version_id).state == "active"


def test_what_names_the_link_keeps_its_address(engine: Engine) -> None:
    engine.update_tenant_settings(None, unsubscribe_url="https://mail.example")
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    version = engine.author(email("welcome", template=LINKED))
    engine.update_tenant_settings(TENANT, unsubscribe_url="")
    with engine.refused(StillUsed):
        engine.update_tenant_settings(None, unsubscribe_url="")
    (welcome,) = engine.list_steps(TENANT, version.id)
    engine.update_step_content(TENANT, welcome.id, {"subject": "Hello", "text": "Hello"})
    engine.update_tenant_settings(None, unsubscribe_url="")
    with engine.refused(InvalidArgument):
        engine.update_step_content(TENANT, welcome.id, LINKED)
