"""reconcile(): what a crash or a lost queue left behind is mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from dripdrop.errors import StaleFence
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email
from tests.pipeline.conftest import pointers

NOTHING = (0, 0, 0, 0)


def lose_by_stopping(engine: Engine) -> None:
    engine.stop()
    engine.start()


def lose_by_truncating(engine: Engine) -> None:
    engine.connection.execute(
        "truncate pgmq.q_dripdrop_render, pgmq.q_dripdrop_send_email, pgmq.q_dripdrop_send_webhook"
    )


def test_where_all_is_well_nothing_is_mended(journey: Engine) -> None:
    for subscriber, state in (("ada", "sending"), ("bob", "rendered"), ("sam", "queued")):
        journey.bring_to(state, journey.join(subscriber).id)
    before = journey.contents()
    assert journey.reconcile() == NOTHING
    assert journey.contents() == before


def test_a_claim_whose_lease_ran_out_is_unknown(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    sending = journey.bring_to("sending", enrollment.id)
    clock.set(sending.lease_until)
    assert journey.reconcile() == (1, 0, 0, 0)
    unknown = journey.last(enrollment.id)
    assert (unknown.state, unknown.reason, unknown.fence) == (
        "unknown",
        "lease_lost",
        sending.fence,
    )


def test_what_is_unknown_is_presumed_sent_after_a_time_of_grace(
    journey: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    journey.bring_to("unknown", enrollment.id)
    clock.advance(minutes=14, seconds=59)
    assert journey.reconcile() == NOTHING
    clock.advance(seconds=1)
    assert journey.reconcile() == (0, 1, 0, 0)
    presumed, following = journey.executions(enrollment.id)
    assert (presumed.state, presumed.reason) == ("sent", "presumed_sent")
    assert (following.step, following.state) == ("tip", "scheduled")
    assert journey.ledger() == []


def test_the_grace_is_the_callers_to_choose(journey: Engine) -> None:
    journey.bring_to("unknown", journey.join().id)
    assert journey.reconcile(timedelta(0)).presumed_sent == 1


def test_a_result_after_the_presumption_is_stale(journey: Engine, clock: Clock) -> None:
    journey.join()
    claims = journey.claim()
    clock.advance(hours=1)
    journey.reconcile()
    clock.advance(hours=1)
    journey.reconcile()
    with journey.refused(StaleFence):
        journey.record(claims)


def test_what_is_unknown_is_resent_where_the_step_says_at_least_once(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome", config={"on_unknown": "at_least_once"}))
    enrollment = engine.join()
    engine.bring_to("unknown", enrollment.id)
    words = engine.last(enrollment.id).payload
    clock.advance(minutes=15)
    assert engine.reconcile() == (0, 0, 1, 0)
    engine.tick()
    assert [claimed.payload for claimed in engine.claim_sends("email")] == [words]


def test_what_is_unknown_is_resent_at_once_where_the_provider_deduplicates(
    engine: Engine, clock: Clock
) -> None:
    engine.author({"key": "hook", "channel": "webhook"})
    engine.join()
    (first,) = engine.claim("webhook")
    clock.advance(minutes=2)
    assert engine.reconcile() == (1, 0, 1, 0)
    engine.tick()
    (second,) = engine.claim_sends("webhook")
    assert second.idempotency_key == first.idempotency_key


def test_what_is_unknown_of_a_paused_enrolment_waits_for_its_resumption(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome", config={"on_unknown": "at_least_once"}))
    enrollment = engine.join()
    engine.bring_to("unknown", enrollment.id)
    engine.pause_enrollment(TENANT, enrollment.id)
    clock.advance(hours=1)
    assert engine.reconcile().resent == 1
    assert engine.tick().queued == 0
    assert engine.ledger() == []
    engine.resume_enrollment(TENANT, enrollment.id)
    assert engine.tick().queued == 1


def test_what_is_unknown_of_an_enrolment_that_ended_is_not_resent(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome", config={"on_unknown": "at_least_once"}))
    enrollment = engine.join()
    engine.bring_to("unknown", enrollment.id)
    engine.unenroll(TENANT, enrollment.id)
    clock.advance(hours=1)
    engine.reconcile()
    assert engine.last(enrollment.id).state == "cancelled"
    assert engine.ledger() == []


@pytest.mark.parametrize("lose", [lose_by_stopping, lose_by_truncating])
@pytest.mark.parametrize("state", ["queued", "rendered"])
def test_losing_the_queues_loses_nothing(
    journey: Engine, state: str, lose: Callable[[Engine], None]
) -> None:
    enrollment = journey.join()
    journey.bring_to(state, enrollment.id)
    lose(journey)
    assert journey.ledger() == ["message under way that no queue points to"]
    assert journey.reconcile() == (0, 0, 0, 1)
    assert journey.ledger() == []
    journey.render()
    journey.record(journey.claim_sends("email"))
    assert journey.executions(enrollment.id)[0].state == "sent"


def test_without_queues_the_ledger_says_what_no_queue_points_to(journey: Engine) -> None:
    journey.bring_to("queued", journey.join().id)
    journey.stop()
    assert journey.ledger() == ["message under way that no queue points to"]


def test_a_lost_pointer_is_put_back_once(journey: Engine) -> None:
    journey.bring_to("queued", journey.join().id)
    lose_by_truncating(journey)
    journey.reconcile()
    assert journey.reconcile() == NOTHING
    assert len(pointers(journey, "render")) == 1


def test_a_message_that_is_being_rendered_is_not_put_back(journey: Engine) -> None:
    journey.bring_to("queued", journey.join().id)
    journey.claim_renders()
    assert journey.reconcile() == NOTHING


@pytest.mark.slow
def test_two_passes_at_once_put_a_pointer_back_once(journey: Engine, other: Engine) -> None:
    journey.bring_to("rendered", journey.join().id)
    lose_by_truncating(journey)
    with journey.connection.transaction():
        assert journey.reconcile().repointed == 1
        assert other.reconcile() == NOTHING
    assert other.reconcile() == NOTHING


@pytest.mark.slow
def test_a_pass_leaves_alone_what_is_being_recorded(
    journey: Engine, other: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    clock.advance(hours=1)
    with journey.connection.transaction():
        journey.record(claims)
        assert other.reconcile() == NOTHING
    assert other.reconcile() == NOTHING
    assert journey.executions(enrollment.id)[0].state == "sent"
