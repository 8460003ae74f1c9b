"""Cron expressions: what the five fields mean, and what happens when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from dripdrop.errors import InvalidArgument, InvalidTiming, UnknownTimeZone
from tests.engine import Engine


def local(text: str, zone: str, fold: int = 0) -> datetime:
    """Return the instant of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 9 * * *", "2026-03-02 08:59", "2026-03-02 09:00"),
        ("0 9 * * *", "2026-03-02 09:00", "2026-03-03 09:00"),
        ("0 9 * * *", "2026-03-02 08:59:59.999999", "2026-03-02 09:00"),
        ("0 9 * * *", "2026-03-02 09:00:00.000001", "2026-03-03 09:00"),
        ("*/20 * * * *", "2026-03-02 09:40", "2026-03-02 10:00"),
        ("5/20 * * * *", "2026-03-02 09:40", "2026-03-02 09:45"),
        ("10-30/10 9 * * *", "2026-03-02 09:20", "2026-03-02 09:30"),
        ("0 9,17 * * *", "2026-03-02 09:00", "2026-03-02 17:00"),
        ("0 0 1 JAN,jul *", "2026-03-02", "2026-07-01"),
        ("0 9 * * MON-FRI", "2026-03-06 09:00", "2026-03-09 09:00"),
        ("0 9 * * FRI-SUN", "2026-03-07 09:00", "2026-03-08 09:00"),
        ("0 9 * * 0", "2026-03-02", "2026-03-08 09:00"),
        ("0 9 * * 7", "2026-03-02", "2026-03-08 09:00"),
        ("0 9 L * *", "2026-02-10", "2026-02-28 09:00"),
        ("0 9 L * *", "2028-02-10", "2028-02-29 09:00"),
        ("0 9 15,L * *", "2026-03-15 09:00", "2026-03-31 09:00"),
        ("0 9 * * FRI#2", "2026-03-02", "2026-03-13 09:00"),
        ("0 9 * * 1#5", "2026-04-01", "2026-06-29 09:00"),
        ("0 9 * * 5L", "2026-03-02", "2026-03-27 09:00"),
        ("0 9 * * FRIL,MON#1", "2026-03-02 09:00", "2026-03-27 09:00"),
        ("0 0 29 2 *", "2026-03-02", "2028-02-29"),
        ("0 0 29 2 *", "2096-03-01", "2104-02-29"),
        ("@hourly", "2026-03-02 09:00", "2026-03-02 10:00"),
        ("@daily", "2026-03-02 09:00", "2026-03-03"),
        ("@midnight", "2026-03-02 09:00", "2026-03-03"),
        ("@weekly", "2026-03-02 09:00", "2026-03-08"),
        ("@monthly", "2026-03-02 09:00", "2026-04-01"),
        ("@yearly", "2026-03-02 09:00", "2027-01-01"),
        ("@annually", "2026-03-02 09:00", "2027-01-01"),
        ("every monday at 9am", "2026-03-02 09:00", "2026-03-09 09:00"),
    ],
)
def test_the_next_time_is_strictly_after(
    engine: Engine, expression: str, after: str, expected: str
) -> None:
    assert engine.cron_next(expression, "UTC", local(after, "UTC")) == local(expected, "UTC")


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 13 * FRI", [6, 13, 20, 27]),
        ("0 0 13 * *", [13]),
        ("0 0 * * FRI", [6, 13, 20, 27]),
        ("0 0 */10 * FRI", []),
        ("0 0 */2 * FRI", [13, 27]),
        ("0 0 20-28 * */7", [22]),
        ("0 0 1 * 5L", [1, 27]),
    ],
)
def test_day_fields_mean_either_unless_one_begins_with_a_star(
    engine: Engine, expression: str, days: list[int]
) -> None:
    """As in Vixie cron; in March 2026, which begins on a Sunday."""
    found = []
    at = local("2026-02-28 23:59", "UTC")
    while (at := engine.cron_next(expression, "UTC", at)).month == 3 and at.year == 2026:
        found.append(at.day)
    assert found == days


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", "2026-03-29 03:00"),
        ("Europe/Berlin", "30 2 * * *", "2026-03-29 03:00", "2026-03-30 02:30"),
        ("Europe/Berlin", "*/30 * * * *", "2026-03-29 01:30", "2026-03-29 03:00"),
        ("Europe/Berlin", "*/30 * * * *", "2026-03-29 03:00", "2026-03-29 03:30"),
        ("Europe/Berlin", "59 2 * * *", "2026-03-28 12:00", "2026-03-29 03:00"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00", "2026-10-04 02:30"),
        ("America/Havana", "0 0 * * *", "2026-03-07 12:00", "2026-03-08 01:00"),
        # Samoa had no 30 December 2011.
        ("Pacific/Apia", "0 12 30 12 *", "2011-12-29 12:00", "2011-12-31 00:00"),
        ("Pacific/Apia", "0 12 * * *", "2011-12-31 00:00", "2011-12-31 12:00"),
    ],
)
def test_a_time_that_a_clock_change_leaves_out_comes_right_after_the_gap(
    engine: Engine, zone: str, expression: str, after: str, expected: str
) -> None:
    assert engine.cron_next(expression, zone, local(after, zone)) == local(expected, zone)


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", ("2026-10-25 00:00", 0), ("2026-10-25 02:30", 0)),
        ("Europe/Berlin", "30 2 * * *", ("2026-10-25 02:30", 0), ("2026-10-26 02:30", 0)),
        ("Europe/Berlin", "30 2 * * *", ("2026-10-25 02:15", 1), ("2026-10-26 02:30", 0)),
        ("Europe/Berlin", "*/30 1,2 * * *", ("2026-10-25 02:30", 0), ("2026-10-26 01:00", 0)),
        ("Europe/Berlin", "*/30 0-23 * * *", ("2026-10-25 02:30", 0), ("2026-10-25 03:00", 0)),
        ("Europe/Dublin", "30 1 * * *", ("2026-10-25 00:00", 0), ("2026-10-25 01:30", 0)),
        ("Australia/Lord_Howe", "45 1 * * *", ("2026-04-05 00:00", 0), ("2026-04-05 01:45", 0)),
        ("America/Havana", "30 0 * * *", ("2026-11-01 00:30", 0), ("2026-11-02 00:30", 0)),
    ],
)
def test_a_time_that_a_clock_change_repeats_comes_once_at_the_first(
    engine: Engine, zone: str, expression: str, after: tuple[str, int], expected: tuple[str, int]
) -> None:
    found = engine.cron_next(expression, zone, local(after[0], zone, after[1]))
    assert found == local(expected[0], zone, expected[1])


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        ("Europe/Berlin", "*/15 * * * *", ("2026-10-25 01:59", 0), ("2026-10-25 02:00", 0)),
        ("Europe/Berlin", "*/15 * * * *", ("2026-10-25 02:30", 0), ("2026-10-25 02:45", 0)),
        ("Europe/Berlin", "*/15 * * * *", ("2026-10-25 02:45", 0), ("2026-10-25 02:00", 1)),
        ("Europe/Berlin", "*/15 * * * *", ("2026-10-25 02:00", 1), ("2026-10-25 02:15", 1)),
        ("Europe/Berlin", "*/15 * * * *", ("2026-10-25 02:45", 1), ("2026-10-25 03:00", 0)),
        ("Europe/Berlin", "* * * * *", ("2026-10-25 02:59", 0), ("2026-10-25 02:00", 1)),
        ("Europe/Berlin", "@hourly", ("2026-10-25 02:00", 0), ("2026-10-25 02:00", 1)),
        ("Europe/Berlin", "@hourly", ("2026-10-25 02:00", 1), ("2026-10-25 03:00", 0)),
        ("Europe/Berlin", "30 */2 * * *", ("2026-10-25 02:30", 0), ("2026-10-25 02:30", 1)),
        ("Europe/Berlin", "30 */2 * * *", ("2026-10-25 02:30", 1), ("2026-10-25 04:30", 0)),
        ("Europe/Berlin", "30 */3 * * *", ("2026-10-25 02:10", 0), ("2026-10-25 03:30", 0)),
        ("Europe/Berlin", "0 * 26 10 *", ("2026-10-25 02:10", 0), ("2026-10-26 00:00", 0)),
        ("Australia/Lord_Howe", "*/15 * * * *", ("2026-04-05 01:45", 0), ("2026-04-05 01:30", 1)),
        ("Antarctica/Troll", "0 * * * *", ("2026-10-25 02:00", 0), ("2026-10-25 01:00", 1)),
        ("America/Havana", "30 * * * *", ("2026-11-01 00:30", 0), ("2026-11-01 00:30", 1)),
    ],
)
def test_what_comes_every_hour_comes_in_both_passes_of_one_that_is_repeated(
    engine: Engine, zone: str, expression: str, after: tuple[str, int], expected: tuple[str, int]
) -> None:
    found = engine.cron_next(expression, zone, local(after[0], zone, after[1]))
    assert found == local(expected[0], zone, expected[1])


