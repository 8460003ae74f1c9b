"""Ending an enrolment for good, wherever its message is."""

from __future__ import annotations

import pytest

from dripdrop.errors import InvalidArgument, InvalidTransition
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered"])
def test_nothing_leaves_after_an_unenrolment(engine: Engine, clock: Clock, state: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    ended = engine.unenroll(TENANT, sam.id, "churned")
    assert (ended.state, ended.exit_reason, ended.cancelled_at) == (
        "cancelled",
        "churned",
        clock.now,
    )
    clock.advance(days=30)
    assert engine.deliver() == []
    assert [(x.state, x.reason) for x in engine.executions(sam.id)] == [("cancelled", "churned")]
    assert engine.ledger() == []


def test_a_paused_enrolment_can_be_ended(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    assert engine.unenroll(TENANT, sam.id).exit_reason == "unenrolled"
    assert engine.last(sam.id).state == "cancelled"


def test_a_message_that_had_left_is_recorded_and_goes_no_further(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.unenroll(TENANT, sam.id)
    engine.record(claims)
    assert [x.state for x in engine.executions(sam.id)] == ["sent"]
    assert engine.enrollment(sam.id).state == "cancelled"
    assert engine.ledger() == []


def test_a_message_that_had_left_is_not_tried_again(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.unenroll(TENANT, sam.id)
    engine.record(claims, "retry")
    assert [(x.state, x.reason) for x in engine.executions(sam.id)] == [
        ("cancelled", "enrollment_ended")
    ]


def test_an_unknown_message_is_not_sent_again_after_the_end(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"on_unknown": "at_least_once"}))
    sam = engine.join()
    engine.bring_to("unknown", sam.id)
    engine.unenroll(TENANT, sam.id)
    clock.advance(hours=1)
    engine.reconcile()
    assert engine.last(sam.id).state == "cancelled"
    assert engine.ledger() == []


@pytest.mark.parametrize("end", ["completed", "cancelled"])
def test_what_has_ended_cannot_end_again(engine: Engine, end: str) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    if end == "completed":
        engine.deliver()
    else:
        engine.unenroll(TENANT, sam.id)
    with engine.refused(InvalidTransition):
        engine.unenroll(TENANT, sam.id)


@pytest.mark.parametrize("reason", ["", None])
def test_an_end_has_a_reason(engine: Engine, reason: str) -> None:
    engine.author()
    sam = engine.join()
    with engine.refused(InvalidArgument):
        engine.unenroll(TENANT, sam.id, reason)


@pytest.mark.parametrize(
    ("end", "state"), [("completed", "active"), ("cancelled", "active"), ("completed", "paused")]
)
def test_what_has_ended_stays_ended_whoever_writes(engine: Engine, end: str, state: str) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    if end == "completed":
        engine.deliver()
    else:
        engine.unenroll(TENANT, sam.id)
    with engine.refused(InvalidTransition):
        engine.rows(
            "update dripdrop.enrollments set state = %s, exit_reason = null returning 1", state
        )
