"""Steps that recur: beside the path, again and again, for as long as the enrolment is active."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dripdrop.errors import InvalidTransition
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

NOON = {"type": "cron", "cron_expression": "0 12 * * *", "recurring": True}
PAID = {"type": "event", "trigger_event": "paid", "recurring": True}
DIGEST = email("digest", timing=NOON)
RECEIPT = email("receipt", timing=PAID)
LATER = email("later", timing=after(30, "days"))


def of(engine: Engine, enrollment: Any, step: str) -> list[tuple[int, str]]:
    """Return the occurrences of a step and their states."""
    return [(x.occurrence, x.state) for x in engine.executions(enrollment.id) if x.step == step]


def planned(engine: Engine, enrollment: Any, step: str) -> list[Any]:
    """Return when a step is due."""
    executions = engine.executions(enrollment.id)
    return [x.due_at for x in executions if x.step == step and x.state == "scheduled"]


def paid(engine: Engine, enrollment: Any, **fields: Any) -> Any:
    return engine.track_event(TENANT, "paid", enrollment_id=enrollment.id, **fields)


def test_a_schedule_fires_at_every_occurrence(engine: Engine, clock: Clock) -> None:
    engine.author(LATER, DIGEST)
    sam = engine.join()
    for day in range(3):
        clock.set(clock.now.replace(hour=12) + timedelta(days=1 if day else 0))
        assert len(engine.deliver()) == 1
    assert of(engine, sam, "digest") == [(0, "sent"), (1, "sent"), (2, "sent"), (3, "scheduled")]
    assert planned(engine, sam, "digest") == [clock.now + timedelta(days=1)]


def test_a_schedule_is_kept_in_the_subscribers_zone(engine: Engine, clock: Clock) -> None:
    engine.author(LATER, DIGEST)
    data = {"email": "sam@example.com", "time_zone": "Asia/Tokyo"}
    sam = engine.join(data=data)
    assert planned(engine, sam, "digest") == [
        clock.now.replace(hour=3, minute=0) + timedelta(days=1)
    ]


def test_a_side_step_never_leads_on(engine: Engine, clock: Clock) -> None:
    engine.author(LATER, DIGEST, email("last"))
    sam = engine.join()
    clock.advance(hours=3)
    engine.deliver()
    assert of(engine, sam, "later") == [(0, "scheduled")]
    assert of(engine, sam, "last") == []


def test_the_path_passes_side_steps_by(engine: Engine) -> None:
    engine.author(email("first"), DIGEST, RECEIPT, email("last"))
    sam = engine.join()
    engine.deliver()
    engine.deliver()
    assert of(engine, sam, "last") == [(0, "sent")]
    assert engine.enrollment(sam.id).exit_reason == "completed"


def test_an_outage_leaves_one_message_behind_not_one_per_day(engine: Engine, clock: Clock) -> None:
    engine.author(LATER, DIGEST | {"config": {"kind": "transactional"}})
    sam = engine.join()
    clock.advance(days=10)
    assert len(engine.deliver()) == 1
    assert engine.deliver() == []
    assert planned(engine, sam, "digest") == [clock.now.replace(hour=12)]


def test_a_late_side_step_follows_its_stale_policy_and_comes_again(
    engine: Engine, clock: Clock
) -> None:
    engine.author(
        LATER, email("digest", timing=NOON, config={"stale_after": "1 hour", "on_stale": "skip"})
    )
    sam = engine.join()
    clock.advance(days=10)
    assert engine.deliver() == []
    assert of(engine, sam, "digest") == [(0, "skipped"), (1, "scheduled")]
    clock.set(clock.now.replace(hour=12))
    assert len(engine.deliver()) == 1


@pytest.mark.parametrize("end", ["completed", "unenrolled"])
def test_side_steps_stop_when_the_enrolment_ends(engine: Engine, clock: Clock, end: str) -> None:
    engine.author(email("welcome"), DIGEST, RECEIPT)
    sam = engine.join()
    paid(engine, sam, occurred_at=clock.now)
    if end == "completed":
        engine.deliver()
    else:
        engine.unenroll(TENANT, sam.id)
    assert engine.enrollment(sam.id).exit_reason == end
    clock.advance(days=5)
    paid(engine, sam)
    assert engine.deliver() == []
    assert engine.ledger() == []


def test_a_condition_skips_one_occurrence_and_not_the_next(engine: Engine, clock: Clock) -> None:
    weekday = {"days": ["tue", "wed"]}
    engine.author(LATER, email("digest", timing=NOON, conditions=[weekday]))
    sam = engine.join()
    for _ in range(2):
        clock.set(planned(engine, sam, "digest")[0])
        engine.deliver()
    assert of(engine, sam, "digest") == [(0, "skipped"), (1, "sent"), (2, "scheduled")]


def test_the_failure_of_a_side_step_ends_nothing(engine: Engine, clock: Clock) -> None:
    engine.author(LATER, DIGEST, RECEIPT)
    sam = engine.join()
    paid(engine, sam)
    clock.advance(hours=3)
    engine.deliver("failed")
    assert of(engine, sam, "digest") == [(0, "failed"), (1, "scheduled")]
    assert of(engine, sam, "receipt") == [(0, "failed")]
    assert engine.enrollment(sam.id).state == "active"
    clock.set(planned(engine, sam, "digest")[0])
    assert len(engine.deliver()) == 1


def test_a_side_step_fires_on_every_matching_event(engine: Engine) -> None:
    engine.author(LATER, email("receipt", timing=PAID | {"match": {"plan": "pro"}}))
    sam = engine.join()
    for plan in ("pro", "free", "pro"):
        paid(engine, sam, event_data={"plan": plan, "amount": 5})
    assert of(engine, sam, "receipt") == [(0, "scheduled"), (1, "scheduled")]
    assert len(engine.deliver()) == 2


def test_two_events_in_one_minute_are_two_messages(engine: Engine) -> None:
    engine.author(LATER, RECEIPT)
    sam = engine.join()
    paid(engine, sam)
    paid(engine, sam)
    sent = engine.deliver()
    assert len({message.idempotency_key for message in sent}) == 2


def test_a_side_step_may_come_some_time_after_its_event(engine: Engine, clock: Clock) -> None:
    delayed = PAID | {"delay_amount": 2, "delay_unit": "days"}
    engine.author(LATER, email("receipt", timing=delayed))
    sam = engine.join()
    clock.advance(days=9)
    paid(engine, sam, occurred_at=clock.now - timedelta(days=1))
    paid(engine, sam, occurred_at=clock.now - timedelta(days=2, hours=1))
    assert sorted(planned(engine, sam, "receipt")) == [clock.now, clock.now + timedelta(days=1)]


def test_a_side_step_that_is_switched_off_does_not_fire(engine: Engine) -> None:
    engine.author(LATER, email("receipt", timing=PAID, active=False))
    sam = engine.join()
    paid(engine, sam)
    assert of(engine, sam, "receipt") == []


def test_side_steps_alone_keep_an_enrolment_active(engine: Engine) -> None:
    engine.author(RECEIPT)
    sam = engine.join()
    assert engine.executions(sam.id) == []
    for _ in range(2):
        paid(engine, sam)
        assert len(engine.deliver()) == 1
    assert engine.enrollment(sam.id).state == "active"
    assert engine.ledger() == []


def test_a_paused_schedule_goes_on_at_its_next_time_after_the_resume(
    engine: Engine, clock: Clock
) -> None:
    engine.author(LATER, DIGEST)
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=4)
    assert engine.deliver() == []
    engine.resume_enrollment(TENANT, sam.id)
    assert planned(engine, sam, "digest") == [clock.now.replace(hour=12)]


def test_what_only_fires_is_missed_while_paused(engine: Engine) -> None:
    engine.author(LATER, RECEIPT)
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    paid(engine, sam)
    engine.resume_enrollment(TENANT, sam.id)
    assert of(engine, sam, "receipt") == []


@pytest.mark.parametrize("outcome", ["sent", "failed"])
def test_a_side_step_that_was_being_sent_while_paused_comes_again_after_the_resume(
    engine: Engine, clock: Clock, outcome: str
) -> None:
    engine.author(LATER, DIGEST)
    sam = engine.join()
    clock.advance(hours=3)
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims, outcome)
    assert of(engine, sam, "digest") == [(0, outcome)]
    engine.resume_enrollment(TENANT, sam.id)
    assert planned(engine, sam, "digest") == [clock.now + timedelta(days=1)]
    assert engine.ledger() == []


def test_a_resume_plans_nothing_twice(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), LATER, DIGEST, RECEIPT)
    sam = engine.join()
    engine.deliver()
    paid(engine, sam)
    clock.advance(hours=3)
    engine.deliver()
    before = {(x.step, x.occurrence) for x in engine.executions(sam.id)}
    engine.pause_enrollment(TENANT, sam.id)
    engine.resume_enrollment(TENANT, sam.id)
    assert {(x.step, x.occurrence) for x in engine.executions(sam.id)} == before


def test_a_replayed_side_step_does_not_come_twice_from_then_on(
    engine: Engine, clock: Clock
) -> None:
    engine.author(LATER, DIGEST)
    sam = engine.join()
    clock.advance(hours=3)
    engine.deliver("failed")
    engine.replay(TENANT, engine.executions(sam.id)[1].id)
    assert len(engine.deliver()) == 1
    assert of(engine, sam, "digest") == [(0, "sent"), (1, "scheduled")]


def test_a_replayed_side_step_that_is_sent_with_the_next_one_comes_once_from_then_on(
    engine: Engine, clock: Clock
) -> None:
    engine.author(LATER, DIGEST)
    sam = engine.join()
    clock.advance(hours=3)
    engine.deliver("failed")
    clock.advance(days=1)
    engine.replay(TENANT, engine.executions(sam.id)[1].id)
    assert len(engine.deliver()) == 2
    assert of(engine, sam, "digest") == [(0, "sent"), (1, "sent"), (2, "scheduled")]


def test_side_steps_come_again_when_a_replay_revives_the_enrolment(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"), LATER, DIGEST)
    sam = engine.join()
    engine.deliver("failed")
    assert of(engine, sam, "digest") == [(0, "cancelled")]
    clock.advance(days=3)
    engine.replay(TENANT, engine.executions(sam.id)[0].id)
    assert planned(engine, sam, "digest") == [clock.now.replace(hour=12)]


def test_a_step_is_replayed_whatever_side_steps_came_after_it(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", timing=after(1, "hours")), LATER, RECEIPT)
    sam = engine.join()
    clock.advance(hours=1)
    claims = engine.claim()
    paid(engine, sam)
    engine.record(claims, "failed")
    engine.replay(TENANT, claims[0].execution_id)
    assert len(engine.deliver()) == 1
    assert of(engine, sam, "later") == [(0, "scheduled")]


def test_a_side_step_does_not_revive_what_another_step_ended(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", timing=after(1, "days")), DIGEST)
    sam = engine.join()
    clock.advance(hours=3)
    engine.deliver("failed")
    clock.advance(hours=21)
    engine.deliver("failed")
    with pytest.raises(InvalidTransition):
        engine.replay(TENANT, engine.executions(sam.id)[1].id)