def test_the_answer_does_not_depend_on_the_sessions_zone(engine: Engine) -> None:
    expected = local("2026-10-25 02:30", "Europe/Berlin")
    for zone in ("Europe/Berlin", "America/New_York", "Pacific/Apia"):
        engine.rows("select set_config('timezone', %s, false)", zone)
        after = local("2026-10-24 12:00", "Europe/Berlin")
        found = engine.cron_next("30 2 * * *", "Europe/Berlin", after)
        assert found.astimezone(UTC) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * FOO *",
        "* * * * 8",
        "* * * * MO",
        "* * * JAN-FOO *",
        "*/0 * * * *",
        "5-1 * * * *",
        "1,,2 * * * *",
        "1, * * * *",
        "*-5 * * * *",
        "-1 * * * *",
        "100 * * * *",
        "L * * * *",
        "* * L-3 * *",
        "* * 5#2 * *",
        "* * 5L * *",
        "* * * * L",
        "* * * * *L",
        "* * * * 1-5#2",
        "* * * * 1#0",
        "* * * * 1#6",
        "* * * * 1#2/2",
        "* * * MON *",
        "* * * * JAN",
        "? * * * *",
        "* * * *",
        "* * * * * *",
        "@reboot",
        "in 3 days",
        "immediate",
        "",
    ],
)
def test_what_is_no_schedule_is_refused(engine: Engine, expression: str) -> None:
    with engine.refused(InvalidTiming) as refusal:
        engine.cron_next(expression, "UTC", local("2026-03-02", "UTC"))
    assert refusal.value.diag.column_name == "expression"


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 */31 2-3 1#5", "0 0 */29 2 2#5"]
)
def test_a_date_that_never_comes_is_refused(engine: Engine, expression: str) -> None:
    with engine.refused(InvalidTiming) as refusal:
        engine.parse_timing(expression)
    assert "never comes" in str(refusal.value)


@pytest.mark.parametrize("zone", ["foo5", "Mars/Olympus", ""])
def test_a_schedule_needs_a_zone_that_is_listed(engine: Engine, zone: str) -> None:
    with engine.refused(UnknownTimeZone):
        engine.cron_next("@daily", zone, local("2026-03-02", "UTC"))


@pytest.mark.parametrize("after", ["infinity", "-infinity"])
def test_nothing_comes_after_the_end_of_time(engine: Engine, after: str) -> None:
    with engine.refused(InvalidArgument):
        engine.rows("select dripdrop.cron_next('@daily', 'UTC', %s)", after)


def test_a_leap_day_on_a_weekday_is_found_over_a_century_without_one(engine: Engine) -> None:
    """29 February 2072 is a Monday; the next one is 40 years later."""
    after = local("2072-02-29 12:00", "UTC")
    expected = local("2112-02-29", "UTC")
    assert engine.cron_next("0 0 29-31/3 2 */7", "UTC", after) == local("2088-02-29", "UTC")
    assert engine.cron_next("0 0 */28 2 MON#5", "UTC", after) == expected
