"""Timing means the same under whatever settings a session, a role or a database has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.engine import TENANT, Engine, after, email

Db = psycopg.Connection[Any]

SETTINGS = {
    "standard_conforming_strings": "off",
    "intervalstyle": "iso_8601",
    "timezone": "Pacific/Auckland",
    "quote_all_identifiers": "on",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "transform_null_equals": "on",
    "lc_messages": "C",
    "array_nulls": "off",
    "default_transaction_isolation": "repeatable read",
}


@pytest.fixture(params=SETTINGS)
def setting(db: Db, request: pytest.FixtureRequest) -> Any:
    """A session with an unusual setting."""
    name = request.param
    db.execute("set escape_string_warning = off")
    db.execute(sql.SQL("set {} = {}").format(sql.Identifier(name), sql.Literal(SETTINGS[name])))
    yield name
    db.execute(sql.SQL("reset {}").format(sql.Identifier(name)))


@pytest.mark.usefixtures("setting")
@pytest.mark.parametrize(
    ("words", "timing"),
    [
        ("in 3 days", {"type": "delay", "delay_amount": 3, "delay_unit": "days"}),
        (
            " In  2 business\tdays",
            {"type": "delay", "delay_amount": 2, "delay_unit": "business_days"},
        ),
        ("every monday at 9am", {"type": "cron", "cron_expression": "0 9 * * MON"}),
        ("every weekday at 08:30", {"type": "cron", "cron_expression": "30 8 * * 1-5"}),
        ("@daily", {"type": "cron", "cron_expression": "0 0 * * *"}),
        ("*/15 9-17 L 1,6 mon#2", {"type": "cron", "cron_expression": "*/15 9-17 L 1,6 MON#2"}),
    ],
)
def test_words_parse(db: Db, words: str, timing: dict[str, Any]) -> None:
    row = db.execute("select dripdrop.parse_timing(%s)", [words]).fetchone()
    assert row == (timing,)


@pytest.mark.usefixtures("setting")
def test_schedules_come_at_the_same_times(db: Db) -> None:
    row = db.execute(
        "select dripdrop.cron_next('*/20 9 * * MON-FRI', 'Europe/Berlin', %s)",
        [datetime(2026, 3, 27, 9, 0, tzinfo=UTC)],
    ).fetchone()
    assert row == (datetime(2026, 3, 30, 7, 0, tzinfo=UTC),)


def test_dates_may_be_written_as_germans_write_them(db: Db) -> None:
    db.execute("set datestyle = German")
    row = db.execute(
        "select dripdrop.cron_next('0 9 2 * *', 'UTC', '02.03.2026 10:00+00')::text as schedule,"
        " dripdrop.next_time('\"in 1 week\"', 'UTC', '02.03.2026 10:00+00')::text as delay"
    ).fetchone()
    db.execute("reset datestyle")
    assert row == ("02.04.2026 09:00:00 UTC", "09.03.2026 10:00:00 UTC")


@pytest.mark.usefixtures("setting")
def test_documents_are_stored_in_the_same_form(engine: Engine) -> None:
    for _ in range(2):
        version = engine.author(
            email("welcome", config={"stale_after": "1 day", "rate_limits": {"adapter": "10 / m"}}),
            email(
                "bought",
                timing={
                    "type": "event",
                    "trigger_event": "bought",
                    "timeout": "36 hours 5 minutes",
                },
                conditions=[
                    {"predicate": '$.enrollment.score > 1 && $.hooks.x == "a\\"b"'},
                    {"field_path": "plan-tier", "expected_value": "pro"}
                    | {"field_path": '$."plan-tier"'},
                ],
            ),
            email("later", timing=after(2, "days")),
            reentry="always",
            reentry_interval="30 days",
            hooks=[{"key": "x", "url": "https://example.com/x", "response_path": "data.score"}],
        )
    assert version.version == 1
    row = engine.rows("select timing from dripdrop.steps where key = 'bought'")[0]
    assert row.timing["timeout"] == "36:05:00"


@pytest.mark.usefixtures("setting")
def test_a_journey_takes_the_same_course(engine: Engine, now: datetime) -> None:
    engine.author(email("welcome"), email("tip", timing=after(3, "days")))
    sam = engine.join()
    assert len(engine.deliver()) == 1
    assert engine.last(sam.id).due_at == now + timedelta(days=3)
    assert engine.explain(TENANT, sam.id)
    assert engine.simulate(TENANT, "onboarding", {"email": "eve@example.com"}, horizon="30 days")
