"""The ledger is empty, and whatever is put out of place by force is found."""

from __future__ import annotations

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

STATES = ["scheduled", "queued", "rendered", "sending", "unknown", "sent", "failed"]


@pytest.mark.parametrize("state", STATES)
def test_it_is_empty_wherever_a_message_is(engine: Engine, state: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    assert engine.ledger() == []


def test_it_is_empty_when_everyone_is_through(engine: Engine, clock: Clock) -> None:
    engine.author()
    for name in ("sam", "eve"):
        engine.join(name)
    for _ in range(2):
        engine.deliver()
        clock.advance(days=3)
    assert engine.ledger() == []
    assert engine.list_active_enrollments(TENANT) == []


@pytest.mark.parametrize(
    ("state", "damage", "problem"),
    [
        (
            "scheduled",
            "delete from dripdrop.step_executions",
            "active enrolment with nothing to come",
        ),
        (
            "scheduled",
            "update dripdrop.enrollments set state = 'cancelled', exit_reason = 'x'",
            "message to come of an enrolment that has ended",
        ),
        (
            "queued",
            "update dripdrop.enrollments set state = 'completed', exit_reason = 'x'",
            "message to come of an enrolment that has ended",
        ),
        (
            "scheduled",
            "update dripdrop.enrollments set state = 'paused'",
            "message due of an enrolment that is paused",
        ),
        (
            "rendered",
            "update dripdrop.enrollments set state = 'paused'",
            "message due of an enrolment that is paused",
        ),
        (
            "scheduled",
            "update dripdrop.step_executions set due_at = null, waits_for = 'enrollment'",
            "scheduled message that nothing will look at",
        ),
        (
            "queued",
            "delete from pgmq.q_dripdrop_render",
            "message under way that no queue points to",
        ),
        (
            "queued",
            "update dripdrop.step_executions set fence = fence + 1",
            "message under way that no queue points to",
        ),
        (
            "rendered",
            "delete from pgmq.q_dripdrop_send_email",
            "message under way that no queue points to",
        ),
        (
            "rendered",
            "update dripdrop.step_executions set state = 'queued'",
            "message under way that no queue points to",
        ),
    ],
)
def test_what_is_out_of_place_is_found(
    engine: Engine, state: str, damage: str, problem: str
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    with engine.unguarded():
        engine.rows(f"{damage} returning 1")
    assert engine.ledger() == [problem]


def test_a_claim_that_nobody_takes_back_is_found(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("sending", sam.id)
    clock.advance(minutes=12)
    assert engine.ledger() == []
    clock.advance(seconds=1)
    assert engine.ledger() == ["claim whose lease ran out, not taken back"]
    engine.reconcile()
    assert engine.ledger() == []


def test_a_message_whose_queue_is_gone_is_found(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.tick()
    engine.stop()
    assert engine.ledger() == ["message under way that no queue points to"]


def test_a_stale_message_on_hold_is_in_its_place(engine: Engine, clock: Clock) -> None:
    engine.author(email("a", config={"stale_after": "1 day", "on_stale": "hold"}))
    engine.join()
    clock.advance(days=2)
    engine.tick()
    assert engine.ledger() == []
