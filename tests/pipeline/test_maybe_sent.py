"""What may have arrived says so, whatever becomes of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

Stop = Callable[[Engine, UUID], Any]

STOPS: dict[str, tuple[Stop, str]] = {
    "suppressed": (lambda e, _: e.suppress(TENANT, "email", "sam@example.com"), "skipped"),
    "ended": (lambda e, enrollment: e.unenroll(TENANT, enrollment), "cancelled"),
    "switched off": (
        lambda e, _: e.connection.execute("update dripdrop.steps set active = false"),
        "skipped",
    ),
}


def may_have_left(engine: Engine, clock: Clock) -> Any:
    """Bring a message to its second try, after one that nobody knows the end of."""
    engine.author(email("welcome", config={"on_unknown": "at_least_once"}))
    sam = engine.join()
    (claim,) = engine.claim()
    engine.record([claim], "maybe_sent")
    clock.advance(minutes=20)
    assert engine.reconcile().resent == 1
    assert engine.last(sam.id).maybe_sent_at == claim.claimed_at
    return sam


@pytest.mark.parametrize("stop", STOPS)
def test_what_is_stopped_before_its_second_try_says_that_it_may_have_arrived(
    engine: Engine, clock: Clock, stop: str
) -> None:
    sam = may_have_left(engine, clock)
    claimed_at = engine.last(sam.id).maybe_sent_at
    call, state = STOPS[stop]
    call(engine, sam.id)
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.state, execution.maybe_sent_at) == (state, claimed_at)
    (past,) = (row for row in engine.explain(TENANT, sam.id) if row.phase == "past")
    assert f"it may have arrived, sent {claimed_at:%Y-%m-%d %H:%M:%S} UTC" in past.detail


def test_the_record_of_a_skip_says_so_too(engine: Engine, clock: Clock) -> None:
    sam = may_have_left(engine, clock)
    engine.suppress(TENANT, "email", "sam@example.com")
    engine.tick()
    (skip,) = engine.rows(
        "select event_data from dripdrop.message_events where event_type = 'suppressed'"
    )
    assert skip.event_data["maybe_sent_at"].startswith("2026-03-02T09:00:00")
    assert engine.enrollment(sam.id).state == "completed"


def test_what_was_unknown_when_its_enrolment_ended_says_so(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"on_unknown": "at_least_once"}))
    sam = engine.join()
    (claim,) = engine.claim()
    engine.unenroll(TENANT, sam.id)
    clock.advance(timedelta(hours=1))
    engine.reconcile()
    engine.reconcile(timedelta(0))
    execution = engine.last(sam.id)
    assert (execution.state, execution.maybe_sent_at) == ("cancelled", claim.claimed_at)


def test_what_was_sent_once_has_no_doubt_about_it(engine: Engine) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    engine.deliver("retry")
    assert engine.last(sam.id).maybe_sent_at is None
