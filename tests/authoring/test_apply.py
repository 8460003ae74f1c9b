"""A whole sequence from one document: apply and plan."""

from __future__ import annotations

import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    DripdropError,
    InvalidArgument,
    InvalidCondition,
    InvalidDefinition,
    InvalidTenantKey,
    InvalidTiming,
    InvalidVersion,
    UnknownProvider,
    UnknownTimeZone,
)
from tests.conftest import Clock
from tests.engine import TEMPLATE, TENANT, Engine, after, email, onboarding


def versions(engine: Engine) -> list[tuple[int, str]]:
    return [
        (row.version, row.state)
        for row in engine.rows("select version, state from dripdrop.sequence_versions order by 1")
    ]


def planned(engine: Engine, definition: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(p.action, p.object, p.field) for p in engine.plan(TENANT, definition)]


def test_a_document_becomes_an_active_version_with_its_steps_in_order(engine: Engine) -> None:
    version = engine.apply(TENANT, onboarding())
    assert (version.version, version.state) == (1, "active")
    steps = engine.rows("select key, position, timing from dripdrop.steps order by position")
    assert steps == [("welcome", 1, {"type": "immediate"}), ("tip", 2, after(3, "days"))]


def test_the_same_document_twice_changes_nothing(engine: Engine, clock: Clock) -> None:
    first = engine.apply(TENANT, onboarding())
    before = engine.contents()
    clock.advance(hours=1)
    assert engine.apply(TENANT, onboarding()).id == first.id
    assert engine.contents() == before


def test_what_is_left_out_is_the_same_as_its_default(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(email("welcome")))
    engine.apply(
        TENANT,
        onboarding(
            email("welcome", timing={"type": "immediate"}, config={}, active=True, name="welcome"),
            mode="lifecycle",
            config={},
            reentry="never",
        ),
    )
    assert versions(engine) == [(1, "active")]


def test_a_changed_step_makes_a_new_active_version(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(email("welcome")))
    engine.apply(TENANT, onboarding(email("welcome", timing=after(1, "hours"))))
    assert versions(engine) == [(1, "archived"), (2, "active")]


def test_a_changed_name_changes_the_sequence_and_makes_no_version(engine: Engine) -> None:
    engine.apply(TENANT, onboarding())
    engine.apply(TENANT, onboarding(name="Welcome!", description="New", reentry="after_exit"))
    assert versions(engine) == [(1, "active")]
    assert engine.rows("select name, description, reentry from dripdrop.sequences") == [
        ("Welcome!", "New", "after_exit")
    ]


def test_former_content_makes_the_former_version_active_again(engine: Engine) -> None:
    for steps in (["a"], ["a", "b"], ["a"]):
        engine.apply(TENANT, onboarding(*map(email, steps)))
    assert versions(engine) == [(1, "active"), (2, "archived")]


def test_a_document_may_stay_a_draft_and_be_activated_later(engine: Engine) -> None:
    draft = engine.apply(TENANT, onboarding(activate=False))
    assert draft.state == "draft"
    assert engine.apply(TENANT, onboarding(activate=False)).id == draft.id
    activated = engine.apply(TENANT, onboarding())
    assert (activated.id, activated.state) == (draft.id, "active")


def test_a_draft_document_leaves_the_active_version_active(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(email("a")))
    engine.apply(TENANT, onboarding(email("b"), activate=False))
    assert versions(engine) == [(1, "active"), (2, "draft")]


def test_a_document_with_problems_writes_nothing(engine: Engine) -> None:
    engine.apply(TENANT, onboarding())
    with engine.refused(InvalidVersion):
        engine.apply(TENANT, onboarding(email("hello", config={"topic": "none"}), name="Changed"))


