"""Transitions: ways from step to step of one draft version."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import (
    AlreadyExists,
    InvalidArgument,
    StepNotFound,
    VersionNotDraft,
    VersionNotFound,
)
from tests.engine import TEMPLATE, TENANT, Engine


@pytest.fixture
def draft_id(engine: Engine, draft_id: UUID) -> UUID:
    for key in ("hello", "offer"):
        engine.create_step(TENANT, draft_id, key, "email", TEMPLATE)
    return draft_id


def test_a_transition_joins_steps_by_key(engine: Engine, draft_id: UUID) -> None:
    engine.create_step_transition(TENANT, draft_id, "hello", "offer")
    joined = engine.rows(
        "select a.key as start, b.key as goal, t.condition_mode, t.priority"
        " from dripdrop.step_transitions as t"
        " join dripdrop.steps as a on a.id = t.from_step_id"
        " join dripdrop.steps as b on b.id = t.to_step_id"
    )
    assert joined == [("hello", "offer", "always", 1)]


def test_from_nowhere_is_the_entry_and_to_nowhere_completes(engine: Engine, draft_id: UUID) -> None:
    entry = engine.create_step_transition(TENANT, draft_id, to_step="offer")
    end = engine.create_step_transition(TENANT, draft_id, from_step="offer")
    assert (entry.from_step_id, end.to_step_id) == (None, None)
    assert entry.to_step_id == end.from_step_id


def test_transitions_are_tried_in_the_order_they_were_added(engine: Engine, draft_id: UUID) -> None:
    for priority in (None, 5, None):
        engine.create_step_transition(TENANT, draft_id, "hello", "offer", priority=priority)
    engine.create_step_transition(TENANT, draft_id, "offer", "hello")
    priorities = engine.rows("select priority from dripdrop.step_transitions order by id")
    assert [t.priority for t in priorities] == [1, 5, 6, 1]


def test_a_priority_is_taken_once(engine: Engine, draft_id: UUID) -> None:
    engine.create_step_transition(TENANT, draft_id, to_step="hello", priority=1)
    with engine.refused(AlreadyExists):
        engine.create_step_transition(TENANT, draft_id, to_step="offer", priority=1)


@pytest.mark.parametrize("field", ["from_step", "to_step"])
def test_a_step_of_another_version_is_not_found(engine: Engine, draft_id: UUID, field: str) -> None:
    sequence = engine.rows("select id from dripdrop.sequences")[0]
    second = engine.create_sequence_version(TENANT, sequence.id)
    engine.create_step(TENANT, second.id, "elsewhere", "email", TEMPLATE)
    fields: dict[str, Any] = {field: "elsewhere"}
    with engine.refused(StepNotFound) as refusal:
        engine.create_step_transition(TENANT, draft_id, **fields)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"condition_mode": "often"}, "condition_mode"),
        ({"condition_mode": None}, "condition_mode"),
        ({"config": []}, "config"),
        ({"config": None}, "config"),
    ],
)
def test_a_bad_field_is_named(
    engine: Engine, draft_id: UUID, fields: dict[str, Any], field: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.create_step_transition(TENANT, draft_id, "hello", **fields)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize("tenant", ["other", None])
def test_a_version_of_another_tenant_is_not_found(
    engine: Engine, draft_id: UUID, tenant: str | None
) -> None:
    with engine.refused(VersionNotFound):
        engine.create_step_transition(tenant, draft_id, "hello")
    with engine.refused(VersionNotFound):
        engine.create_step_transition(TENANT, uuid4(), "hello")


def test_an_active_version_takes_no_more_transitions(engine: Engine) -> None:
    version = engine.author()
    with engine.refused(VersionNotDraft):
        engine.create_step_transition(TENANT, version.id, "welcome", "tip")
