"""A whole sequence from one document: apply and plan."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    DripdropError,
    InvalidArgument,
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
    engine.create_channel_adapter(TENANT, "post", "email", "smtp", active=False)
    with engine.refused(InvalidVersion):
        engine.apply(TENANT, onboarding(email("hello", adapter="post"), name="Changed"))


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


STEP = {"key": "a", "channel": "email", "template": TEMPLATE}

FAULTS: list[tuple[Any, type[DripdropError], str]] = [
    ({"kye": "x"}, InvalidDefinition, "kye"),
    ({"steps": None}, InvalidDefinition, "steps"),
    ({"steps": []}, InvalidDefinition, "steps"),
    ({"steps": {}}, InvalidDefinition, "steps"),
    ({"activate": "yes"}, InvalidDefinition, "activate"),
    ({"key": "No"}, InvalidArgument, "key"),
    ({"name": None}, InvalidArgument, "name"),
    ({"reentry": "always"}, InvalidArgument, "reentry"),
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