@pytest.mark.slow
def test_the_same_document_from_two_at_once_makes_one_version(
    engine: Engine, other: Engine
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            first = engine.apply(TENANT, onboarding())
            second = pool.submit(other.apply, TENANT, onboarding())
            engine.wait_until_blocked(other.connection)
        assert second.result().id == first.id
    assert versions(engine) == [(1, "active")]


def test_two_tenants_apply_the_same_document_apart(engine: Engine) -> None:
    ours = engine.apply(TENANT, onboarding())
    theirs = engine.apply("other", onboarding())
    assert ours.sequence_id != theirs.sequence_id


def test_the_plan_of_a_new_sequence_is_all_of_it(engine: Engine) -> None:
    assert planned(engine, onboarding()) == [
        ("create", "sequence onboarding", None),
        ("create", "version 1", None),
        ("add", "step welcome", None),
        ("add", "step tip", None),
    ]


def test_planning_writes_nothing(engine: Engine) -> None:
    before = engine.contents()
    engine.plan(TENANT, onboarding())
    assert engine.contents() == before


def test_the_plan_of_what_was_applied_is_empty(engine: Engine) -> None:
    definition = onboarding(
        email("welcome", adapter="post", config={"max_retries": 1}),
        description="All about it",
        time_zone="Europe/Berlin",
        metadata={"team": "growth"},
    )
    engine.create_channel_adapter(TENANT, "post", "email", "smtp")
    engine.apply(TENANT, definition)
    assert planned(engine, definition) == []


def test_the_plan_shows_each_changed_field_with_its_values(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(email("a"), email("b"), email("c")))
    changed = onboarding(email("a", timing=after(1, "hours")), email("c"), email("d"), name="New")
    assert planned(engine, changed) == [
        ("change", "sequence onboarding", "name"),
        ("create", "version 2", None),
        ("change", "step a", "timing"),
        ("change", "step c", "position"),
        ("remove", "step b", None),
        ("add", "step d", None),
    ]
    timing = next(p for p in engine.plan(TENANT, changed) if p.field == "timing")
    assert (timing.old, timing.new) == ({"type": "immediate"}, after(1, "hours"))


def test_the_plan_of_former_content_activates_the_former_version(engine: Engine) -> None:
    for steps in (["a"], ["a", "b"]):
        engine.apply(TENANT, onboarding(*map(email, steps)))
    assert planned(engine, onboarding(email("a"))) == [
        ("activate", "version 1", None),
        ("remove", "step b", None),
    ]


def whole() -> dict[str, Any]:
    """Return a document with everything in it."""
    return onboarding(
        email(
            "welcome",
            conditions=[{"predicate": "$.hooks.score > 1"}, {"event": "left", "happened": False}],
            transitions=[
                {"to": "offer", "when": "any", "conditions": [{"event": "seen"}, HELD]},
                {"to": None, "conditions": [{"field_path": "plan", "expected_value": None}]},
                {"to": "tip"},
            ],
        ),
        email("tip", timing=after(3, "days")),
        email("offer", transitions=[{"to": None}]),
        hooks=[HOOK],
        goals=[{"event": "bought", "name": "Bought"}, {"hook": "score", "expected_value": 9}],
        exit_when=[{"predicate": "$.enrollment.plan == null"}],
        entry=[{"to": "tip", "conditions": [{"days": ["mon"]}]}, {"to": "welcome"}],
        reentry="always",
        reentry_interval="30 days",
        config={"hop_limit": 20},
    )


def test_a_whole_document_twice_changes_nothing(engine: Engine, clock: Clock) -> None:
    first = engine.apply(TENANT, whole())
    before = engine.contents()
    clock.advance(hours=1)
    assert engine.apply(TENANT, whole()).id == first.id
    assert engine.contents() == before
    assert planned(engine, whole()) == []


def test_the_routes_of_a_document_are_stored_in_their_order(engine: Engine) -> None:
    engine.apply(TENANT, whole())
    routes = engine.rows(
        "select a.key as start, t.priority, t.condition_mode, b.key as goal,"
        " (select count(*) from dripdrop.conditions as c where c.transition_id = t.id)"
        " from dripdrop.step_transitions as t"
        " left join dripdrop.steps as a on a.id = t.from_step_id"
        " left join dripdrop.steps as b on b.id = t.to_step_id"
        " order by a.position nulls first, t.priority"
    )
    assert routes == [
        (None, 1, "all", "tip", 1),
        (None, 2, "always", "welcome", 0),
        ("welcome", 1, "any", "offer", 2),
        ("welcome", 2, "all", None, 1),
        ("welcome", 3, "always", "tip", 0),
        ("offer", 1, "always", None, 0),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"goals": []},
        {"exit_when": [{"event": "left"}]},
        {"reentry_interval": "7 days"},
        {"hooks": [{"key": "score", "url": "https://crm.example.com/other"}]},
    ],
)
def test_what_belongs_to_the_sequence_changes_in_place(
    engine: Engine, change: dict[str, Any]
) -> None:
    engine.apply(TENANT, whole())
    changed = whole() | change
    ((action, _, field),) = planned(engine, changed)
    engine.apply(TENANT, changed)
    assert (action, field) == ("change", "url" if "hooks" in change else next(iter(change)))
    assert versions(engine) == [(1, "active")]
    assert planned(engine, changed) == []


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"entry": [{"to": "welcome"}]}, ("change", "version 2", "entry")),
        ({"config": {}}, ("change", "version 2", "config")),
        ({"mode": "outbound", "activate": False}, ("change", "version 2", "mode")),
    ],
)
def test_what_belongs_to_the_version_makes_a_new_one(
    engine: Engine, change: dict[str, Any], row: tuple[str, str, str]
) -> None:
    engine.apply(TENANT, whole())
    changed = whole() | change
    assert planned(engine, changed) == [("create", "version 2", None), row]
    engine.apply(TENANT, changed)
    assert len(versions(engine)) == 2


