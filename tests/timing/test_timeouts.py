"""Timeouts: when the wait for an event ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from psycopg.types.json import Jsonb

from tests.conftest import START
from tests.engine import Engine

BERLIN = ZoneInfo("Europe/Berlin")
EVENT = {"type": "event", "trigger_event": "ordered"}


def ends(engine: Engine, timeout: str | None, start: datetime) -> datetime | None:
    """Return when a wait in Berlin ends."""
    query = "select dripdrop._timeout_at(%s, 'Europe/Berlin', %s) as at"
    at: datetime | None = engine.rows(query, Jsonb(EVENT | {"timeout": timeout}), start)[0].at
    return at


def test_a_wait_without_a_timeout_never_ends(engine: Engine) -> None:
    assert ends(engine, None, START) is None


@pytest.mark.parametrize(
    ("timeout", "start", "expected"),
    [
        ("1 day", datetime(2026, 3, 28, 9), datetime(2026, 3, 29, 9)),
        ("14 days", datetime(2026, 3, 20, 9), datetime(2026, 4, 3, 9)),
        ("1 mon", datetime(2026, 10, 1, 9), datetime(2026, 11, 1, 9)),
        ("1 mon", datetime(2026, 1, 31, 9), datetime(2026, 2, 28, 9)),
        ("1 day 04:00:00", datetime(2026, 10, 24, 1), datetime(2026, 10, 25, 4)),
    ],
)
def test_its_days_pass_on_the_wall_clock(
    engine: Engine, timeout: str, start: datetime, expected: datetime
) -> None:
    assert ends(engine, timeout, start.replace(tzinfo=BERLIN)) == expected.replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("timeout", "start"),
    [
        ("24:00:00", datetime(2026, 3, 28, 9, tzinfo=BERLIN)),
        ("24:00:00", datetime(2026, 10, 24, 9, tzinfo=BERLIN)),
        ("00:10:00", datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)),
        ("00:10:00", datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)),
    ],
)
def test_its_hours_and_minutes_are_absolute(engine: Engine, timeout: str, start: datetime) -> None:
    hours, minutes, _ = timeout.split(":")
    elapsed = timedelta(hours=int(hours), minutes=int(minutes))
    assert ends(engine, timeout, start) == start.astimezone(UTC) + elapsed


def test_it_does_not_depend_on_the_sessions_zone(engine: Engine) -> None:
    engine.rows("select set_config('timezone', 'America/New_York', false)")
    start = datetime(2026, 3, 7, 18, tzinfo=BERLIN)
    assert ends(engine, "1 day 12:00:00", start) == datetime(2026, 3, 9, 6, tzinfo=BERLIN)
