"""Business days: Monday to Friday less the holidays, on the subscriber's wall calendar."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument, InvalidTenantKey
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "America/New_York", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Apia"]
CHRISTMAS = date(2026, 12, 25)


def due(
    engine: Engine,
    at: datetime,
    days: int,
    calendar: str | None = None,
    tenant_key: str | None = TENANT,
) -> datetime:
    """Return the same local time so many business days later."""
    timing = after(days, "business_days") | ({"calendar": calendar} if calendar else {})
    found: datetime = engine.rows(
        "select dripdrop._next_time(%s, %s, %s, %s) as at",
        Jsonb(timing),
        str(at.tzinfo),
        at,
        tenant_key,
    )[0].at
    assert at.tzinfo is not None
    return found.astimezone(at.tzinfo)


def in_december(day: int, hour: int = 9) -> datetime:
    """Return a local time in Berlin in December 2026, whose first Monday is the 7th."""
    return datetime(2026, 12, day, hour, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        (7, 1, 8),
        (7, 4, 11),
        (7, 5, 14),
        (11, 1, 14),
        (11, 5, 18),
        (11, 6, 21),
        (12, 1, 14),
        (13, 1, 14),
        (12, 5, 18),
        (13, 6, 21),
    ],
)
def test_they_are_counted_from_the_day_after_and_leave_weekends_out(
    engine: Engine, start: int, days: int, expected: int
) -> None:
    assert due(engine, in_december(start), days) == in_december(expected)


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        (22, 1, 23),
        (22, 2, 28),
        (23, 1, 28),
        (24, 1, 28),
        (25, 1, 28),
        (26, 1, 28),
        (27, 1, 28),
        (23, 3, 30),
    ],
)
def test_they_leave_holidays_out(engine: Engine, start: int, days: int, expected: int) -> None:
    """The 26th is a Saturday: that it is a holiday too makes no difference."""
    engine.set_holidays(TENANT, "default", [date(2026, 12, day) for day in (26, 25, 24)])
    assert due(engine, in_december(start), days) == in_december(expected)


def test_a_step_goes_by_the_calendar_it_names(engine: Engine) -> None:
    engine.set_holidays(TENANT, "de", [date(2026, 12, 24)])
    engine.set_holidays(TENANT, "default", [date(2026, 12, 24), CHRISTMAS])
    assert due(engine, in_december(23), 1, "de") == in_december(25)
    assert due(engine, in_december(23), 1) == in_december(28)
    assert due(engine, in_december(23), 1, "us") == in_december(24)


def test_the_days_of_all_tenants_belong_to_the_calendar_of_each(engine: Engine) -> None:
    engine.set_holidays(None, "de", [date(2026, 12, 24), CHRISTMAS])
    engine.set_holidays(TENANT, "de", [CHRISTMAS, date(2026, 12, 28)])
    engine.set_holidays("other", "de", [date(2026, 12, 29)])
    assert due(engine, in_december(23), 1, "de") == in_december(29)
    assert due(engine, in_december(23), 1, "de", "third") == in_december(28)
    assert due(engine, in_december(23), 1, "de", None) == in_december(28)


def test_the_public_next_time_knows_the_days_of_all_tenants(engine: Engine) -> None:
    engine.set_holidays(None, "default", [CHRISTMAS])
    engine.set_holidays(TENANT, "default", [date(2026, 12, 28)])
    found = engine.next_time("in 1 business day", "Europe/Berlin", in_december(24))
    assert found == in_december(28)


def test_the_day_is_that_of_the_subscriber(engine: Engine) -> None:
    """Friday, 23 o'clock, in New York is Saturday in Berlin."""
    friday = datetime(2026, 12, 11, 23, tzinfo=ZoneInfo("America/New_York"))
    assert due(engine, friday, 5) == friday + timedelta(days=7)
    assert due(engine, friday.astimezone(BERLIN), 5) == in_december(18, 5)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (datetime(2026, 3, 27, 9), datetime(2026, 3, 30, 9)),
        (datetime(2026, 10, 23, 9), datetime(2026, 10, 26, 9)),
    ],
)
def test_they_keep_the_wall_clock_time_over_a_clock_change(
    engine: Engine, start: datetime, expected: datetime
) -> None:
    found = due(engine, start.replace(tzinfo=BERLIN), 1)
    assert found == expected.replace(tzinfo=BERLIN)


def test_a_step_waits_for_business_days(engine: Engine, clock: Clock) -> None:
    engine.set_holidays(None, "default", [CHRISTMAS])
    engine.author(email("tip", timing="in 3 business days"))
    clock.set(in_december(23))
    sam = engine.join(data={"email": "sam@example.com", "time_zone": "Europe/Berlin"})
    assert engine.last(sam.id).due_at == in_december(29)


