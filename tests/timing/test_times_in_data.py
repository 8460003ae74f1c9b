"""Steps that go by a time in the enrolment's data: before it, at it, after it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, after, email

REMINDER = email("reminder", timing="3 days before data.appointment_at at 9am")


def data(appointment_at: Any, **fields: Any) -> dict[str, Any]:
    """Return the data of somebody who has an appointment."""
    return {"email": "sam@example.com", "appointment_at": appointment_at} | fields


def change(engine: Engine, enrollment: Any, **fields: Any) -> None:
    """Change an enrolment's data."""
    engine.rows(
        "update dripdrop.enrollments set data = data || %s::jsonb where id = %s returning id",
        json.dumps(fields),
        enrollment.id,
    )


@pytest.mark.parametrize(
    ("appointment_at", "zone", "expected"),
    [
        ("2026-03-20T10:00:00Z", "UTC", "2026-03-17T09:00+00:00"),
        ("2026-03-20T23:30:00Z", "Europe/Berlin", "2026-03-18T08:00+00:00"),
        ("2026-03-20 10:00", "Asia/Tokyo", "2026-03-17T00:00+00:00"),
        ("2026-03-20", "Asia/Tokyo", "2026-03-17T00:00+00:00"),
        ("2026-03-31T10:00:00+02:00", "Europe/Berlin", "2026-03-28T08:00+00:00"),
        ("2026-04-01T10:00:00.123456-0500", "Europe/Berlin", "2026-03-29T07:00+00:00"),
    ],
)
def test_the_time_is_the_one_in_the_data(
    engine: Engine, appointment_at: str, zone: str, expected: str
) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data(appointment_at, time_zone=zone))
    assert engine.last(sam.id).due_at == datetime.fromisoformat(expected)


def test_it_may_lie_deeper_in_the_data(engine: Engine) -> None:
    engine.author(email("reminder", timing="2 hours after data.stay.from"))
    sam = engine.join(data=data(None, stay={"from": "2026-03-20T10:00:00Z"}))
    assert engine.last(sam.id).due_at == datetime(2026, 3, 20, 12, tzinfo=UTC)


def test_each_of_a_list_has_their_own(engine: Engine) -> None:
    engine.author(email("welcome"), REMINDER)
    days = {f"user{n}": f"2026-04-{n + 10}T10:00:00Z" for n in range(5)}
    engine.enroll_many(
        TENANT, "onboarding", [{"subscriber_id": k, "data": data(v)} for k, v in days.items()]
    )
    engine.deliver()
    due = engine.rows(
        "select e.data ->> 'appointment_at' as at, x.due_at from dripdrop.step_executions as x"
        " join dripdrop.enrollments as e on e.id = x.enrollment_id where x.state = 'scheduled'"
    )
    assert len(due) == 5
    for row in due:
        at = datetime.fromisoformat(row.at)
        assert row.due_at == at.replace(hour=9) - timedelta(days=3)


def test_it_follows_when_the_data_changes(engine: Engine) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    change(engine, sam, appointment_at="2026-03-27T10:00:00Z")
    reminder = engine.last(sam.id)
    assert (reminder.due_at, reminder.reason) == (
        datetime(2026, 3, 24, 9, tzinfo=UTC),
        "data_changed",
    )
    assert reminder.scheduled_for == reminder.due_at


def test_it_follows_the_time_zone_too(engine: Engine) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    change(engine, sam, time_zone="Asia/Tokyo")
    assert engine.last(sam.id).due_at == datetime(2026, 3, 17, tzinfo=UTC)


