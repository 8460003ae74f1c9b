"""Whose wall clock counts, and what a time zone is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import Clock
from tests.engine import Engine, after, email

UTC = ZoneInfo("UTC")


# In 2026 New York changes its clocks on 8 March, Berlin on 29 March, Sydney (back) on 5 April.
@pytest.mark.parametrize(
    ("start", "subscriber", "step", "sequence", "hours"),
    [
        (datetime(2026, 3, 4), "America/New_York", "Europe/Berlin", "Australia/Sydney", 239),
        (datetime(2026, 3, 24), None, "Europe/Berlin", "Australia/Sydney", 239),
        (datetime(2026, 3, 31), None, None, "Australia/Sydney", 241),
        (datetime(2026, 3, 31), None, None, None, 240),
    ],
)
def test_the_subscribers_zone_comes_before_the_steps_and_the_sequences(
    engine: Engine,
    clock: Clock,
    start: datetime,
    subscriber: str | None,
    step: str | None,
    sequence: str | None,
    hours: int,
) -> None:
    config = {"time_zone": step} if step else {}
    engine.author(email("tip", timing=after(10, "days"), config=config), time_zone=sequence)
    now = clock.set(start.replace(tzinfo=UTC))
    sam = engine.join(data={"email": "sam@example.com", "time_zone": subscriber})
    assert engine.last(sam.id).due_at - now == timedelta(hours=hours)


@pytest.mark.parametrize(
    "fields",
    [
        {"timezone": "Europe/Berlin"},
        {"time_zone": "Europe/Berlin", "timezone": "America/New_York"},
        {"time_zone": None, "timezone": "Europe/Berlin"},
    ],
)
def test_the_zone_in_the_data_may_be_spelt_two_ways(
    engine: Engine, clock: Clock, fields: dict[str, Any]
) -> None:
    engine.author(email("tip", timing=after(1, "days")))
    clock.set(datetime(2026, 3, 28, 9, tzinfo=ZoneInfo("Europe/Berlin")))
    sam = engine.join(data={"email": "sam@example.com"} | fields)
    expected = datetime(2026, 3, 29, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert engine.last(sam.id).due_at == expected


@pytest.mark.parametrize("zone", ["foo5", "Mars/Olympus", "europe/berlin ", "", "+02:00", "CET-1"])
def test_what_is_not_listed_is_no_zone(engine: Engine, zone: str) -> None:
    assert engine.rows("select dripdrop._is_time_zone(%s) as known", zone)[0].known is False


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_what_is_listed_is_a_zone(engine: Engine, zone: str) -> None:
    assert engine.rows("select dripdrop._is_time_zone(%s) as known", zone)[0].known is True
