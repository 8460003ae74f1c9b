"""tick(): what is due is decided, and queued as a pointer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dripdrop.errors import InvalidArgument, NotStarted
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email, onboarding
from tests.pipeline.conftest import pointers

LATER = email("later", timing=after(1, "hours"))
NOTHING = (0, 0, 0, 0, 0, 0, 0)


def test_what_is_due_gets_a_pointer_in_the_render_queue(journey: Engine) -> None:
    due = journey.last(journey.join().id)
    assert journey.tick() == (1, 0, 0, 0, 0, 0, 0)
    assert pointers(journey, "render") == [(due.id, due.fence)]


def test_what_is_queued_names_its_sender_and_its_recipient(journey: Engine) -> None:
    enrollment = journey.join(data={"email": " Sam@Example.com"})
    journey.tick()
    queued = journey.last(enrollment.id)
    mail = journey.get_default_adapter(TENANT, "email")
    assert (queued.state, queued.adapter_id, queued.recipient) == (
        "queued",
        mail.id,
        "sam@example.com",
    )


def test_a_second_tick_finds_nothing(journey: Engine) -> None:
    journey.join()
    journey.tick()
    assert journey.tick() == NOTHING
    assert len(pointers(journey, "render")) == 1


def test_future_work_is_never_in_a_queue(engine: Engine) -> None:
    engine.author(LATER)
    engine.join()
    assert engine.tick() == NOTHING
    assert pointers(engine, "render") == []


def test_work_is_due_to_the_second(engine: Engine, clock: Clock) -> None:
    engine.author(LATER)
    engine.join()
    clock.advance(minutes=59, seconds=59)
    assert engine.tick().queued == 0
    clock.advance(seconds=1)
    assert engine.tick().queued == 1


def test_a_tick_takes_at_most_its_batch_oldest_first(journey: Engine, clock: Clock) -> None:
    first = journey.join("first")
    clock.advance(seconds=1)
    second = journey.join("second")
    assert journey.tick(batch_size=1).queued == 1
    assert journey.last(first.id).state == "queued"
    assert journey.last(second.id).state == "scheduled"


def test_what_has_just_come_due_does_not_wait_for_another_tenants_crowd(
    journey: Engine, clock: Clock
) -> None:
    for subscriber in range(30):
        journey.join(str(subscriber))
    clock.advance(seconds=1)
    mail = {"host": "localhost", "from": "Globex <hi@globex.example>"}
    journey.create_channel_adapter("globex", "mail", "email", "smtp", config=mail, is_default=True)
    journey.apply("globex", onboarding())
    newcomer = journey.enroll("globex", "onboarding", "User", "1", {"email": "eve@example.com"})
    assert journey.tick(batch_size=10).queued == 10
    assert journey.last(newcomer.id).state == "queued"


def test_without_a_sender_the_message_waits_for_one(engine: Engine) -> None:
    engine.apply(TENANT, onboarding())
    enrollment = engine.join()
    assert engine.tick().held == 1
    held = engine.last(enrollment.id)
    assert (held.state, held.reason, held.due_at) == ("scheduled", "no_adapter", None)
    assert engine.enrollment(enrollment.id).state == "active"
    assert engine.ledger() == []


def test_a_step_that_is_switched_off_is_skipped(journey: Engine) -> None:
    enrollment = journey.join()
    journey.connection.execute("update dripdrop.steps set active = key <> 'welcome'")
    assert journey.tick().skipped == 1
    skipped, following = journey.executions(enrollment.id)
    assert (skipped.state, skipped.reason) == ("skipped", "step_inactive")
    assert (following.step, following.state) == ("tip", "scheduled")


def test_a_retired_sequence_ends_the_enrolment(journey: Engine) -> None:
    enrollment = journey.join()
    journey.connection.execute("update dripdrop.sequences set active = false")
    assert journey.tick().ended == 1
    assert journey.last(enrollment.id).state == "cancelled"
    assert journey.enrollment(enrollment.id).exit_reason == "sequence_inactive"


def test_a_suppressed_address_is_skipped_and_the_journey_goes_on(journey: Engine) -> None:
    enrollment = journey.join()
    journey.suppress(TENANT, "email", "sam@example.com")
    assert journey.tick().skipped == 1
    skipped, following = journey.executions(enrollment.id)
    assert (skipped.reason, following.state) == ("suppressed", "scheduled")


@pytest.mark.parametrize(
    ("data", "reason"),
    [("{}", "no_recipient"), ('{"email": "a@b, c@d"}', "invalid_recipient")],
)
def test_an_address_that_was_lost_or_broken_since_enrolment_is_skipped(
    journey: Engine, data: str, reason: str
) -> None:
    enrollment = journey.join()
    journey.connection.execute("update dripdrop.enrollments set data = %s", [data])
    assert journey.tick().skipped == 1
    assert journey.executions(enrollment.id)[0].reason == reason


@pytest.mark.parametrize(
    ("on_stale", "state"), [("skip", "skipped"), ("hold", "scheduled"), ("send", "queued")]
)
def test_work_that_is_overdue_follows_the_stale_policy(
    engine: Engine, clock: Clock, on_stale: str, state: str
) -> None:
    engine.author(email("welcome", config={"stale_after": "2 hours", "on_stale": on_stale}), LATER)
    enrollment = engine.join()
    clock.advance(hours=2, seconds=1)
    engine.tick()
    assert engine.executions(enrollment.id)[0].state == state
    assert engine.ledger() == []


def test_work_that_is_a_little_late_is_not_stale(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"stale_after": "2 hours", "on_stale": "skip"}))
    engine.join()
    clock.advance(hours=2)
    assert engine.tick().queued == 1


def test_what_is_held_as_stale_goes_on_after_pause_and_resume(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"stale_after": "2 hours", "on_stale": "hold"}))
    enrollment = engine.join()
    clock.advance(hours=3)
    assert engine.tick().held == 1
    clock.advance(hours=1)
    assert engine.tick() == NOTHING
    engine.pause_enrollment(TENANT, enrollment.id)
    engine.resume_enrollment(TENANT, enrollment.id)
    assert engine.tick().queued == 1


def test_a_resting_sender_defers_to_the_end_of_its_rest(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    until = clock.now + timedelta(hours=1)
    journey.connection.execute(
        "update dripdrop.channel_adapters set resting_until = %s, resting_reason = 'repairs'",
        [until],
    )
    assert journey.tick().deferred == 1
    deferred = journey.last(enrollment.id)
    assert (deferred.due_at, deferred.reason, deferred.defer_count) == (until, "repairs", 1)
    clock.set(until)
    assert journey.tick().queued == 1


def test_a_deferral_is_recorded_with_its_gate_and_its_end(journey: Engine, clock: Clock) -> None:
    journey.join()
    until = clock.now + timedelta(hours=1)
    journey.connection.execute("update dripdrop.channel_adapters set resting_until = %s", [until])
    journey.tick()
    (event,) = journey.rows("select event_type, event_data from dripdrop.message_events")
    assert event.event_type == "deferred"
    assert event.event_data == {
        "gate": "sender_rest",
        "reason": "adapter_resting",
        "detail": "email",
        "until": until.isoformat(),
    }


def test_a_tenant_is_sent_to_by_its_own_sender(journey: Engine) -> None:
    journey.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    enrollment = journey.join()
    journey.tick()
    mail = journey.get_default_adapter(TENANT, "email")
    assert mail.tenant_key == TENANT
    assert journey.last(enrollment.id).adapter_id == mail.id


def test_a_tenant_without_a_sender_uses_the_global_one(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.apply(TENANT, onboarding())
    enrollment = engine.join()
    engine.tick()
    assert engine.last(enrollment.id).adapter_id == shared.id


def test_the_sender_of_another_tenant_is_never_used(engine: Engine) -> None:
    engine.create_channel_adapter("umbrella", "theirs", "email", "smtp", is_default=True)
    engine.apply(TENANT, onboarding())
    enrollment = engine.join()
    engine.tick()
    assert engine.last(enrollment.id).reason == "no_adapter"


def test_without_queues_a_tick_is_refused_and_changes_nothing(journey: Engine) -> None:
    journey.join()
    journey.stop()
    with journey.refused(NotStarted):
        journey.tick()


@pytest.mark.slow
def test_several_ticks_at_once_never_take_the_same_row(journey: Engine, other: Engine) -> None:
    for subscriber in range(20):
        journey.join(str(subscriber))
    with journey.connection.transaction(), other.connection.transaction():
        assert journey.tick(batch_size=12).queued == 12
        assert other.tick(batch_size=12).queued == 8
    assert len({pointer.execution for pointer in pointers(journey, "render")}) == 20


def test_a_tick_that_rolls_back_leaves_the_row_due(journey: Engine) -> None:
    journey.join()
    before = journey.contents()
    with journey.connection.transaction(force_rollback=True):
        journey.tick()
    assert journey.contents() == before


@pytest.mark.slow
def test_a_tick_leaves_alone_what_is_being_paused(journey: Engine, other: Engine) -> None:
    enrollment = journey.join()
    with journey.connection.transaction():
        journey.pause_enrollment(TENANT, enrollment.id)
        assert other.tick() == NOTHING
    assert other.tick() == NOTHING
    assert journey.last(enrollment.id).reason == "enrollment_paused"


def test_the_next_step_is_planned_when_one_was_sent(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    clock.advance(minutes=5)
    journey.deliver()
    following = journey.last(enrollment.id)
    assert (following.step, following.due_at) == ("tip", clock.now + timedelta(days=3))


def test_the_last_step_completes_the_enrolment(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    journey.deliver()
    clock.advance(days=3)
    journey.deliver()
    ended = journey.enrollment(enrollment.id)
    assert (ended.state, ended.exit_reason, ended.completed_at) == (
        "completed",
        "completed",
        clock.now,
    )
    assert journey.ledger() == []


def test_each_channel_has_a_queue_of_its_own(engine: Engine) -> None:
    engine.author(email("mail"), key="mailed")
    engine.author({"key": "hook", "channel": "webhook"}, key="hooked")
    data = {"email": "sam@example.com"}
    mailed = engine.enroll(TENANT, "mailed", "User", "sam", data)
    hooked = engine.enroll(TENANT, "hooked", "User", "sam", data)
    engine.tick()
    engine.render()
    for queue, enrollment in (("send_email", mailed), ("send_webhook", hooked)):
        assert pointers(engine, queue) == [(engine.last(enrollment.id).id, 0)]


@pytest.mark.parametrize("batch_size", [0, -1, None])
def test_a_batch_of_nothing_is_refused(engine: Engine, batch_size: Any) -> None:
    for call in (engine.tick, engine.claim_renders):
        with engine.refused(InvalidArgument):
            call(batch_size)
    with engine.refused(InvalidArgument):
        engine.claim_sends("email", batch_size)
