"""tick(): what is due is decided, and queued as a pointer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from dripdrop.errors import NotStarted
from tests.conftest import Clock
from tests.protocol import (
    add_adapter,
    add_sequence,
    claim,
    days,
    enroll,
    enrollment_row,
    execution,
    ledger,
    queue,
    render,
    send,
    step,
    tick,
)

Db = psycopg.Connection[Any]


def test_what_is_due_gets_a_pointer_in_the_render_queue(db: Db, journey: None) -> None:
    due = execution(db, enroll(db))
    assert tick(db) == (1, 0, 0, 0, 0, 0)
    assert queue(db, "render") == [(due.id, due.fence)]


def test_what_is_queued_names_its_sender_and_recipient(db: Db, journey: None, mail: UUID) -> None:
    enrollment = enroll(db, "Sam")
    tick(db)
    queued = execution(db, enrollment)
    assert (queued.state, queued.adapter_id, queued.recipient) == (
        "queued",
        mail,
        "sam@example.com",
    )


def test_a_second_tick_finds_nothing(db: Db, journey: None) -> None:
    enroll(db)
    tick(db)
    assert tick(db) == (0, 0, 0, 0, 0, 0)
    assert len(queue(db, "render")) == 1


def test_future_work_is_never_in_a_queue(db: Db, mail: UUID) -> None:
    add_sequence(db, step("later", timing=days(1)))
    enroll(db)
    tick(db)
    assert queue(db, "render") == []


def test_work_is_due_to_the_second(db: Db, mail: UUID, clock: Clock) -> None:
    add_sequence(db, step("later", timing=days(1)))
    enroll(db)
    clock.advance(timedelta(days=1) - timedelta(seconds=1))
    assert tick(db).queued == 0
    clock.advance(seconds=1)
    assert tick(db).queued == 1


def test_a_tick_takes_at_most_its_batch_oldest_first(db: Db, journey: None, clock: Clock) -> None:
    first = enroll(db, "1")
    clock.advance(seconds=1)
    second = enroll(db, "2")
    row = db.execute("select * from dripdrop.tick(1)").fetchone()
    assert row is not None and row.queued == 1
    assert (execution(db, first).state, execution(db, second).state) == ("queued", "scheduled")


def test_without_a_sender_the_step_fails_and_the_enrolment_ends(db: Db, clock: Clock) -> None:
    add_sequence(db)
    enrollment = enroll(db)
    assert tick(db).failed == 1
    failed = execution(db, enrollment)
    assert (failed.state, failed.reason) == ("failed", "no_adapter")
    assert enrollment_row(db, enrollment).exit_reason == "step_failed"


def test_a_step_that_is_switched_off_is_skipped(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    db.execute("update dripdrop.steps set active = false where key = 'first'")
    assert tick(db).skipped == 1
    assert execution(db, enrollment).reason == "step_inactive"
    assert execution(db, enrollment, "second").state == "scheduled"


def test_a_retired_sequence_ends_the_enrolment(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    db.execute("update dripdrop.sequences set active = false")
    assert tick(db).cancelled == 1
    ended = enrollment_row(db, enrollment)
    assert (ended.state, ended.exit_reason) == ("cancelled", "sequence_inactive")
    assert execution(db, enrollment).state == "cancelled"


def test_a_suppressed_address_is_skipped_and_the_journey_goes_on(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    db.execute("select dripdrop.suppress(null, 'email', '1@example.com')")
    assert tick(db).skipped == 1
    assert execution(db, enrollment).reason == "suppressed"
    assert execution(db, enrollment, "second").state == "scheduled"


def test_an_address_lost_since_enrolment_is_skipped(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    db.execute("update dripdrop.enrollments set data = '{}'")
    tick(db)
    assert execution(db, enrollment).reason == "no_recipient"


def test_an_address_broken_since_enrolment_is_skipped(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    db.execute("""update dripdrop.enrollments set data = '{"email": "a@b, c@d"}'""")
    tick(db)
    assert execution(db, enrollment).reason == "invalid_recipient"


@pytest.mark.parametrize(
    ("on_stale", "state"), [("skip", "skipped"), ("hold", "scheduled"), ("send", "queued")]
)
def test_work_that_is_overdue_follows_the_stale_policy(
    db: Db, mail: UUID, clock: Clock, on_stale: str, state: str
) -> None:
    config = {"stale_after": "2 hours", "on_stale": on_stale}
    add_sequence(db, step("first", config=config), step("second", timing=days(1)))
    enrollment = enroll(db)
    clock.advance(hours=2, seconds=1)
    tick(db)
    assert execution(db, enrollment).state == state
    assert ledger(db) == []


def test_work_that_is_a_little_late_is_not_stale(db: Db, mail: UUID, clock: Clock) -> None:
    add_sequence(db, step("first", config={"stale_after": "2 hours", "on_stale": "skip"}))
    enroll(db)
    clock.advance(hours=2)
    assert tick(db).queued == 1


def test_what_is_held_as_stale_goes_on_after_pause_and_resume(
    db: Db, mail: UUID, clock: Clock
) -> None:
    add_sequence(db, step("first", config={"stale_after": "2 hours", "on_stale": "hold"}))
    enrollment = enroll(db)
    clock.advance(hours=3)
    tick(db)
    clock.advance(hours=1)
    assert tick(db).held == 0
    db.execute("select dripdrop.pause_enrollment(null, %s)", [enrollment])
    db.execute("select dripdrop.resume_enrollment(null, %s)", [enrollment])
    assert tick(db).queued == 1


def test_a_resting_sender_defers_to_the_end_of_its_rest(
    db: Db, journey: None, clock: Clock
) -> None:
    enrollment = enroll(db)
    until = clock.now + timedelta(hours=1)
    db.execute(
        "update dripdrop.channel_adapters set resting_until = %s, resting_reason = 'paused'",
        [until],
    )
    assert tick(db).deferred == 1
    deferred = execution(db, enrollment)
    assert (deferred.due_at, deferred.reason, deferred.defer_count) == (until, "paused", 1)
    event = db.execute("select event_type, event_data from dripdrop.message_events").fetchone()
    assert event is not None
    assert (event.event_type, event.event_data["gate"]) == ("deferred", "sender_rest")
    clock.set(until)
    assert tick(db).queued == 1


def test_a_tenant_is_sent_to_by_its_own_sender(db: Db, clock: Clock) -> None:
    add_adapter(db, "Ours")
    theirs = add_adapter(db, "Theirs", tenant="acme")
    add_sequence(db, tenant="acme")
    enrollment = enroll(db, tenant="acme")
    tick(db)
    assert execution(db, enrollment).adapter_id == theirs


def test_a_tenant_without_a_sender_uses_the_global_one(db: Db, mail: UUID) -> None:
    add_sequence(db, tenant="acme")
    enrollment = enroll(db, tenant="acme")
    tick(db)
    assert execution(db, enrollment).adapter_id == mail


def test_the_sender_of_another_tenant_is_never_used(db: Db, clock: Clock) -> None:
    add_adapter(db, tenant="umbrella")
    add_sequence(db, tenant="acme")
    enrollment = enroll(db, tenant="acme")
    tick(db)
    assert execution(db, enrollment).reason == "no_adapter"


def test_without_queues_a_tick_is_refused_and_changes_nothing(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    db.execute("select dripdrop.stop()")
    with pytest.raises(NotStarted) as caught:
        tick(db)
    assert caught.value.diag.message_hint
    assert execution(db, enrollment).state == "scheduled"


def test_several_ticks_at_once_never_take_the_same_row(db: Db, other: Db, journey: None) -> None:
    for subscriber in range(20):
        enroll(db, str(subscriber))
    with db.transaction(), other.transaction():
        mine = db.execute("select queued from dripdrop.tick(12)").fetchone()
        theirs = other.execute("select queued from dripdrop.tick(12)").fetchone()
    assert (mine, theirs) == ((12,), (8,))
    pointers = [pointer.execution for pointer in queue(db, "render")]
    assert len(pointers) == len(set(pointers)) == 20


def test_a_tick_that_rolls_back_leaves_the_row_due(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    with db.transaction(force_rollback=True):
        tick(db)
    assert execution(db, enrollment).due_at is not None
    assert queue(db, "render") == []


def test_a_tick_leaves_a_row_that_is_being_paused(db: Db, other: Db, journey: None) -> None:
    enrollment = enroll(db)
    with db.transaction():
        db.execute("select dripdrop.pause_enrollment(null, %s)", [enrollment])
        assert tick(other) == (0, 0, 0, 0, 0, 0)
    assert tick(other) == (0, 0, 0, 0, 0, 0)
    assert execution(db, enrollment).reason == "enrollment_paused"


def test_the_last_step_completes_the_enrolment(db: Db, journey: None, clock: Clock) -> None:
    enrollment = enroll(db)
    send(db)
    clock.advance(days=1)
    send(db)
    ended = enrollment_row(db, enrollment)
    assert (ended.state, ended.exit_reason, ended.completed_at) == (
        "completed",
        "completed",
        clock.now,
    )
    assert ledger(db) == []


def test_each_channel_has_a_queue_of_its_own(db: Db, mail: UUID) -> None:
    add_adapter(db, "Hook", "webhook", "default")
    add_sequence(db, step("first"), key="mail")
    add_sequence(db, step("first", channel="webhook"), key="hook")
    mailed = enroll(db, key="mail")
    hooked = enroll(db, key="hook")
    tick(db)
    render(db)
    assert [pointer.execution for pointer in queue(db, "send_email")] == [execution(db, mailed).id]
    assert [c.execution_id for c in claim(db, "webhook")] == [execution(db, hooked).id]
