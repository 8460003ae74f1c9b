"""Sending what was held because it was stale."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    DripdropError,
    ExecutionNotFound,
    InvalidArgument,
    InvalidTransition,
    SequenceNotFound,
    StepNotFound,
)
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email


@pytest.fixture
def stale(engine: Engine, clock: Clock) -> Any:
    """A message that is held because it is stale."""
    engine.author(email("welcome", config={"stale_after": "1 day", "on_stale": "hold"}))
    sam = engine.join()
    clock.advance(days=7)
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.state, execution.reason, execution.due_at) == ("scheduled", "stale", None)
    return execution


def test_a_released_message_leaves(engine: Engine, clock: Clock, stale: Any) -> None:
    (released,) = engine.release(TENANT, stale.id)
    assert (released.reason, released.due_at) == ("released", clock.now)
    assert len(engine.deliver()) == 1
    assert engine.last(stale.enrollment_id).state == "sent"


def test_a_released_message_may_grow_stale_again(engine: Engine, clock: Clock, stale: Any) -> None:
    engine.release(TENANT, stale.id)
    clock.advance(days=2)
    engine.tick()
    assert engine.last(stale.enrollment_id).reason == "stale"


def test_what_is_not_held_as_stale_is_not_released(engine: Engine, stale: Any) -> None:
    engine.release(TENANT, stale.id)
    with engine.refused(InvalidTransition):
        engine.release(TENANT, stale.id)
    engine.pause_enrollment(TENANT, stale.enrollment_id)
    with engine.refused(InvalidTransition):
        engine.release(TENANT, stale.id)


def test_an_execution_of_another_tenant_is_not_found(engine: Engine, stale: Any) -> None:
    for tenant, execution in [("other", stale.id), (None, stale.id), (TENANT, uuid4())]:
        with engine.refused(ExecutionNotFound):
            engine.release(tenant, execution)


@pytest.fixture
def crowd(engine: Engine, clock: Clock) -> dict[str, Any]:
    """Messages of two steps of one sequence, through two senders, that are held as stale."""
    engine.create_channel_adapter(TENANT, "other", "email", "smtp")
    engine.author(
        email("welcome", config={"stale_after": "1 day"}),
        email("tip", adapter="other", config={"stale_after": "1 day"}),
        email("later", timing=after(30, "days")),
    )
    people = {"sam": engine.join(), "kim": engine.join("kim", starting_step="tip")}
    clock.advance(days=7)
    assert engine.tick().held == 2
    return people


@pytest.mark.parametrize(
    ("named", "whose"),
    [
        ({"sequence": "onboarding"}, ["sam", "kim"]),
        ({"sequence": "onboarding", "step": "tip"}, ["kim"]),
        ({"adapter": "other"}, ["kim"]),
        ({"adapter": "email"}, ["sam"]),
        ({"sequence": "onboarding", "step": "tip", "adapter": "email"}, []),
    ],
)
@pytest.mark.parametrize("call", ["release", "skip_held"])
def test_a_sequences_a_steps_and_a_senders_go_with_one_call(
    engine: Engine, crowd: dict[str, Any], call: str, named: dict[str, Any], whose: list[str]
) -> None:
    rows = getattr(engine, call)(TENANT, **named)
    assert {row.enrollment_id for row in rows} == {crowd[name].id for name in whose}
    for name, enrollment in crowd.items():
        first = engine.executions(enrollment.id)[0]
        if name not in whose:
            assert (first.state, first.waits_for) == ("scheduled", "release")
        elif call == "release":
            assert (first.state, first.reason, first.waits_for) == ("scheduled", "released", None)
        else:
            assert (first.state, first.reason) == ("skipped", "stale")
            assert engine.last(enrollment.id).state == "scheduled"
    assert engine.ledger() == []


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({}, InvalidArgument),
        ({"step": "welcome"}, InvalidArgument),
        ({"sequence": "nothing"}, SequenceNotFound),
        ({"sequence": "onboarding", "step": "nothing"}, StepNotFound),
        ({"adapter": "nothing"}, AdapterNotFound),
    ],
)
@pytest.mark.parametrize("call", ["release", "skip_held"])
def test_what_is_named_must_be_there(
    engine: Engine,
    crowd: dict[str, Any],
    call: str,
    named: dict[str, Any],
    error: type[DripdropError],
) -> None:
    with engine.refused(error):
        getattr(engine, call)(TENANT, **named)


def test_of_what_is_locked_nothing_is_waited_for(
    engine: Engine, other: Engine, crowd: dict[str, Any]
) -> None:
    with other.connection.transaction():
        other.rows("select id from dripdrop.enrollments where id = %s for update", crowd["sam"].id)
        rows = engine.release(TENANT, sequence="onboarding")
    assert [row.enrollment_id for row in rows] == [crowd["kim"].id]
