"""The next time of a schedule, against two other implementations of cron.

They say which wall times match; which instants those are is worked out here with `zoneinfo`, apart
from the database. What they do not know, or know otherwise, is not asked of them:

- cronsim takes `L` after a number only (`5L`, not `FRIL`), croniter before it (`L5`);
- croniter refuses `MON,5#2`, and a day of the month restricts `5#2` and `5L`;
- croniter takes `0-6` for `*`, so that it restricts the day of the month;
- steps from a single weekday (`1/2`) run to 7 in cronsim, to 6 here and in croniter;
- what has `*` for the minute is repeated by cronsim with the clock, and here not: here the hour
  says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter
from cronsim import CronSim, CronSimError
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dripdrop.errors import InvalidTiming
from tests.engine import Engine
from tests.timing.times import times

Matches = Callable[[str, datetime], Iterator[datetime]]

ZONES = [
    "UTC",
    "Africa/Cairo",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def by_cronsim(expression: str, after: datetime) -> Iterator[datetime]:
    """Yield the wall times after one, as cronsim sees them."""
    return iter(CronSim(expression, after))


def by_croniter(expression: str, after: datetime) -> Iterator[datetime]:
    """Yield the wall times after one, as croniter sees them."""
    day, weekday = expression.split()[2::2]
    assume(not re.search("[#L]", weekday) or (day == "*" and "," not in weekday))
    moved = re.sub(r"(\d)L", r"L\1", expression)
    numbers, _ = croniter.expand(moved)
    fields = zip(moved.split(), numbers, strict=True)
    assume(all(field[0] == "*" or named != ["*"] for field, named in fields))
    times = croniter(
        moved, after, ret_type=datetime, implement_cron_bug=True, max_years_between_matches=41
    )
    while True:
        yield times.get_next()


def instant(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which the clocks of a zone show a time or have passed it."""
    at = wall_time.replace(tzinfo=zone).astimezone(UTC)
    skipped = at.astimezone(zone).replace(tzinfo=None) - wall_time
    at -= skipped
    while at.astimezone(zone).replace(tzinfo=None) < wall_time:
        at += timedelta(minutes=1)
    return at


