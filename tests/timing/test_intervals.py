"""What comes again after so many days, weeks or months, counted from the enrolment."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, after, email
from tests.timing.test_oracles import instant, zones
from tests.timing.times import times

LATER = email("later", timing=after(200, "days"))


def recurring(amount: int, unit: str, **fields: Any) -> dict[str, Any]:
    """Return the timing of a side step that comes again."""
    return {
        "type": "interval",
        "interval_amount": amount,
        "interval_unit": unit,
        "recurring": True,
    } | fields


def sent(engine: Engine, enrollment: Any, step: str = "digest") -> list[datetime]:
    """Return when the messages of a step were sent."""
    return [
        x.ended_at for x in engine.executions(enrollment.id) if x.step == step and x.state == "sent"
    ]


def test_a_side_step_comes_every_other_monday_of_its_own(engine: Engine, clock: Clock) -> None:
    engine.author(LATER, email("digest", timing=recurring(2, "weeks", days=["mon"], at="12:00")))
    sam = engine.join()
    clock.advance(weeks=1)
    kim = engine.join("kim")
    clock.set(START)
    for _ in range(40):
        clock.advance(days=1)
        engine.deliver()
    assert [at.date().isoformat() for at in sent(engine, sam)] == [
        "2026-03-03",
        "2026-03-17",
        "2026-03-31",
    ]
    assert [at.date().isoformat() for at in sent(engine, kim)] == [
        "2026-03-10",
        "2026-03-24",
        "2026-04-07",
    ]


def test_a_message_that_is_late_does_not_move_those_that_follow(
    engine: Engine, clock: Clock
) -> None:
    engine.author(LATER, email("digest", timing=recurring(2, "days")))
    sam = engine.join()
    clock.advance(days=2, hours=5)
    engine.deliver()
    assert engine.last(sam.id).due_at == START + timedelta(days=4)


def test_on_the_path_it_is_the_next_time_after_the_step_before(
    engine: Engine, clock: Clock
) -> None:
    engine.author(
        email("welcome", timing=after(3, "days")), email("tip", timing="every other monday at 9am")
    )
    clock.set(datetime(2026, 3, 4, 8, tzinfo=UTC))
    sam = engine.join()
    clock.advance(days=3)
    engine.deliver()
    assert engine.last(sam.id).due_at == datetime(2026, 3, 9, 9, tzinfo=UTC)
    kim = engine.join("kim")
    clock.advance(days=3)
    engine.deliver()
    assert engine.last(kim.id).due_at == datetime(2026, 3, 23, 9, tzinfo=UTC)


def test_everybody_of_a_list_has_the_times_of_their_own_zone(engine: Engine) -> None:
    engine.author(email("tip", timing="every 2 days at 9am"))
    engine.enroll_many(
        TENANT,
        "onboarding",
        [
            {
                "subscriber_id": zone,
                "data": {"email": "sam@example.com", "time_zone": zone},
            }
            for zone in ("Europe/Berlin", "Asia/Tokyo")
        ],
    )
    due = engine.rows(
        "select e.subscriber_id as zone, x.due_at from dripdrop.step_executions as x"
        " join dripdrop.enrollments as e on e.id = x.enrollment_id order by x.due_at"
    )
    assert [(row.zone, row.due_at) for row in due] == [
        ("Asia/Tokyo", datetime(2026, 3, 3, 0, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 3, 8, tzinfo=UTC)),
    ]


def test_after_a_pause_it_keeps_its_days(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing="every 2 days"))
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=5)
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == START + timedelta(days=6)


def occurrences(timing: dict[str, Any], zone: ZoneInfo, start: datetime) -> Iterator[datetime]:
    """Yield when something comes, by leafing through a calendar day by day."""
    begun = start.astimezone(zone).replace(tzinfo=None)
    hour, minute = map(int, timing.get("at", "0:0").split(":"))
    clock = begun.time() if "at" not in timing else begun.time().min.replace(hour, minute)
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    amount, unit = timing["interval_amount"], timing["interval_unit"]
    first = None
    for number in range(4000):
        day = begun.date() + timedelta(days=number)
        if datetime.combine(day, clock) < begun:
            continue
        if "days" in timing and names[day.weekday()] not in timing["days"]:
            continue
        first = first or day
        if "days" in timing:
            weeks = (day - timedelta(day.weekday())) - (first - timedelta(first.weekday()))
            fits = weeks.days // 7 % amount == 0
        elif unit == "months":
            months = 12 * (day.year - first.year) + day.month - first.month
            fits = months % amount == 0 and day.day == min(
                first.day, monthrange(day.year, day.month)[1]
            )
        else:
            fits = (day - first).days % (amount * (7 if unit == "weeks" else 1)) == 0
        if fits:
            yield instant(datetime.combine(day, clock), zone)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    amount=st.integers(1, 9),
    unit=st.sampled_from(["days", "weeks", "months"]),
    days=st.sets(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])),
    at=st.none() | st.sampled_from(["00:00", "02:30", "09:00", "23:59"]),
    zone=zones.filter(lambda zone: zone.key != "Pacific/Apia"),
    start=times(1990, 2035),
    later=st.integers(0, 60 * 24 * 900),
)
def test_it_comes_when_a_calendar_that_is_leafed_through_says(
    shared: Engine,
    amount: int,
    unit: str,
    days: set[str],
    at: str | None,
    zone: ZoneInfo,
    start: datetime,
    later: int,
) -> None:
    start = start.replace(second=0, microsecond=0)
    timing = {"type": "interval", "interval_amount": amount, "interval_unit": unit}
    timing |= {"days": list(days)} if days and unit == "weeks" else {}
    timing |= {"at": at} if at else {}
    after = start + timedelta(minutes=later)
    found = shared.rows(
        "select dripdrop._interval_next(%s, %s, %s, %s) as at",
        Jsonb(timing),
        zone.key,
        start,
        after,
    )[0].at
    assert found == next(each for each in occurrences(timing, zone, start) if each > after)