@pytest.mark.parametrize("field", ["conditions", "transitions"])
def test_a_changed_rule_of_a_step_makes_a_new_version(engine: Engine, field: str) -> None:
    engine.apply(TENANT, whole())
    changed = whole()
    del changed["steps"][0][field][0]
    assert planned(engine, changed) == [
        ("create", "version 2", None),
        ("change", "step welcome", field),
    ]


def test_the_plan_of_a_new_hook_names_it(engine: Engine) -> None:
    engine.apply(TENANT, onboarding())
    assert planned(engine, onboarding(hooks=[HOOK])) == [("create", "hook score", None)]


def test_a_hook_that_is_left_out_stays(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(hooks=[HOOK]))
    assert planned(engine, onboarding()) == []
    engine.apply(TENANT, onboarding())
    assert engine.rows("select key from dripdrop.http_hooks") == [("score",)]


def test_the_secrets_of_a_hook_survive_a_changed_document(engine: Engine) -> None:
    version = engine.apply(TENANT, onboarding())
    sealed = b64encode(bytes([1] * 40)).decode()
    engine.create_http_hook(
        TENANT, version.sequence_id, "score", HOOK["url"], auth_type="bearer", auth_config=sealed
    )
    kept = "select auth_config from dripdrop.http_hooks"
    before = engine.rows(kept)
    changed = HOOK | {"auth_type": "bearer", "url": "https://crm.example.com/other"}
    engine.apply(TENANT, onboarding(hooks=[changed]))
    assert engine.rows(kept) == before != [(None,)]


def test_the_steps_of_a_version_ask_the_hooks_they_name(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(email("welcome", conditions=[HOOKED]), hooks=[HOOK]))
    assert engine.rows("select hooks from dripdrop.steps") == [(["score"],)]


def test_a_document_that_names_no_such_hook_writes_nothing(engine: Engine) -> None:
    with engine.refused(InvalidVersion) as refusal:
        engine.apply(TENANT, onboarding(email("welcome", conditions=[HOOKED])))
    assert 'missing_hook welcome (hook "score")' in (refusal.value.diag.message_detail or "")


STEP = {"key": "a", "channel": "email", "template": TEMPLATE}
HOOKED = {"hook": "score", "expected_value": 1}
HOOK = {"key": "score", "url": "https://crm.example.com/score"}
HELD = {"predicate": "$.enrollment.score > 1"}
BROKEN = {"predicate": "$.enrollment.score"}

