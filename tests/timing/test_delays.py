"""Delays: days and weeks on the subscriber's wall clock, everything shorter absolute."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import START, Clock
from tests.engine import Engine, after, email
from tests.timing.test_oracles import instant, zones
from tests.timing.times import times

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def due(engine: Engine, clock: Clock, at: datetime, amount: int, unit: str) -> datetime:
    """Return when a first step is due for somebody who is enrolled at a local time."""
    engine.author(email("tip", timing=after(amount, unit)))
    clock.set(at.astimezone(UTC))
    data = {"email": "sam@example.com", "time_zone": str(at.tzinfo)}
    due_at: datetime = engine.last(engine.join(data=data).id).due_at
    return due_at


@pytest.mark.parametrize(
    ("amount", "unit", "delta"),
    [
        (45, "seconds", timedelta(seconds=45)),
        (90, "minutes", timedelta(minutes=90)),
        (36, "hours", timedelta(hours=36)),
        (3, "days", timedelta(days=3)),
        (2, "weeks", timedelta(weeks=2)),
        (999_999, "seconds", timedelta(seconds=999_999)),
    ],
)
def test_each_unit_is_what_it_says(
    engine: Engine, clock: Clock, amount: int, unit: str, delta: timedelta
) -> None:
    assert due(engine, clock, START.astimezone(ZoneInfo("UTC")), amount, unit) == START + delta


@pytest.mark.parametrize(
    ("start", "amount", "unit", "expected"),
    [
        # Summer time begins on 29 March 2026 in Berlin, and ends on 25 October.
        (datetime(2026, 3, 28, 9, tzinfo=BERLIN), 1, "days", datetime(2026, 3, 29, 9)),
        (datetime(2026, 3, 23, 9, tzinfo=BERLIN), 1, "weeks", datetime(2026, 3, 30, 9)),
        (datetime(2026, 10, 24, 9, tzinfo=BERLIN), 1, "days", datetime(2026, 10, 25, 9)),
        (datetime(2026, 10, 20, 9, tzinfo=BERLIN), 1, "weeks", datetime(2026, 10, 27, 9)),
        # In New York it began on 8 March and ends on 1 November.
        (datetime(2026, 3, 7, 17, tzinfo=NEW_YORK), 1, "days", datetime(2026, 3, 8, 17)),
        (datetime(2026, 10, 31, 17, tzinfo=NEW_YORK), 1, "days", datetime(2026, 11, 1, 17)),
    ],
)
def test_days_and_weeks_keep_the_wall_clock_time_over_a_clock_change(
    engine: Engine, clock: Clock, start: datetime, amount: int, unit: str, expected: datetime
) -> None:
    assert due(engine, clock, start, amount, unit) == expected.replace(tzinfo=start.tzinfo)


@pytest.mark.parametrize(
    "start",
    [datetime(2026, 3, 28, 9, tzinfo=BERLIN), datetime(2026, 10, 24, 9, tzinfo=BERLIN)],
)
def test_hours_are_absolute_over_a_clock_change(
    engine: Engine, clock: Clock, start: datetime
) -> None:
    elapsed = due(engine, clock, start, 24, "hours") - start.astimezone(UTC)
    assert elapsed == timedelta(hours=24)


def test_a_time_that_a_clock_change_leaves_out_is_the_first_after_the_gap(
    engine: Engine, clock: Clock
) -> None:
    start = datetime(2026, 3, 28, 2, 30, tzinfo=BERLIN)
    assert due(engine, clock, start, 1, "days") == datetime(2026, 3, 29, 3, 30, tzinfo=BERLIN)


def test_the_wait_begins_when_the_previous_step_has_been_sent(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    clock.advance(hours=5)
    engine.deliver()
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=3)


def test_nothing_is_due_a_second_too_early(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days")))
    engine.join()
    clock.set(START + timedelta(days=3, seconds=-1))
    assert engine.tick().queued == 0
    clock.advance(seconds=1)
    assert engine.tick().queued == 1


def test_the_time_is_worked_out_in_the_query_itself(engine: Engine) -> None:
    """A function call per row would cost more than the row."""
    plan = engine.rows("""
        explain (verbose, costs off)
        select
          dripdrop._next_time(
            s.timing, dripdrop._time_zone(e.data, s.config, e.entry_key), e.started_at
          ),
          dripdrop._next_time(s.timing, e.entry_key, e.started_at, e.tenant_key),
          dripdrop._timeout_at(s.timing, e.entry_key, e.started_at)
        from dripdrop.steps as s, dripdrop.enrollments as e
    """)
    text = "\n".join(row[0] for row in plan)
    assert "CASE" in text
    assert not re.search(r"_next_time|_timeout_at|_time_zone\(", text)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    amount=st.integers(1, 40),
    unit=st.sampled_from(["days", "weeks", "months"]),
    at=st.sampled_from(["00:00", "02:30", "09:00", "23:59"]),
    zone=zones.filter(lambda zone: zone.key != "Pacific/Apia"),
    start=times(1990, 2035),
)
def test_a_time_of_day_is_on_the_day_that_a_calendar_says(
    shared: Engine, amount: int, unit: str, at: str, zone: ZoneInfo, start: datetime
) -> None:
    day = start.astimezone(zone).date()
    if unit == "months":
        year, month = divmod(12 * day.year + day.month - 1 + amount, 12)
        day = day.replace(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
    else:
        day += timedelta(days=amount * (7 if unit == "weeks" else 1))
    found = shared.next_time(after(amount, unit) | {"at": at}, zone.key, start)
    assert found == instant(datetime.combine(day, time.fromisoformat(at)), zone)