def test_other_data_moves_nothing(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", timing=after(3, "days")))
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    before = engine.last(sam.id)
    clock.advance(hours=1)
    change(engine, sam, appointment_at="2026-03-27T10:00:00Z", name="Sam")
    assert engine.last(sam.id) == before


def test_what_waits_for_something_else_is_planned_anew(engine: Engine, clock: Clock) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    engine.pause_sending(TENANT, "sequence", "onboarding")
    clock.set(datetime(2026, 3, 17, 9, tzinfo=UTC))
    engine.tick()
    assert engine.last(sam.id).waits_for == "pause"
    change(engine, sam, appointment_at="2026-03-27T10:00:00Z")
    engine.resume_sending(TENANT, "sequence", "onboarding")
    assert engine.deliver() == []
    clock.set(datetime(2026, 3, 24, 9, tzinfo=UTC))
    assert len(engine.deliver()) == 1


def test_what_was_sent_does_not_come_again(engine: Engine, clock: Clock) -> None:
    engine.author(REMINDER, email("later", timing=after(30, "days")))
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    clock.set(datetime(2026, 3, 17, 9, tzinfo=UTC))
    engine.deliver()
    change(engine, sam, appointment_at="2026-03-27T10:00:00Z")
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]


def test_somebody_who_was_paused_has_the_time_that_the_data_has_then(
    engine: Engine, clock: Clock
) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    engine.pause_enrollment(TENANT, sam.id)
    change(engine, sam, appointment_at="2026-03-27T10:00:00Z")
    assert engine.last(sam.id).due_at is None
    clock.advance(days=1)
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == datetime(2026, 3, 24, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("config", "state", "reason"),
    [
        ({}, "sent", "sent"),
        ({"stale_after": "1 day", "on_stale": "skip"}, "skipped", "stale"),
        ({"stale_after": "5 days", "on_stale": "skip"}, "sent", "sent"),
        ({"stale_after": "1 day", "on_stale": "hold"}, "scheduled", "stale"),
    ],
)
def test_what_is_past_is_late_as_the_steps_policy_says(
    engine: Engine, config: dict[str, Any], state: str, reason: str
) -> None:
    """Two days late."""
    engine.author(REMINDER | {"config": config})
    sam = engine.join(data=data("2026-03-03T10:00:00Z"))
    engine.deliver()
    reminder = engine.executions(sam.id)[0]
    assert reminder.scheduled_for == START - timedelta(days=2)
    assert (reminder.state, reminder.reason) == (state, reason)


@pytest.mark.parametrize(
    "appointment_at",
    [None, "", "soon", "2026-02-30", "infinity", "0001-01-01", 20260320, {}, "12:00"],
)
def test_without_a_time_the_step_is_skipped_and_the_flow_goes_on(
    engine: Engine, appointment_at: Any
) -> None:
    engine.author(REMINDER, email("tip", timing=after(1, "days")))
    sam = engine.join(data=data(appointment_at))
    assert engine.tick().skipped == 1
    reminder, tip = engine.executions(sam.id)
    assert (reminder.state, reminder.reason, tip.state) == ("skipped", "value_missing", "scheduled")
    past = engine.explain(TENANT, sam.id)[0]
    assert (past.step, past.reason, past.detail) == (
        "reminder",
        "value_missing",
        "data.appointment_at",
    )


def test_a_simulation_knows_it(engine: Engine) -> None:
    engine.author(email("welcome"), REMINDER)
    rows = engine.simulate(TENANT, "onboarding", data("2026-03-20T10:00:00Z"))
    assert [(row.step_key, row.at) for row in rows if row.action == "send"] == [
        ("welcome", START),
        ("reminder", datetime(2026, 3, 17, 9, tzinfo=UTC)),
    ]


def test_it_follows_update_enrollment(engine: Engine) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    engine.update_enrollment(TENANT, sam.id, {"appointment_at": "2026-03-27T10:00:00Z"})
    assert engine.last(sam.id).due_at == datetime(2026, 3, 24, 9, tzinfo=UTC)


@pytest.mark.parametrize("stage", ["queued", "scheduled"])
def test_one_that_is_due_and_not_rendered_is_put_off_to_the_new_time(
    engine: Engine, clock: Clock, stage: str
) -> None:
    engine.author(REMINDER)
    sam = engine.join(data=data("2026-03-20T10:00:00Z"))
    clock.set(datetime(2026, 3, 17, 9, tzinfo=UTC))
    engine.bring_to(stage, sam.id)
    engine.update_enrollment(TENANT, sam.id, {"appointment_at": "2026-03-27T10:00:00Z"})
    assert engine.deliver() == []
    assert engine.last(sam.id).due_at == datetime(2026, 3, 24, 9, tzinfo=UTC)
