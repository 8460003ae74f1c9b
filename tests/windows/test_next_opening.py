"""When a send window opens next, against a clock that is watched minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dripdrop.errors import InvalidArgument, UnknownTimeZone
from tests.engine import TENANT, Engine
from tests.timing.times import times

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS = WEEK[:5]
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "UTC",
    "Africa/Cairo",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Chatham",
]


class Window(NamedTuple):
    """Minutes of the day from and to, the days it begins on, the days that are closed."""

    start: int
    end: int
    days: frozenset[int]
    holidays: frozenset[date]

    def document(self) -> dict[str, Any]:
        """Return it as a setting."""
        start, end = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in self[:2])
        days = [WEEK[day] for day in sorted(self.days)]
        return {"start": start, "end": end, "days": days, "calendar": "test"}

    def holds(self, clock: datetime) -> bool:
        """Return whether it is open when the furthest that the clock has shown is this."""
        if clock.date() in self.holidays:
            return False
        today = datetime(clock.year, clock.month, clock.day)
        for day in (today, today - DAY):
            if day.weekday() in self.days and day.date() not in self.holidays:
                opens = day + self.start * MINUTE
                closes = day + self.end * MINUTE + (DAY if self.end < self.start else DAY * 0)
                if opens <= clock < closes:
                    return True
        return False


def expected(window: Window, zone: ZoneInfo, after: datetime) -> datetime:
    """Watch the clock from two days before, and return when the window is open.

    What the clock shows again, when it is set back, it has shown before: only the furthest counts.
    """
    at = after.replace(second=0, microsecond=0)
    shown = max(reading(at - n * MINUTE, zone) for n in range(0, 2880, 15))
    shown = max(shown, reading(after, zone), *(reading(at - n * MINUTE, zone) for n in range(120)))
    if window.holds(shown):
        return after
    while True:
        at += MINUTE
        shown = max(shown, reading(at, zone))
        if window.holds(shown):
            return at


def reading(at: datetime, zone: ZoneInfo) -> datetime:
    """Return what the wall clock shows."""
    return at.astimezone(zone).replace(tzinfo=None)


minutes = st.integers(0, 1439) | st.integers(0, 240)
hours = st.tuples(minutes, minutes | st.just(1440)).filter(lambda pair: pair[0] != pair[1])
days = st.frozensets(st.integers(0, 6), min_size=1)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    hours=hours,
    days=days,
    offsets=st.frozensets(st.integers(-1, 4), max_size=3),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    after=times(1990, 2037),
)
@example((150, 1380), frozenset(range(7)), frozenset(), BERLIN, datetime(2026, 3, 29, tzinfo=UTC))
@example((150, 170), frozenset(range(7)), frozenset(), BERLIN, datetime(2026, 3, 29, tzinfo=UTC))
@example(
    (150, 170), frozenset(range(7)), frozenset(), BERLIN, datetime(2026, 10, 25, 0, 55, tzinfo=UTC)
)
@example((1320, 360), frozenset([4]), frozenset([2]), BERLIN, datetime(2026, 3, 5, 12, tzinfo=UTC))
@example(
    (480, 1200),
    frozenset(range(7)),
    frozenset(),
    ZoneInfo("Pacific/Apia"),
    datetime(2011, 12, 30, 9, tzinfo=UTC),
)
def test_the_next_opening_is_that_of_a_watched_clock(
    shared: Engine,
    hours: tuple[int, int],
    days: frozenset[int],
    offsets: frozenset[int],
    zone: ZoneInfo,
    after: datetime,
) -> None:
    today = after.astimezone(zone).date()
    holidays = frozenset(today + offset * DAY for offset in offsets)
    window = Window(*hours, days, holidays)
    with shared.connection.transaction(force_rollback=True):
        shared.set_holidays(TENANT, "test", sorted(holidays))
        found = shared.next_opening(TENANT, window.document(), zone.key, after)
    assert found == expected(window, zone, after)


@pytest.mark.parametrize(
    ("window", "after", "opening"),
    [
        ({"start": "08:00", "end": "21:00"}, "2026-03-02 07:59:59", "2026-03-02 08:00"),
        ({"start": "08:00", "end": "21:00"}, "2026-03-02 08:00", "2026-03-02 08:00"),
        ({"start": "08:00", "end": "21:00"}, "2026-03-02 20:59:59", "2026-03-02 20:59:59"),
        ({"start": "08:00", "end": "21:00"}, "2026-03-02 21:00", "2026-03-03 08:00"),
        ({"start": "8:30", "end": "21:00"}, "2026-03-02 00:00", "2026-03-02 08:30"),
        ({"start": "22:00", "end": "06:00"}, "2026-03-02 05:59", "2026-03-02 05:59"),
        ({"start": "22:00", "end": "06:00"}, "2026-03-02 06:00", "2026-03-02 22:00"),
        ({"days": WEEKDAYS}, "2026-03-06 23:59", "2026-03-06 23:59"),
        ({"days": WEEKDAYS}, "2026-03-07 00:00", "2026-03-09 00:00"),
        # Friday's night ends on Saturday, and Saturday has none of its own.
        ({"start": "22:00", "end": "02:00", "days": ["fri"]}, "2026-03-07 01", "2026-03-07 01"),
        ({"start": "22:00", "end": "02:00", "days": ["fri"]}, "2026-03-07 22", "2026-03-13 22"),
        # The clocks go from 02:00 to 03:00, and back on 25 October.
        ({"start": "02:30", "end": "21:00"}, "2026-03-29 01:59", "2026-03-29 03:00"),
        ({"start": "02:10", "end": "02:50"}, "2026-03-29 00:00", "2026-03-30 02:10"),
        ({"start": "02:30", "end": "21:00"}, "2026-10-25 01:59", "2026-10-25 02:30"),
        (False, "2026-03-02 03:00", "2026-03-02 03:00"),
    ],
)
def test_a_window_opens_on_the_subscribers_clock(
    engine: Engine, window: Any, after: str, opening: str
) -> None:
    start, expected = (
        datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)
        for text in (after, opening)
    )
    assert engine.next_opening(None, window, "Europe/Berlin", start) == expected


def test_a_holiday_is_closed_from_midnight_to_midnight(engine: Engine) -> None:
    engine.set_holidays(TENANT, "de", [date(2026, 12, 25), date(2026, 12, 26)])
    night = {"start": "22:00", "end": "06:00", "calendar": "de"}
    for after, opening in [("24T23:59", "24T23:59"), ("25T00:00", "27T22:00")]:
        at, expected = (
            datetime.fromisoformat(f"2026-12-{text}").replace(tzinfo=UTC)
            for text in (after, opening)
        )
        assert engine.next_opening(TENANT, night, "UTC", at) == expected


def test_a_tenants_window_keeps_its_own_holidays_and_those_of_all(engine: Engine) -> None:
    engine.set_holidays(None, "fairs", [date(2026, 3, 2)])
    engine.set_holidays(TENANT, "fairs", [date(2026, 3, 3)])
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    window = {"calendar": "fairs"}
    assert engine.next_opening(TENANT, window, "UTC", at) == datetime(2026, 3, 4, tzinfo=UTC)
    assert engine.next_opening("other", window, "UTC", at) == datetime(2026, 3, 3, tzinfo=UTC)


def test_a_window_that_has_only_holidays_is_refused(engine: Engine) -> None:
    start = date(2026, 1, 1)
    engine.set_holidays(TENANT, "never", [start + n * DAY for n in range(800)])
    with engine.refused(InvalidArgument):
        engine.next_opening(TENANT, {"calendar": "never"}, "UTC", datetime(2026, 3, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("zone", "error", "field"),
    [("foo5", UnknownTimeZone, "time_zone"), ("UTC", InvalidArgument, "send_window.start")],
)
def test_what_is_no_zone_or_no_window_is_refused(
    engine: Engine, zone: str, error: type[Any], field: str
) -> None:
    start = "08:00" if zone == "foo5" else "8am"
    with engine.refused(error) as refusal:
        engine.next_opening(None, {"start": start}, zone, datetime(2026, 3, 2, tzinfo=UTC))
    assert refusal.value.diag.column_name == field
