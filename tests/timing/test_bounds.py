"""What nobody means is refused at once, and not repeated at length."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from dripdrop.errors import DripdropError, InvalidArgument, InvalidTiming
from tests.engine import TENANT, Engine, after, email

Db = psycopg.Connection[Any]


@pytest.mark.parametrize(
    "words",
    [
        ",".join(["1"] * 20_000) + " * * * *",
        "1 " * 20_000,
        "every " + "very " * 400_000 + "monday at 9am",
        " " * 2_000_000 + "in 3 days",
        "in 3 days" + "x" * 2_000_000,
    ],
    ids=["many items", "many fields", "many words", "many blanks", "much else"],
)
def test_an_expression_of_megabytes_is_refused_in_short(db: Db, words: str) -> None:
    begun = time.monotonic()
    for call in (
        "select dripdrop.parse_timing(%s)",
        "select dripdrop.cron_next(%s, 'UTC', '2026-03-02')",
        "select dripdrop.next_time(to_jsonb(left(%s, 60000)), 'UTC', '2026-03-02')",
    ):
        with pytest.raises(InvalidTiming) as refusal:
            db.execute(call.encode(), [words])
        assert len(str(refusal.value)) < 1000
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("horizon", ["infinity", "1000000 years", "101 years", "-1 day", "0"])
@pytest.mark.parametrize(
    "call", ["simulate('acme', 'onboarding', '{}', ", "forecast('acme', 'onboarding', "]
)
def test_a_horizon_is_within_a_hundred_years(db: Db, call: str, horizon: str) -> None:
    version = db.execute("show server_version_num").fetchone()[0]  # type: ignore[index]
    if horizon == "infinity" and int(version) < 170000:
        pytest.skip("intervals are finite before 17")
    with pytest.raises(InvalidArgument) as refusal:
        db.execute(f"select * from dripdrop.{call} horizon => %s::interval)".encode(), [horizon])
    assert refusal.value.diag.column_name == "horizon"


@pytest.mark.slow
def test_a_simulation_without_an_end_is_told_to_be_shorter(engine: Engine) -> None:
    engine.author(
        email("welcome"),
        email("tick", timing={"type": "cron", "cron_expression": "* * * * *", "recurring": True}),
        email("bye", timing=after(900, "weeks")),
    )
    with pytest.raises(InvalidArgument) as refusal:
        engine.simulate(TENANT, "onboarding", {"email": "s@x.org"}, horizon=timedelta(days=365))
    assert refusal.value.diag.column_name == "horizon"


@pytest.mark.parametrize(
    "at", ["infinity", "-infinity", "4714-11-24 BC", "294276-12-31", "1800-01-01"]
)
@pytest.mark.parametrize(
    "call",
    [
        "select dripdrop.cron_next('0 9 * * *', 'UTC', %s::timestamptz)",
        "select dripdrop.next_time('\"in 3 days\"', 'UTC', %s::timestamptz)",
        'select dripdrop.next_opening(null, \'{"start": "09:00", "end": "17:00"}\', \'UTC\','
        " %s::timestamptz)",
        "select dripdrop.simulate(null, 'x', '{}', start_at => %s::timestamptz)",
        "select dripdrop.track_event(null, 'x', subscriber_id => 'x', occurred_at =>"
        " %s::timestamptz)",
    ],
)
def test_a_time_is_within_a_hundred_years(db: Db, call: str, at: str) -> None:
    with pytest.raises(InvalidArgument):
        db.execute(call.encode(), [at])


def test_the_nearest_and_the_furthest_times_are_found(db: Db) -> None:
    later = datetime(2110, 1, 1, tzinfo=UTC)
    row = db.execute("select dripdrop.cron_next('0 0 29 2 MON', 'UTC', %s)", [later]).fetchone()
    assert row is not None
    assert row[0] > later


@pytest.mark.parametrize("delay", [{"delay_amount": 999999}, {"delay_amount": 10**30}])
def test_the_longest_delay_has_a_due_time_or_is_refused(
    engine: Engine, delay: dict[str, Any]
) -> None:
    timing = {"type": "delay", "delay_unit": "weeks"} | delay
    try:
        engine.author(email("welcome", timing=timing))
    except DripdropError as error:
        assert error.diag.message_hint
        return
    engine.join()
