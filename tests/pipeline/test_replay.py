"""Sending again what failed."""

from __future__ import annotations

from uuid import uuid4

import pytest

from dripdrop.errors import ExecutionNotFound, InvalidTransition
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email


def test_a_replay_is_due_now_under_a_new_key(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    failed = engine.bring_to("failed", sam.id)
    clock.advance(days=1)
    replayed = engine.replay(TENANT, failed.id)
    assert (replayed.state, replayed.due_at, replayed.reason) == (
        "scheduled",
        clock.now,
        "replayed",
    )
    again = engine.last(sam.id).idempotency_key
    assert again != failed.idempotency_key
    assert again == engine.idempotency_key(
        sam.id, failed.step_id, failed.occurrence, failed.attempt_window + 1
    )


def test_a_replay_revives_the_enrolment_that_the_failure_ended(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    failed = engine.bring_to("failed", sam.id)
    assert engine.enrollment(sam.id).exit_reason == "step_failed"
    engine.replay(TENANT, failed.id)
    revived = engine.enrollment(sam.id)
    assert (revived.state, revived.exit_reason, revived.cancelled_at) == ("active", None, None)
    assert engine.ledger() == []


def test_a_replay_revives_nobody_who_was_unenrolled_with_the_same_word(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.unenroll(TENANT, sam.id, "step_failed")
    engine.record(claims, "failed")
    failed = engine.last(sam.id)
    assert failed.state == "failed"
    with engine.refused(InvalidTransition):
        engine.replay(TENANT, failed.id)


def test_a_replayed_message_is_rendered_anew_and_goes_on(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.replay(TENANT, engine.bring_to("failed", sam.id).id)
    assert engine.last(sam.id).payload is None
    assert len(engine.deliver()) == 1
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]


def test_a_replay_has_all_its_retries(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"max_retries": 2}))
    sam = engine.join()
    for _ in range(2):
        engine.deliver("retry")
        clock.advance(hours=2)
    engine.replay(TENANT, engine.last(sam.id).id)
    engine.deliver("retry")
    assert (engine.last(sam.id).state, engine.last(sam.id).retry_count) == ("scheduled", 1)


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered", "sending", "unknown", "sent"])
def test_only_what_failed_is_replayed(engine: Engine, state: str) -> None:
    engine.author()
    sam = engine.join()
    execution = engine.bring_to(state, sam.id)
    with engine.refused(InvalidTransition):
        engine.replay(TENANT, execution.id)


def test_a_step_the_enrolment_has_passed_is_not_replayed(engine: Engine) -> None:
    engine.author(email("a", config={"on_max_retry": "continue"}), email("b"))
    sam = engine.join()
    failed = engine.bring_to("failed", sam.id)
    with engine.refused(InvalidTransition):
        engine.replay(TENANT, failed.id)


def test_a_subscriber_who_has_been_enrolled_again_is_not_revived(engine: Engine) -> None:
    engine.author(reentry="after_exit")
    sam = engine.join()
    failed = engine.bring_to("failed", sam.id)
    engine.join()
    with engine.refused(InvalidTransition):
        engine.replay(TENANT, failed.id)


def test_an_enrolment_that_ended_otherwise_is_not_revived(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.unenroll(TENANT, sam.id)
    engine.record(claims, "failed")
    with engine.refused(InvalidTransition):
        engine.replay(TENANT, engine.last(sam.id).id)


def test_an_unknown_execution_is_not_found(engine: Engine) -> None:
    with engine.refused(ExecutionNotFound):
        engine.replay(TENANT, uuid4())


def test_a_replayed_enrolment_comes_back_beside_one_that_began_meanwhile(engine: Engine) -> None:
    engine.author(email("welcome"), reentry="after_exit")
    former = engine.join(entry_key="1")
    engine.deliver("failed")
    later = engine.join(entry_key="2")
    failed = engine.last(former.id)
    assert engine.replay(TENANT, failed.id).state == "scheduled"
    states = [engine.enrollment(each.id).state for each in (former, later)]
    assert states == ["active", "active"]