FAULTS: list[tuple[Any, type[DripdropError], str]] = [
    ({"kye": "x"}, InvalidDefinition, "kye"),
    ({"steps": None}, InvalidDefinition, "steps"),
    ({"steps": []}, InvalidDefinition, "steps"),
    ({"steps": {}}, InvalidDefinition, "steps"),
    ({"activate": "yes"}, InvalidDefinition, "activate"),
    ({"key": "No"}, InvalidArgument, "key"),
    ({"name": None}, InvalidArgument, "name"),
    ({"reentry": "sometimes"}, InvalidArgument, "reentry"),
    ({"reentry_interval": "30 days"}, InvalidArgument, "reentry_interval"),
    (
        {"reentry": "always", "reentry_interval": "often"},
        InvalidArgument,
        "reentry_interval",
    ),
    ({"config": {"hop_limit": 0}}, InvalidArgument, "config.hop_limit"),
    ({"config": {"hop_limit": 1001}}, InvalidArgument, "config.hop_limit"),
    ({"config": {"pool_id": "x"}}, InvalidArgument, "config.pool_id"),
    ({"config": {"pool": 1}}, InvalidArgument, "config.pool"),
    ({"hooks": {}}, InvalidDefinition, "hooks"),
    ({"hooks": [{"key": "score"}]}, InvalidArgument, "hooks[0].url"),
    ({"hooks": [HOOK | {"auth_config": "c2Vj"}]}, InvalidArgument, "hooks[0].auth_config"),
    ({"hooks": [HOOK, HOOK]}, InvalidDefinition, "hooks[1].key"),
    ({"goals": {}}, InvalidCondition, "goals"),
    ({"goals": [{"type": "event"}]}, InvalidCondition, "goals[0].event"),
    ({"goals": [5]}, InvalidCondition, "goals[0]"),
    (
        {"exit_when": [{"event": "left"}, {"predicate": "$.a"}]},
        InvalidCondition,
        "exit_when[1].predicate",
    ),
    ({"entry": [{}]}, InvalidDefinition, "entry[0].to"),
    ({"entry": [{"to": "b"}]}, InvalidDefinition, "entry[0].to"),
    ({"steps": [STEP | {"conditions": {}}]}, InvalidCondition, "steps[0].conditions"),
    (
        {"steps": [STEP | {"conditions": [{"hook": "score", "operator": "~"}]}]},
        InvalidCondition,
        "steps[0].conditions[0].operator",
    ),
    ({"steps": [STEP | {"transitions": 7}]}, InvalidDefinition, "steps[0].transitions"),
    ({"steps": [STEP | {"transitions": [7]}]}, InvalidDefinition, "steps[0].transitions[0]"),
    (
        {"steps": [STEP | {"transitions": [{"to": None, "if": []}]}]},
        InvalidDefinition,
        "steps[0].transitions[0].if",
    ),
    (
        {"steps": [STEP | {"transitions": [{"to": "nowhere"}]}]},
        InvalidDefinition,
        "steps[0].transitions[0].to",
    ),
    (
        {"steps": [STEP | {"transitions": [{"to": None, "when": "often"}]}]},
        InvalidDefinition,
        "steps[0].transitions[0].when",
    ),
    (
        {"steps": [STEP | {"transitions": [{"to": None, "when": "any"}]}]},
        InvalidDefinition,
        "steps[0].transitions[0].when",
    ),
    (
        {"steps": [STEP | {"transitions": [{"to": None, "conditions": [HELD, BROKEN]}]}]},
        InvalidCondition,
        "steps[0].transitions[0].conditions[1].predicate",
    ),
    (
        {
            "steps": [
                STEP
                | {
                    "timing": {
                        "type": "event",
                        "trigger_event": "paid",
                        "timeout": "3 days",
                        "on_timeout": "nowhere",
                    }
                }
            ]
        },
        InvalidDefinition,
        "steps[0].timing.on_timeout",
    ),
    ({"metadata": []}, InvalidArgument, "metadata"),
    ({"mode": "sideways"}, InvalidArgument, "mode"),
    ({"config": 5}, InvalidArgument, "config"),
    ({"time_zone": "foo5"}, UnknownTimeZone, "time_zone"),
    ({"steps": [5]}, InvalidArgument, "steps[0]"),
    ({"steps": [STEP, STEP]}, InvalidDefinition, "steps[1].key"),
    ({"steps": [STEP | {"chanel": "x"}]}, InvalidArgument, "steps[0].chanel"),
    ({"steps": [STEP | {"key": "A b"}]}, InvalidArgument, "steps[0].key"),
    ({"steps": [STEP | {"position": 2}]}, InvalidDefinition, "steps[0].position"),
    ({"steps": [STEP | {"name": {"x": 1}}]}, InvalidArgument, "steps[0].name"),
    (
        {"steps": [STEP | {"template": {"subject": 7}}]},
        InvalidArgument,
        "steps[0].template.subject",
    ),
    (
        {"steps": [STEP | {"template": TEMPLATE | {"headers": [1]}}]},
        InvalidArgument,
        "steps[0].template.headers",
    ),
    ({"name": 7}, InvalidDefinition, "name"),
    ({"description": {}}, InvalidDefinition, "description"),
    ({"steps": [STEP | {"active": "no"}]}, InvalidArgument, "steps[0].active"),
    ({"steps": [STEP | {"channel": "fax"}]}, UnknownProvider, "steps[0].channel"),
    ({"steps": [STEP | {"adapter": "x"}]}, AdapterNotFound, "steps[0].adapter"),
    ({"steps": [STEP | {"timing": {"type": "x"}}]}, InvalidTiming, "steps[0].timing.type"),
    (
        {"steps": [STEP, STEP | {"key": "b", "timing": after(0, "days")}]},
        InvalidTiming,
        "steps[1].timing.delay_amount",
    ),
    (
        {"steps": [STEP | {"template": {"subject": "x"}}]},
        InvalidArgument,
        "steps[0].template.html",
    ),
    (
        {"steps": [STEP | {"config": {"on_stale": "x"}}]},
        InvalidArgument,
        "steps[0].config.on_stale",
    ),
]


