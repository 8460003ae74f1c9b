"""Whose wall clock counts, and what a time zone is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dripdrop.errors import InvalidTenantKey, UnknownTimeZone
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

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


def default_time_zone(engine: Engine, tenant_key: str | None) -> str:
    """Return the zone of those for whom nobody names one."""
    query = "select dripdrop._default_time_zone(%s) as name"
    name: str = engine.rows(query, tenant_key)[0].name
    return name


def test_the_default_zone_is_the_tenants_or_else_the_global_one_or_else_utc(
    engine: Engine,
) -> None:
    assert default_time_zone(engine, TENANT) == "UTC"
    engine.update_tenant_settings(None, "America/New_York")
    assert default_time_zone(engine, TENANT) == "America/New_York"
    engine.update_tenant_settings(TENANT, "Europe/Berlin")
    assert default_time_zone(engine, TENANT) == "Europe/Berlin"
    assert default_time_zone(engine, "other") == "America/New_York"
    assert default_time_zone(engine, None) == "America/New_York"


def test_a_setting_that_is_left_out_stays(engine: Engine, clock: Clock) -> None:
    engine.update_tenant_settings(TENANT, "Europe/Berlin")
    later = clock.advance(days=1)
    settings = engine.update_tenant_settings(TENANT)
    assert (settings.time_zone, settings.updated_at) == ("Europe/Berlin", later)
    assert settings.inserted_at < later


def test_a_tenant_that_says_nothing_has_the_global_zone(engine: Engine) -> None:
    engine.update_tenant_settings(None, "Europe/Berlin")
    assert engine.update_tenant_settings(TENANT).time_zone is None
    assert default_time_zone(engine, TENANT) == "Europe/Berlin"


@pytest.mark.parametrize("zone", ["foo5", ""])
def test_a_tenants_zone_is_a_listed_one(engine: Engine, zone: str) -> None:
    with engine.refused(UnknownTimeZone) as refusal:
        engine.update_tenant_settings(TENANT, zone)
    assert refusal.value.diag.column_name == "time_zone"


@pytest.mark.parametrize("tenant", ["", ":global"])
def test_settings_belong_to_a_tenant_that_can_be(engine: Engine, tenant: str) -> None:
    with engine.refused(InvalidTenantKey):
        engine.update_tenant_settings(tenant, "Europe/Berlin")
