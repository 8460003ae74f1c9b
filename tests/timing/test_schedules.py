"""Steps with a schedule on the path: due when it next comes after the step before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import START, Clock
from tests.engine import Engine, email

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
WEEKLY = "every monday at 9am"


def test_a_first_step_is_due_when_its_schedule_next_comes(engine: Engine) -> None:
    """START is a Monday, nine o'clock: the next one is a week later."""
    engine.author(email("digest", timing=WEEKLY))
    assert engine.last(engine.join().id).due_at == START + timedelta(days=7)


def test_a_later_step_is_due_at_the_next_time_after_the_one_before(
    engine: Engine, clock: Clock
) -> None:
    patient = email("welcome", config={"kind": "transactional"})
    engine.author(patient, email("digest", timing=WEEKLY), email("thanks"))
    sam = engine.join()
    clock.advance(days=10)
    engine.deliver()
    assert engine.last(sam.id).due_at == START + timedelta(days=14)


def test_a_step_with_a_schedule_is_sent_once_and_the_flow_goes_on(
    engine: Engine, clock: Clock
) -> None:
    patient = email("thanks", config={"kind": "transactional"})
    engine.author(email("digest", timing=WEEKLY), patient)
    sam = engine.join()
    for _ in range(3):
        clock.advance(days=7)
        engine.deliver()
    assert [row.step for row in engine.executions(sam.id)] == ["digest", "thanks"]
    assert engine.enrollment(sam.id).state == "completed"


@pytest.mark.parametrize(
    ("timing", "data", "zone"),
    [
        ({}, {}, ZoneInfo("UTC")),
        ({}, {"time_zone": "America/New_York"}, NEW_YORK),
        ({"timezone": "Europe/Berlin"}, {}, BERLIN),
        ({"timezone": "Europe/Berlin"}, {"time_zone": "America/New_York"}, BERLIN),
    ],
)
def test_a_schedule_is_meant_in_its_own_zone_or_else_the_subscribers(
    engine: Engine, timing: dict[str, str], data: dict[str, str], zone: ZoneInfo
) -> None:
    cron = {"type": "cron", "cron_expression": "0 9 * * TUE"}
    engine.author(email("digest", timing=cron | timing))
    sam = engine.join(data={"email": "sam@example.com"} | data)
    assert engine.last(sam.id).due_at == datetime(2026, 3, 3, 9, tzinfo=zone)


def test_everybody_enrolled_at_once_gets_the_time_of_their_own_zone(engine: Engine) -> None:
    engine.author(email("digest", timing="every tuesday at 9am"))
    zones = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]
    people: list[dict[str, Any]] = [
        {"subscriber_id": zone, "data": {"email": "a@example.com", "time_zone": zone}}
        for zone in zones
    ]
    due = {
        row.subscriber_id: engine.last(row.id).due_at
        for row in engine.enroll_many("acme", "onboarding", people)
    }
    assert due == {zone: datetime(2026, 3, 3, 9, tzinfo=ZoneInfo(zone)) for zone in zones}


@pytest.mark.parametrize(("away", "weeks"), [(1, 1), (6, 1), (8, 2), (21, 4)])
def test_after_a_pause_it_is_due_at_the_next_time_from_then(
    engine: Engine, clock: Clock, away: int, weeks: int
) -> None:
    """The remaining wait would be another weekday, and at once another hour."""
    engine.author(email("digest", timing=WEEKLY))
    sam = engine.join()
    clock.advance(hours=1)
    engine.pause_enrollment("acme", sam.id)
    clock.advance(days=away, hours=5)
    engine.resume_enrollment("acme", sam.id)
    due = engine.last(sam.id)
    assert due.due_at == due.scheduled_for == START + timedelta(weeks=weeks)


def test_a_step_that_was_sent_while_paused_is_followed_at_the_next_time_after_resuming(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"), email("digest", timing=WEEKLY))
    sam = engine.join()
    claims = engine.claim()
    engine.pause_enrollment("acme", sam.id)
    engine.record(claims)
    clock.advance(days=9)
    engine.resume_enrollment("acme", sam.id)
    assert engine.last(sam.id).due_at == START + timedelta(days=14)