def by_the_calendar(at: datetime, days: int, holidays: Iterable[date]) -> datetime:
    """Return the time so many business days later, one day after the other."""
    day = at.date()
    while days:
        day += timedelta(days=1)
        days -= day.weekday() < 5 and day not in holidays
    found = datetime.combine(day, at.time(), at.tzinfo)
    # Of a time that comes twice the second, of one that is left out the one an hour later.
    other = found.replace(fold=1)
    return (other if other.astimezone(UTC) > found.astimezone(UTC) else found).astimezone(UTC)


holiday_lists = st.sets(st.integers(0, 60) | st.integers(0, 1500))


@pytest.mark.slow
@settings(max_examples=300)
@given(
    at=st.datetimes(datetime(1995, 1, 1), datetime(2060, 1, 1)),
    zone=st.sampled_from(ZONES),
    days=st.integers(1, 20) | st.integers(1, 999),
    own=holiday_lists,
    everybodys=holiday_lists,
)
@example(datetime(2026, 10, 23, 2, 30), "Europe/Berlin", 1, {0}, set())
@example(datetime(2026, 3, 5, 2, 30), "America/New_York", 999, set(range(1, 400)), {1, 401})
def test_they_are_those_of_a_calendar_that_is_leafed_through(
    shared: Engine, at: datetime, zone: str, days: int, own: set[int], everybodys: set[int]
) -> None:
    start = at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    lists = [[start.date() + timedelta(days=n) for n in each] for each in (own, everybodys)]
    expected = by_the_calendar(start, days, set(lists[0] + lists[1]))
    with shared.connection.transaction(force_rollback=True):
        shared.set_holidays(TENANT, "leafed", lists[0])
        shared.set_holidays(None, "leafed", lists[1])
        assert due(shared, start, days, "leafed").astimezone(UTC) == expected


def holidays(engine: Engine) -> list[tuple[Any, ...]]:
    """Return what is stored."""
    return [
        tuple(row)
        for row in engine.rows("select tenant_key, calendar, day from dripdrop.holidays order by 3")
    ]


def test_setting_holidays_replaces_the_calendar_and_counts_its_days(engine: Engine) -> None:
    boxing_day = CHRISTMAS + timedelta(days=1)
    engine.set_holidays(TENANT, "de", [date(2025, 12, 25), date(2025, 12, 26)])
    assert engine.set_holidays(TENANT, "de", [boxing_day, CHRISTMAS, boxing_day]) == 2
    assert holidays(engine) == [(TENANT, "de", CHRISTMAS), (TENANT, "de", boxing_day)]


def test_setting_holidays_leaves_other_calendars_and_tenants_alone(engine: Engine) -> None:
    for tenant, calendar in ((TENANT, "us"), ("other", "de"), (None, "de")):
        engine.set_holidays(tenant, calendar, [CHRISTMAS])
    before = holidays(engine)
    engine.set_holidays(TENANT, "de", [CHRISTMAS])
    assert engine.set_holidays(TENANT, "de", []) == 0
    assert sorted(holidays(engine), key=str) == sorted(before, key=str)


@pytest.mark.parametrize(
    ("calendar", "days", "column"),
    [
        ("DE", "{}", "calendar"),
        ("", "{}", "calendar"),
        (None, "{}", "calendar"),
        ("de", None, "days"),
        ("de", "{2026-12-25, null}", "days"),
        ("de", "{infinity}", "days"),
    ],
)
def test_holidays_are_days_of_a_calendar(
    engine: Engine, calendar: str | None, days: str | None, column: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.rows("select dripdrop.set_holidays(%s, %s, %s)", TENANT, calendar, days)
    assert refusal.value.diag.column_name == column


def test_holidays_belong_to_a_tenant_that_can_be(engine: Engine) -> None:
    with engine.refused(InvalidTenantKey):
        engine.set_holidays("", "de", [CHRISTMAS])


@pytest.mark.slow
def test_of_two_who_replace_a_calendar_at_once_the_second_wins(
    engine: Engine, other: Engine, dsn: str
) -> None:
    second = date(2026, 12, 31)
    engine.set_holidays(TENANT, "de", [date(2026, 1, 1)])
    with psycopg.connect(dsn) as waiting, ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.set_holidays(TENANT, "de", [CHRISTMAS])
            replaced = pool.submit(Engine(waiting).set_holidays, TENANT, "de", [second])
            other.wait_until_blocked(waiting)
        replaced.result()
        waiting.commit()
    assert holidays(engine) == [(TENANT, "de", second)]
