"""Holding an enrolment and letting it go on, wherever its message is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from dripdrop.errors import EnrollmentNotFound, InvalidTransition
from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, after, email

STOPPABLE = ["scheduled", "queued", "rendered"]


@pytest.mark.parametrize("state", STOPPABLE)
def test_a_paused_message_goes_nowhere(engine: Engine, clock: Clock, state: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    assert engine.pause_enrollment(TENANT, sam.id).state == "paused"
    clock.advance(days=30)
    assert engine.deliver() == []
    assert engine.last(sam.id).reason == "enrollment_paused"
    assert engine.ledger() == []


@pytest.mark.parametrize("state", STOPPABLE)
def test_a_paused_message_goes_out_after_the_resume(
    engine: Engine, clock: Clock, state: str
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=30)
    assert engine.resume_enrollment(TENANT, sam.id).state == "active"
    assert len(engine.deliver()) == 1
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]
    assert engine.ledger() == []


def test_what_was_still_to_wait_is_waited_after_the_resume(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days")))
    sam = engine.join()
    clock.advance(days=1)
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=10)
    engine.resume_enrollment(TENANT, sam.id)
    execution = engine.last(sam.id)
    assert execution.due_at == clock.now + timedelta(days=2)
    assert execution.scheduled_for == execution.due_at


def test_pausing_twice_keeps_what_was_left_at_the_first(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days")))
    sam = engine.join()
    paused = engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=2)
    assert engine.pause_enrollment(TENANT, sam.id) == paused
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=3)


def test_two_pauses_add_up(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days")))
    sam = engine.join()
    for _ in range(2):
        clock.advance(days=1)
        engine.pause_enrollment(TENANT, sam.id)
        clock.advance(days=7)
        engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=1)


def test_an_overdue_message_is_due_at_the_resume_and_alone(engine: Engine, clock: Clock) -> None:
    engine.author(*(email(f"day-{day}", timing=after(1, "days")) for day in range(5)))
    sam = engine.join()
    clock.advance(days=2)
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=30)
    engine.resume_enrollment(TENANT, sam.id)
    assert len(engine.deliver()) == 1
    assert engine.deliver() == []
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=1)


def test_resuming_an_active_enrolment_changes_nothing(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    before = engine.contents()
    clock.advance(hours=1)
    assert engine.resume_enrollment(TENANT, sam.id) == sam
    assert engine.contents() == before


def test_a_message_that_had_left_is_recorded_while_paused(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims)
    assert [x.state for x in engine.executions(sam.id)] == ["sent"]
    assert engine.enrollment(sam.id).state == "paused"
    assert engine.ledger() == []


def test_the_resume_goes_on_after_a_message_that_was_recorded_while_paused(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims)
    clock.advance(days=7)
    engine.resume_enrollment(TENANT, sam.id)
    assert [(x.step, x.state) for x in engine.executions(sam.id)] == [
        ("welcome", "sent"),
        ("tip", "scheduled"),
    ]
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=3)


def test_the_resume_completes_when_the_last_message_was_recorded_while_paused(
    engine: Engine,
) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims)
    assert engine.resume_enrollment(TENANT, sam.id).state == "completed"


def test_the_resume_waits_for_a_message_that_is_still_under_way(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.resume_enrollment(TENANT, sam.id)
    assert [x.state for x in engine.executions(sam.id)] == ["sending"]
    engine.record(claims)
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]


def test_a_retry_recorded_while_paused_waits_for_the_resume(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims, "retry", retry_after=600)
    assert engine.last(sam.id).due_at is None
    assert engine.ledger() == []
    clock.advance(days=1)
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == clock.now + timedelta(minutes=10)


def test_a_failure_recorded_while_paused_ends_the_enrolment(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims, "failed")
    assert engine.enrollment(sam.id).exit_reason == "step_failed"
    assert engine.ledger() == []


def test_an_unknown_message_is_presumed_sent_while_paused_and_goes_on_at_the_resume(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("unknown", sam.id)
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(hours=1)
    assert engine.reconcile().presumed_sent == 1
    assert len(engine.executions(sam.id)) == 1
    engine.resume_enrollment(TENANT, sam.id)
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]


@pytest.mark.parametrize("state", ["completed", "cancelled"])
def test_an_ended_enrolment_is_neither_paused_nor_resumed(engine: Engine, state: str) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    if state == "completed":
        engine.deliver()
    else:
        engine.unenroll(TENANT, sam.id)
    for function in (engine.pause_enrollment, engine.resume_enrollment):
        with engine.refused(InvalidTransition):
            function(TENANT, sam.id)


def test_an_unknown_enrolment_is_not_found(engine: Engine) -> None:
    for function in (engine.pause_enrollment, engine.resume_enrollment, engine.unenroll):
        with engine.refused(EnrollmentNotFound):
            function(TENANT, uuid4())


def test_a_pause_that_rolls_back_holds_nothing(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    with engine.connection.transaction(force_rollback=True):
        engine.pause_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == START
    assert len(engine.deliver()) == 1


@pytest.mark.slow
def test_a_pause_waits_for_the_record_that_completes_the_enrolment_and_comes_too_late(
    engine: Engine, other: Engine
) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    claims = engine.claim()
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.record(claims)
            pause = pool.submit(other.pause_enrollment, TENANT, sam.id)
            engine.wait_until_blocked(other.connection)
        with pytest.raises(InvalidTransition):
            pause.result(20)
    assert engine.enrollment(sam.id).state == "completed"


@pytest.mark.slow
def test_a_result_is_put_aside_for_the_pause_and_completes_nothing(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    claims = engine.claim()
    with engine.connection.transaction():
        engine.pause_enrollment(TENANT, sam.id)
        other.record(claims)
    clock.advance(seconds=1)
    engine.tick()
    assert engine.enrollment(sam.id).state == "paused"
    assert engine.executions(sam.id)[0].state == "sent"
    assert engine.ledger() == []
