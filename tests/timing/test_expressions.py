"""Timings in words, and the forms that a step takes and keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dripdrop.errors import DripdropError, InvalidArgument, InvalidTiming, UnknownTimeZone
from tests.engine import TENANT, Engine, after, email, onboarding

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


def cron(expression: str, **fields: Any) -> dict[str, Any]:
    """Return the timing of a step that has a schedule."""
    return {"type": "cron", "cron_expression": expression} | fields


def event(**fields: Any) -> dict[str, Any]:
    """Return the timing of a step that waits for an order."""
    return {"type": "event", "trigger_event": "ordered"} | fields


BUSINESS_DAYS = after(2, "business_days") | {"calendar": "de"}


@pytest.mark.parametrize(
    ("expression", "timing"),
    [
        ("immediate", {"type": "immediate"}),
        ("in 45 seconds", after(45, "seconds")),
        ("in 1 minute", after(1, "minutes")),
        ("in 2 hours", after(2, "hours")),
        ("in 3 days", after(3, "days")),
        ("  In  1\tWEEK ", after(1, "weeks")),
        ("in 1 business day", after(1, "business_days")),
        ("In 999  Business Days", after(999, "business_days")),
        ("every day at 9am", cron("0 9 * * *")),
        ("every day at 9:30 pm", cron("30 21 * * *")),
        ("every day at 12am", cron("0 0 * * *")),
        ("every day at 12pm", cron("0 12 * * *")),
        ("every day at 0:05", cron("5 0 * * *")),
        ("every weekday at 08:30", cron("30 8 * * 1-5")),
        ("every monday at 9am", cron("0 9 * * MON")),
        ("Every Sunday at 23:59", cron("59 23 * * SUN")),
        ("@daily", cron("0 0 * * *")),
        ("@Hourly", cron("0 * * * *")),
        (" 0  9 * jan-mar mon#2,fril ", cron("0 9 * JAN-MAR MON#2,FRIL")),
    ],
)
def test_words_become_the_form_that_a_step_keeps(
    engine: Engine, expression: str, timing: dict[str, Any]
) -> None:
    assert engine.parse_timing(expression) == timing


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "soon",
        "in 0 days",
        "in -1 days",
        "in 1.5 days",
        "in 3",
        "in three days",
        "in 2 fortnights",
        "in 1000000 days",
        "in 0 business days",
        "in 1000 business days",
        "in 3 businessdays",
        "every business day at 9am",
        "every monday at 9",
        "every monday at 24:00",
        "every monday at 9:60",
        "every monday at 13pm",
        "every monday at 0am",
        "every mon at 9am",
        "every day at 9am or so",
    ],
)
def test_words_that_do_not_parse_are_refused(engine: Engine, expression: str) -> None:
    with engine.refused(InvalidTiming) as refusal:
        engine.parse_timing(expression)
    assert refusal.value.diag.column_name == "expression"


@pytest.mark.parametrize(
    ("timing", "kept"),
    [
        ("in 3 days", after(3, "days")),
        ("every monday at 9am", cron("0 9 * * MON")),
        (cron("every monday at 9am"), cron("0 9 * * MON")),
        (cron("@daily", timezone=None), cron("0 0 * * *")),
        (
            cron("0 9 * * mon", timezone="Europe/Berlin"),
            cron("0 9 * * MON", timezone="Europe/Berlin"),
        ),
        (cron("@daily", recurring=True), cron("0 0 * * *", recurring=True)),
        (cron("@daily", recurring=False), cron("0 0 * * *")),
        (after(3, "days") | {"calendar": None}, after(3, "days")),
        (after("3", "weeks"), after(3, "weeks")),  # type: ignore[arg-type]
        (after(2, "business_days") | {"calendar": "default"}, after(2, "business_days")),
        (after(2, "business_days") | {"calendar": "de"}, BUSINESS_DAYS),
    ],
)
def test_a_step_keeps_a_timing_in_one_form(engine: Engine, timing: Any, kept: Any) -> None:
    engine.author(email("tip", timing=timing))
    assert engine.rows("select timing from dripdrop.steps")[0].timing == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {}),
        ({"recurring": True}, {"recurring": True}),
        ({"recurring": False, "timeout": None, "on_timeout": None, "since": None}, {}),
        ({"match": {"plan": None, "paid": False}}, {"match": {"plan": None, "paid": False}}),
        ({"trigger_data": {"plan": "pro"}}, {"match": {"plan": "pro"}}),
        ({"match": {}}, {}),
        ({"since": "enrollment"}, {"since": "enrollment"}),
        (after(2, "hours") | event(), {"delay_amount": 2, "delay_unit": "hours"}),
        (BUSINESS_DAYS | event(), BUSINESS_DAYS | event()),
        ({"timeout": "3 days"}, {"timeout": "3 days", "on_timeout": "continue"}),
        ({"timeout": "P2W", "on_timeout": "exit"}, {"timeout": "14 days", "on_timeout": "exit"}),
        ({"timeout": "90 min", "on_timeout": "tip"}, {"timeout": "01:30:00", "on_timeout": "tip"}),
    ],
)
def test_a_step_keeps_what_it_waits_for_in_one_form(
    engine: Engine, given: dict[str, Any], kept: dict[str, Any]
) -> None:
    engine.author(email("tip", timing=event(**given)))
    assert engine.rows("select timing from dripdrop.steps")[0].timing == event(**kept)


def test_a_timeout_is_kept_the_same_whatever_the_sessions_style(engine: Engine) -> None:
    engine.author(email("tip", timing=event(timeout="1 month 2 days 3 hours")))
    engine.rows("select set_config('intervalstyle', 'sql_standard', false)")
    same = onboarding(email("tip", timing=event(timeout="1 mon 2 days 03:00")))
    assert engine.plan(TENANT, same) == []


@pytest.mark.parametrize(
    ("timing", "recurring"),
    [
        ("every monday at 9am", False),
        (cron("@daily", recurring=True), True),
        (event(), False),
        (event(recurring=True), True),
    ],
)
def test_a_step_knows_whether_it_recurs(engine: Engine, timing: Any, recurring: bool) -> None:
    engine.author(email("welcome"), email("tip", timing=timing))
    tip = engine.rows("select recurring from dripdrop.steps where key = 'tip'")[0]
    assert tip.recurring is recurring


def test_the_same_timing_in_other_words_is_no_change(engine: Engine) -> None:
    engine.author(email("tip", timing="every monday at 9am"))
    same = onboarding(email("tip", timing=cron(" 0 9 * *  mon")))
    assert engine.plan(TENANT, same) == []


@pytest.mark.parametrize(
    ("timing", "error", "field"),
    [
        ("soon", InvalidTiming, "timing"),
        (3, InvalidTiming, "timing"),
        ({"type": "cron"}, InvalidTiming, "timing.cron_expression"),
        (cron("61 * * * *"), InvalidTiming, "timing.cron_expression"),
        (cron("0 0 31 2 *"), InvalidTiming, "timing.cron_expression"),
        (cron("in 3 days"), InvalidTiming, "timing.cron_expression"),
        (cron("@daily", timezone="foo5"), UnknownTimeZone, "timing.timezone"),
        (cron("@daily", timezone=1), UnknownTimeZone, "timing.timezone"),
        (cron("@daily", recurring="yes"), InvalidTiming, "timing.recurring"),
        (after(3, "days") | {"recurring": True}, InvalidTiming, "timing.recurring"),
        (cron("@daily", delay_amount=1), InvalidTiming, "timing.delay_amount"),
        (after(1000, "business_days"), InvalidTiming, "timing.delay_amount"),
        (after(3, "business_days") | {"calendar": "DE"}, InvalidTiming, "timing.calendar"),
        (after(3, "days") | {"calendar": "de"}, InvalidTiming, "timing.calendar"),
        ({"type": "event"}, InvalidTiming, "timing.trigger_event"),
        (event(trigger_event=" "), InvalidTiming, "timing.trigger_event"),
        (event(trigger_event=7), InvalidTiming, "timing.trigger_event"),
        (event(timezone="UTC"), InvalidTiming, "timing.timezone"),
        (event(match="pro"), InvalidTiming, "timing.match"),
        (event(trigger_data=["pro"]), InvalidTiming, "timing.trigger_data"),
        (event(match={}, trigger_data={}), InvalidTiming, "timing.trigger_data"),
        (event(delay_amount=3), InvalidTiming, "timing.delay_unit"),
        (event(delay_unit="days"), InvalidTiming, "timing.delay_amount"),
        (event(calendar="de"), InvalidTiming, "timing.delay_amount"),
        (event(since="yesterday"), InvalidTiming, "timing.since"),
        (event(timeout="soon"), InvalidTiming, "timing.timeout"),
        (event(timeout="0 days"), InvalidTiming, "timing.timeout"),
        (event(timeout="-1 days"), InvalidTiming, "timing.timeout"),
        (event(timeout="101 years"), InvalidTiming, "timing.timeout"),
        (event(timeout="infinity"), InvalidTiming, "timing.timeout"),
        (event(timeout="3"), InvalidTiming, "timing.timeout"),
        (event(timeout=3), InvalidTiming, "timing.timeout"),
        (event(timeout=["3 days"]), InvalidTiming, "timing.timeout"),
        (event(on_timeout="exit"), InvalidTiming, "timing.on_timeout"),
        (event(timeout="3 days", on_timeout="No Key"), InvalidTiming, "timing.on_timeout"),
        (event(timeout="3 days", on_timeout=True), InvalidTiming, "timing.on_timeout"),
        (event(recurring=1), InvalidTiming, "timing.recurring"),
        (event(recurring=True, timeout="3 days"), InvalidTiming, "timing.timeout"),
        (event(recurring=True, since="enrollment"), InvalidTiming, "timing.since"),
    ],
)
def test_a_bad_timing_is_reported_with_its_path(
    engine: Engine, timing: Any, error: type[DripdropError], field: str
) -> None:
    document = onboarding(email("welcome"), email("tip", timing=timing))
    with engine.refused(error) as refusal:
        engine.apply(TENANT, document)
    assert refusal.value.diag.column_name == f"steps[1].{field}"


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ("immediate", MONDAY),
        ("in 36 hours", MONDAY + timedelta(hours=36)),
        (after(2, "weeks"), MONDAY + timedelta(weeks=2)),
        ("every monday at 9am", MONDAY + timedelta(hours=23, days=6)),
        (cron("0 9 * * MON", timezone="UTC"), MONDAY + timedelta(days=7)),
        ("in 4 business days", MONDAY + timedelta(days=4)),
        (event(), MONDAY),
        (event(timeout="3 days"), MONDAY),
        (after(2, "hours") | event(), MONDAY + timedelta(hours=2)),
        (after(5, "business_days") | event(), MONDAY + timedelta(days=7)),
    ],
)
def test_the_next_time_of_any_timing_is_in_its_own_zone_or_else_the_subscribers(
    engine: Engine, timing: Any, expected: datetime
) -> None:
    assert engine.next_time(timing, "Europe/Berlin", MONDAY) == expected


@pytest.mark.parametrize(
    ("timing", "zone", "error"),
    [
        ("soon", "UTC", InvalidTiming),
        ({"type": "event"}, "UTC", InvalidTiming),
        ("in 3 days", "foo5", UnknownTimeZone),
    ],
)
def test_a_next_time_needs_a_timing_and_a_zone(
    engine: Engine, timing: Any, zone: str, error: type[DripdropError]
) -> None:
    with engine.refused(error):
        engine.next_time(timing, zone, MONDAY)


@pytest.mark.parametrize("at", ["infinity", "-infinity"])
def test_a_next_time_is_counted_from_a_time(engine: Engine, at: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.rows("""select dripdrop.next_time('"in 3 business days"', 'UTC', %s)""", at)
    assert refusal.value.diag.column_name == "from_time"