def second_instant(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """Return when the clocks of a zone show a time the last time."""
    return wall_time.replace(tzinfo=zone, fold=1).astimezone(UTC)


def expected(matches: Matches, expression: str, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the next instant by another implementation's wall times."""
    start = after.astimezone(zone).replace(tzinfo=None)
    wall_times = matches(expression, start)
    first = next(at for at in (instant(each, zone) for each in wall_times) if at > after)
    hours = "*" if expression == "@hourly" else expression.split()[1:2]
    if not re.fullmatch(r"[*](/[0-9]+)?", "".join(hours)):
        return first
    again = matches(expression, start - timedelta(hours=3))
    until = start + timedelta(hours=3)
    return min(
        [first]
        + [
            at
            for each in takewhile(lambda each: each < until, again)
            if instant(each, zone) < (at := second_instant(each, zone)) and at > after
            # Not one that a gap leaves out.
            if at.astimezone(zone).replace(tzinfo=None) == each
        ]
    )


@st.composite
def drawn_field(draw: st.DrawFn, low: int, high: int, *special: str) -> str:
    """Draw a field: a star, a number, a name, a range, a step, or a list of these."""
    number = st.integers(low, high)
    names = {12: ["", *MONTHS], 6: WEEKDAYS}.get(high)

    def item() -> str:
        kind = draw(st.sampled_from(["number", "range", "step", "special"]))
        ends = sorted(draw(st.lists(number, min_size=2, max_size=2, unique=True)))
        spelt = [names[each] if names and draw(st.booleans()) else str(each) for each in ends]
        if kind == "special" and special:
            return draw(st.sampled_from(special))
        if kind == "step":
            start = draw(st.sampled_from(["*", "-".join(spelt), *([] if high == 6 else spelt[:1])]))
            return f"{start}/{draw(st.integers(1, 15))}"
        return "-".join(spelt) if kind == "range" else spelt[0]

    if draw(st.booleans()):
        return "*"
    return ",".join(item() for _ in range(draw(st.integers(1, 3))))


expressions = st.tuples(
    drawn_field(0, 59),
    drawn_field(0, 23),
    drawn_field(1, 31, "L"),
    drawn_field(1, 12),
    drawn_field(0, 6, "7", "5-7", "MON#1", "3#2", "5#5", "0L", "5L"),
).map(" ".join)
fixed_times = st.tuples(st.integers(0, 59), st.integers(0, 23), expressions).map(
    lambda drawn: without_stars(*drawn)
)
zones = st.sampled_from(ZONES).map(ZoneInfo)


def without_stars(minute: int, hour: int, expression: str) -> str:
    """Return an expression whose minute and hour are fixed, if need be these."""
    minutes, hours, *days = expression.split()
    fixed = (
        str(minute) if minutes.startswith("*") else minutes,
        str(hour) if hours.startswith("*") else hours,
    )
    return " ".join([*fixed, *days])


@pytest.mark.slow
@pytest.mark.parametrize("matches", [by_cronsim, by_croniter])
@settings(max_examples=300, deadline=None)
@given(expression=expressions, zone=zones, after=times(1975, 2075))
@example("0 0 29 2 *", ZoneInfo("UTC"), datetime(2096, 3, 1, tzinfo=UTC))
@example("30 2 * * *", ZoneInfo("Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=UTC))
@example("*/7 * * * *", ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 1, 20, tzinfo=UTC))
@example("*/7 * * * *", ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 0, 50, tzinfo=UTC))
@example("5 */2 * * *", ZoneInfo("Europe/Berlin"), datetime(2026, 10, 25, 0, 20, tzinfo=UTC))
@example("0 12 * * *", ZoneInfo("Pacific/Apia"), datetime(2011, 12, 30, 1, tzinfo=UTC))
def test_the_next_time_is_that_of_another_implementation(
    shared: Engine, matches: Matches, expression: str, zone: ZoneInfo, after: datetime
) -> None:
    try:
        found = shared.cron_next(expression, zone.key, after)
    except InvalidTiming as refusal:
        assert "never comes" in str(refusal)
        with pytest.raises((StopIteration, CronSimError, CroniterBadDateError)):
            next(matches(expression, datetime(2000, 1, 1)))
    else:
        assert found == expected(matches, expression, zone, after)


@cache
def repeated_hours(zone: ZoneInfo) -> list[datetime]:
    """Return when the clocks of a zone went back in the 2010s, to the hour."""
    hour = timedelta(hours=1)
    starts = (datetime(2010, 1, 1, tzinfo=UTC) + n * hour for n in range(24 * 365 * 10))
    offsets = [(at, at.astimezone(zone).utcoffset() or timedelta(0)) for at in starts]
    return [later[0] for before, later in pairwise(offsets) if later[1] < before[1]]


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(
        ["hourly", "daily", "midnight", "weekly", "monthly", "yearly", "annually"]
    ),
    zone=zones,
    after=times(1975, 2075),
)
def test_a_schedule_with_a_name_comes_when_croniter_says(
    shared: Engine, name: str, zone: ZoneInfo, after: datetime
) -> None:
    def by_name(expression: str, start: datetime) -> Iterator[datetime]:
        times = croniter(expression, start, ret_type=datetime)
        while True:
            yield times.get_next()

    found = shared.cron_next(f"@{name}", zone.key, after)
    assert found == expected(by_name, f"@{name}", zone, after)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    minutes=drawn_field(0, 59),
    hours=st.sampled_from(["*", "*/2", "*/3", "1-3", "1,2"]),
    zone=zones.filter(lambda zone: zone.key not in ("UTC", "Asia/Kathmandu", "Asia/Tokyo")),
    which=st.integers(0, 9),
    minute=st.integers(-180, 180),
)
def test_a_repeated_hour_counts_twice_where_every_hour_does(
    shared: Engine, minutes: str, hours: str, zone: ZoneInfo, which: int, minute: int
) -> None:
    changes = repeated_hours(zone)
    after = changes[which % len(changes)] + timedelta(minutes=minute)
    expression = f"{minutes} {hours} * * *"
    found = shared.cron_next(expression, zone.key, after)
    assert found == expected(by_cronsim, expression, zone, after)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(expression=fixed_times, zone=zones, after=times(1975, 2075))
def test_a_fixed_time_comes_when_debians_cron_runs_it(
    shared: Engine, expression: str, zone: ZoneInfo, after: datetime
) -> None:
    """What cronsim makes of clock changes is Debian's rule, and ours for times that are fixed."""
    try:
        found = shared.cron_next(expression, zone.key, after)
    except InvalidTiming:
        return
    zoned = by_cronsim(expression, after.astimezone(zone))
    assert found == next(at for each in zoned if (at := each.astimezone(UTC)) > after)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    expression=expressions, zone=zones, after=times(1975, 2075), later=st.timedeltas(timedelta(0))
)
def test_nothing_comes_in_between(
    shared: Engine, expression: str, zone: ZoneInfo, after: datetime, later: timedelta
) -> None:
    """From any time before the next one, the next one is the same."""
    try:
        found = shared.cron_next(expression, zone.key, after)
    except InvalidTiming:
        return
    between = min(after + later % (found - after), found - timedelta(microseconds=1))
    assert shared.cron_next(expression, zone.key, between) == found
