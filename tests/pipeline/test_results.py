"""complete_sends(): what providers answered, recorded all at once or not at all."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import InvalidArgument, InvalidTransition, StaleFence
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email
from tests.pipeline.conftest import pointers

HOOK = {"key": "hook", "channel": "webhook"}


def event(engine: Engine) -> Any:
    """Return the latest event."""
    return engine.rows(
        "select * from dripdrop.message_events order by occurred_at desc, id desc limit 1"
    )[0]


def suppressed(engine: Engine) -> list[Any]:
    """Return whom and why nothing more is sent to."""
    return engine.rows("select tenant_key, recipient_normalized, reason from dripdrop.suppressions")


def test_what_was_sent_is_recorded_with_the_providers_words(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    journey.deliver(
        code="smtp_250",
        provider_message_id="p-1",
        out_message_id="m-1@example.com",
        response={"status": "250 queued"},
    )
    sent = journey.executions(enrollment.id)[0]
    assert (sent.state, sent.reason, sent.ended_at) == ("sent", "smtp_250", clock.now)
    assert (sent.provider_message_id, sent.out_message_id) == ("p-1", "m-1@example.com")
    assert (sent.response, sent.lease_until) == ({"status": "250 queued"}, None)


def test_what_was_sent_leaves_an_event_and_is_noted_at_its_sender(
    journey: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    journey.deliver(provider_message_id="p-1")
    mail = journey.get_default_adapter(TENANT, "email")
    sent = event(journey)
    assert (sent.event_type, sent.step_execution_id, sent.adapter_id, sent.provider) == (
        "sent",
        journey.executions(enrollment.id)[0].id,
        mail.id,
        "smtp",
    )
    assert (sent.tenant_key, sent.provider_message_id) == (TENANT, "p-1")
    assert mail.last_send_at == clock.now


def test_one_call_records_different_outcomes(journey: Engine) -> None:
    enrollments = [journey.join(subscriber).id for subscriber in ("ada", "bob", "sam")]
    outcomes = {"ada@example.com": "sent", "bob@example.com": "retry", "sam@example.com": "failed"}
    recorded = journey.complete_sends(
        [
            {
                "execution": str(claimed.execution_id),
                "fence": claimed.fence,
                "outcome": outcomes[claimed.recipient],
            }
            for claimed in journey.claim()
        ]
    )
    assert recorded == 3
    assert [journey.executions(enrollment)[0].state for enrollment in enrollments] == [
        "sent",
        "scheduled",
        "failed",
    ]
    assert journey.ledger() == []


PAUSES = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360)]


def test_a_temporary_failure_is_tried_again_for_two_days_with_growing_pauses(
    journey: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    began, attempts = clock.now, 0
    while journey.last(enrollment.id).state == "scheduled":
        assert len(journey.deliver("retry", code="smtp_451", detail="try later")) == 1
        waiting = journey.last(enrollment.id)
        if waiting.state == "scheduled" and waiting.due_at < began + timedelta(days=2):
            pause = PAUSES[min(attempts, 5)]
            assert 0.8 * pause <= waiting.due_at - clock.now <= 1.2 * pause
        attempts += 1
        clock.set(waiting.due_at or clock.now)
    assert clock.now == began + timedelta(days=2)
    assert attempts >= len(PAUSES)
    assert journey.last(enrollment.id).reason == "smtp_451"


def test_a_step_says_how_long_it_is_worth_trying(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"retry_for": "10 minutes"}))
    enrollment = engine.join()
    began = clock.now
    for _ in range(3):
        engine.deliver("retry")
        clock.set(engine.last(enrollment.id).due_at)
    assert clock.now == began + timedelta(minutes=10)
    engine.deliver("retry")
    assert engine.last(enrollment.id).state == "failed"


def test_the_pauses_of_different_messages_differ(journey: Engine) -> None:
    for subscriber in range(20):
        journey.join(str(subscriber))
    journey.deliver("retry")
    assert (
        len({row.due_at for row in journey.rows("select due_at from dripdrop.step_executions")})
        > 15
    )


def test_a_retry_sends_the_same_bytes_under_the_same_key(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    (first,) = journey.claim()
    journey.record([first], "retry")
    clock.set(journey.last(enrollment.id).due_at)
    journey.connection.execute(
        """update dripdrop.enrollments set data = data || '{"name": "Other"}'"""
    )
    journey.tick()
    assert journey.claim_renders() == []
    (second,) = journey.claim_sends("email")
    assert (second.payload, second.idempotency_key) == (first.payload, first.idempotency_key)
    assert second.fence > first.fence


def test_a_retry_waits_as_long_as_the_provider_says(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    journey.deliver("retry", retry_after=90)
    assert journey.last(enrollment.id).due_at == clock.now + timedelta(seconds=90)


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_max_retries_failed_attempts_are_the_end(
    engine: Engine, clock: Clock, max_retries: int, attempts: int
) -> None:
    engine.author(email("welcome", config={"max_retries": max_retries}))
    enrollment = engine.join()
    for _ in range(attempts):
        assert engine.last(enrollment.id).state == "scheduled"
        engine.deliver("retry")
        clock.advance(hours=6)
    assert engine.last(enrollment.id).state == "failed"


def test_a_step_that_failed_ends_the_enrolment(journey: Engine) -> None:
    enrollment = journey.join()
    journey.deliver("failed", code="smtp_554", detail="refused")
    failed = journey.last(enrollment.id)
    assert (failed.state, failed.reason, failed.error_message) == ("failed", "smtp_554", "refused")
    assert journey.enrollment(enrollment.id).exit_reason == "step_failed"
    assert event(journey).event_type == "failed"


def test_an_enrolment_that_a_failure_ended_is_not_resumed(journey: Engine) -> None:
    enrollment = journey.join()
    journey.deliver("failed")
    with journey.refused(InvalidTransition):
        journey.resume_enrollment(TENANT, enrollment.id)


def test_a_step_that_failed_may_be_gone_past(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("welcome", config={"on_max_retry": "continue"}),
        email("tip", timing=after(3, "days")),
    )
    enrollment = engine.join()
    engine.deliver("failed")
    following = engine.last(enrollment.id)
    assert (following.step, following.due_at) == ("tip", clock.now + timedelta(days=3))
    assert engine.enrollment(enrollment.id).state == "active"


def test_a_hard_bounce_fails_the_step_and_suppresses_the_address(journey: Engine) -> None:
    enrollment = journey.join()
    journey.deliver("bounced", hard=True, code="smtp_550")
    assert journey.last(enrollment.id).state == "failed"
    assert suppressed(journey) == [(TENANT, "sam@example.com", "bounce")]
    assert event(journey).event_type == "bounced"


def test_a_soft_bounce_is_tried_again_and_suppresses_nothing(journey: Engine) -> None:
    enrollment = journey.join()
    journey.deliver("bounced", hard=False, code="smtp_552")
    assert journey.last(enrollment.id).state == "scheduled"
    assert suppressed(journey) == []
    assert event(journey).event_type == "bounced"


def test_a_hard_bounce_stops_the_address_in_every_sequence(engine: Engine) -> None:
    engine.author(email("welcome"))
    engine.author(email("offer"), key="offers")
    engine.join()
    offered = engine.enroll(TENANT, "offers", "User", "sam", {"email": "Sam@example.com"})
    engine.tick()
    engine.render()
    (bounced,) = engine.claim_sends("email", batch_size=1)
    engine.record([bounced], "bounced", hard=True)
    assert engine.claim_sends("email") == []
    engine.tick()
    assert engine.last(offered.id).reason == "suppressed"


def test_what_was_never_handed_over_is_due_again_at_once(journey: Engine) -> None:
    enrollment = journey.join()
    (released,) = journey.claim()
    journey.record([released], "released")
    assert journey.last(enrollment.id).retry_count == 0
    journey.tick()
    assert [again.payload for again in journey.claim_sends("email")] == [released.payload]
    assert journey.rows("select from dripdrop.message_events") == []


def test_what_may_have_been_sent_is_unknown_and_not_sent_again(
    journey: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    journey.deliver("maybe_sent", code="connection_lost")
    unknown = journey.last(enrollment.id)
    assert (unknown.state, unknown.reason) == ("unknown", "connection_lost")
    clock.advance(days=30)
    assert journey.claim() == []
    assert journey.ledger() == []


def test_what_may_have_been_sent_is_sent_again_where_the_provider_deduplicates(
    engine: Engine, clock: Clock
) -> None:
    engine.author(HOOK)
    enrollment = engine.join()
    (first,) = engine.claim("webhook")
    engine.record([first], "maybe_sent")
    waiting = engine.last(enrollment.id)
    assert waiting.state == "scheduled"
    clock.set(waiting.due_at)
    engine.tick()
    (second,) = engine.claim_sends("webhook")
    assert second.idempotency_key == first.idempotency_key


def test_a_stale_fence_is_refused_by_name_and_nothing_is_recorded(journey: Engine) -> None:
    for subscriber in ("ada", "bob", "sam"):
        journey.join(subscriber)
    claims = journey.claim()
    journey.record(claims[1:2], "retry")
    with journey.refused(StaleFence) as refusal:
        journey.record(claims)
    assert json.loads(refusal.value.diag.message_detail or "") == [str(claims[1].execution_id)]
    journey.record([claims[0], claims[2]])
    assert journey.ledger() == []


def test_a_result_for_an_unknown_execution_is_stale(journey: Engine) -> None:
    result = {"execution": str(uuid4()), "fence": 1, "outcome": "sent"}
    with journey.refused(StaleFence):
        journey.complete_sends([result])


def test_a_result_is_taken_once(journey: Engine) -> None:
    journey.join()
    claims = journey.claim()
    journey.record(claims)
    with journey.refused(StaleFence):
        journey.record(claims)


def test_the_older_of_two_claims_is_stale(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    older = journey.claim()
    journey.record(older, "released")
    (newer,) = journey.claim()
    with journey.refused(StaleFence):
        journey.record(older)
    journey.record([newer])
    assert journey.executions(enrollment.id)[0].state == "sent"


def test_a_late_result_is_welcome_while_nobody_acted_on_its_absence(
    journey: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    clock.advance(minutes=3)
    assert journey.reconcile().leases_lost == 1
    assert journey.last(enrollment.id).state == "unknown"
    journey.record(claims)
    assert [row.state for row in journey.executions(enrollment.id)] == ["sent", "scheduled"]
    assert journey.ledger() == []


def test_a_result_after_the_lease_but_before_anyone_looked_is_welcome(
    journey: Engine, clock: Clock
) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    clock.advance(hours=1)
    journey.record(claims)
    assert journey.executions(enrollment.id)[0].state == "sent"


def test_a_result_of_an_enrolment_that_ended_is_recorded_and_goes_no_further(
    journey: Engine,
) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    journey.unenroll(TENANT, enrollment.id)
    journey.record(claims)
    (sent,) = journey.executions(enrollment.id)
    assert sent.state == "sent"
    assert journey.enrollment(enrollment.id).exit_reason == "unenrolled"
    assert journey.ledger() == []


def test_a_retry_of_an_enrolment_that_ended_is_cancelled(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    journey.unenroll(TENANT, enrollment.id)
    journey.record(claims, "retry")
    cancelled = journey.last(enrollment.id)
    assert (cancelled.state, cancelled.reason) == ("cancelled", "enrollment_ended")
    clock.advance(days=1)
    assert journey.claim() == []
    assert journey.ledger() == []


def test_a_retry_of_a_paused_enrolment_is_held(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    journey.pause_enrollment(TENANT, enrollment.id)
    journey.record(claims, "retry")
    clock.advance(days=1)
    assert journey.claim() == []
    assert journey.last(enrollment.id).reason == "enrollment_paused"
    assert journey.ledger() == []
    journey.resume_enrollment(TENANT, enrollment.id)
    clock.advance(minutes=2)
    assert len(journey.claim()) == 1


def test_long_words_of_a_provider_are_cut(journey: Engine) -> None:
    enrollment = journey.join()
    journey.deliver("retry", detail="x" * 2000)
    assert len(journey.last(enrollment.id).error_message) == 500
    assert len(event(journey).event_data["detail"]) == 500


@pytest.mark.parametrize(
    "results",
    [
        {},
        [{"execution": str(uuid4()), "fence": 1}],
        [{"execution": str(uuid4()), "fence": 1, "outcome": "perhaps"}],
        [{"execution": str(UUID(int=1)), "fence": 1, "outcome": "sent"}] * 2,
        [{"execution": "one", "fence": 1, "outcome": "sent"}],
    ],
    ids=["no list", "no outcome", "unknown outcome", "twice", "no uuid"],
)
def test_malformed_results_are_refused(journey: Engine, results: Any) -> None:
    with journey.refused(InvalidArgument):
        journey.complete_sends(results)


def test_no_results_are_no_error(journey: Engine) -> None:
    assert journey.complete_sends([]) == 0


def test_recording_that_rolls_back_can_be_repeated(journey: Engine) -> None:
    enrollment = journey.join()
    claims = journey.claim()
    with journey.connection.transaction(force_rollback=True):
        journey.record(claims)
    journey.record(claims)
    assert [row.step for row in journey.executions(enrollment.id)] == ["welcome", "tip"]
    assert pointers(journey, "send_email") == []


def test_of_a_long_message_id_the_first_500_characters_are_kept(journey: Engine) -> None:
    long = "".join(chr(0x10000 + digit) for digit in Random(7).sample(range(0x10000), 1000))
    sam = journey.join()
    journey.deliver(provider_message_id=long, out_message_id=long)
    sent = journey.executions(sam.id)[0]
    assert (sent.provider_message_id, sent.out_message_id) == (long[:500], long[:500])
    assert event(journey).provider_message_id == long[:500]


def test_two_messages_may_carry_the_same_message_id(journey: Engine) -> None:
    first, second = journey.join(), journey.join("kim")
    journey.deliver(out_message_id="one@example.com")
    sent = [journey.executions(each.id)[0] for each in (first, second)]
    assert [row.out_message_id for row in sent] == ["one@example.com"] * 2
