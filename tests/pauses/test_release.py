"""Sending what was held because it was stale."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import ExecutionNotFound, InvalidTransition
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email


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
    released = engine.release(TENANT, stale.id)
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