@pytest.mark.parametrize(
    ("fault", "error", "path"), FAULTS, ids=[json.dumps(fault) for fault, *_ in FAULTS]
)
def test_a_fault_is_named_by_its_path(
    engine: Engine, fault: dict[str, Any], error: type[DripdropError], path: str
) -> None:
    definition = {"key": "onboarding", "name": "Onboarding", "steps": [STEP]} | fault
    for function in (engine.plan, engine.apply):
        with engine.refused(error) as refusal:
            function(TENANT, definition)
        assert refusal.value.diag.column_name == path
        assert f'at "{path}"' in str(refusal.value)


@pytest.mark.parametrize("definition", [[], [{"key": "onboarding"}]])
def test_a_document_is_an_object(engine: Engine, definition: list[Any]) -> None:
    with engine.refused(InvalidDefinition):
        engine.apply(TENANT, definition)


@pytest.mark.parametrize("tenant_key", ["", ":acme"])
def test_a_document_needs_a_valid_tenant_key(engine: Engine, tenant_key: str) -> None:
    with engine.refused(InvalidTenantKey):
        engine.apply(tenant_key, onboarding())


def test_a_version_made_step_by_step_is_known_by_its_content(engine: Engine) -> None:
    sequence = engine.create_sequence(TENANT, "onboarding", "Onboarding")
    version = engine.create_sequence_version(TENANT, sequence.id)
    for step in onboarding()["steps"]:
        engine.create_step(TENANT, version.id, **step)
    engine.activate_sequence_version(TENANT, version.id)
    assert engine.plan(TENANT, onboarding()) == []
    assert engine.apply(TENANT, onboarding()).id == version.id
