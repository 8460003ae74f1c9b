"""What people say, and when that is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dripdrop.errors import DripdropError, InvalidTiming
from tests.engine import Engine, email, onboarding

BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    """Return the time at which clocks show one."""
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def delay(amount: int, unit: str, **fields: Any) -> dict[str, Any]:
    """Return the timing of a step after a delay."""
    return {"type": "delay", "delay_amount": amount, "delay_unit": unit} | fields


def interval(amount: int, unit: str, **fields: Any) -> dict[str, Any]:
    """Return the timing of a step that comes again."""
    return {"type": "interval", "interval_amount": amount, "interval_unit": unit} | fields


def cron(expression: str) -> dict[str, Any]:
    """Return the timing of a step with a schedule."""
    return {"type": "cron", "cron_expression": expression}


def relative(path: str, amount: int | None = None, unit: str = "", **fields: Any) -> dict[str, Any]:
    """Return the timing of a step that goes by a time in the data."""
    counted = {} if amount is None else {"delay_amount": amount, "delay_unit": unit}
    return {"type": "relative", "relative_to": f"data.{path}"} | counted | fields


@pytest.mark.parametrize(
    ("expression", "timing"),
    [
        ("in 1 day at 9am", delay(1, "days", at="09:00")),
        ("In 2 weeks at 08:30", delay(2, "weeks", at="08:30")),
        ("in 2 business days at 9:05 pm", delay(2, "business_days", at="21:05")),
        ("tomorrow at 9am", delay(1, "days", at="09:00")),
        ("the next day at noon", delay(1, "days", at="12:00")),
        ("tomorrow", delay(1, "days")),
        ("in an hour", delay(1, "hours")),
        ("in 1 month", delay(1, "months")),
        ("in 3 months at 9am", delay(3, "months", at="09:00")),
        ("in 1 year", delay(12, "months")),
        ("every 2 days", interval(2, "days")),
        ("every 2 days at 9am", interval(2, "days", at="09:00")),
        ("every day", interval(1, "days")),
        ("every other day", interval(2, "days")),
        ("every 6 hours", interval(6, "hours")),
        ("every 3 weeks", interval(3, "weeks")),
        ("every month", interval(1, "months")),
        ("every other monday", interval(2, "weeks", days=["mon"])),
        ("every monday", interval(1, "weeks", days=["mon"])),
        (
            "every other thursday and monday at 9am",
            interval(2, "weeks", days=["mon", "thu"], at="09:00"),
        ),
        ("every 1 days at 9am", cron("0 9 * * *")),
        ("every month on the 1st at 9am", cron("0 9 1 * *")),
        ("on the 15th of every month at 18:30", cron("30 18 15 * *")),
        ("every month on the 15th and the 1st at 9am", cron("0 9 1,15 * *")),
        ("every month on the last day at 9am", cron("0 9 L * *")),
        ("every month on the second tuesday at 9am", cron("0 9 * * TUE#2")),
        ("every month on the last friday at midnight", cron("0 0 * * FRIL")),
        ("every monday and thursday at 9am", cron("0 9 * * MON,THU")),
        ("Every Thursday, Monday and Friday at 9am", cron("0 9 * * MON,THU,FRI")),
        ("every friday, monday, and sunday at 9am", cron("0 9 * * MON,FRI,SUN")),
        (
            "3 days before data.appointment_at at 9am",
            relative("appointment_at", -3, "days", at="09:00"),
        ),
        ("2 hours after data.starts_at", relative("starts_at", 2, "hours")),
        ("an hour BEFORE data.stay.startsAt", relative("stay.startsAt", -1, "hours")),
        ("1 year after data.signed_on at 9am", relative("signed_on", 12, "months", at="09:00")),
        ("at data.starts_at", relative("starts_at")),
        ("on data.birthday at 9am", relative("birthday", at="09:00")),
    ],
)
def test_words_become_the_form_that_a_step_keeps(
    engine: Engine, expression: str, timing: dict[str, Any]
) -> None:
    assert engine.parse_timing(expression) == timing
    engine.author(email("tip", timing=expression))
    assert engine.rows("select timing from dripdrop.steps")[0].timing == timing


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (interval(1, "days", at="9:00"), cron("0 9 * * *")),
        (interval(1, "weeks", days=["thu", "mon", "mon"], at="09:30"), cron("30 9 * * MON,THU")),
        (interval(2, "weeks", days=["sun", "tue"]), interval(2, "weeks", days=["tue", "sun"])),
        (
            interval(1, "days", at="9:00", recurring=True, timezone="UTC"),
            cron("0 9 * * *") | {"recurring": True, "timezone": "UTC"},
        ),
        (delay(1, "days", at="9:05"), delay(1, "days", at="09:05")),
        (relative("a", -1, "days", at=None), relative("a", -1, "days")),
        (cron("every thursday and monday at 9am"), cron("0 9 * * MON,THU")),
    ],
)
def test_the_form_is_one_however_it_is_written(
    engine: Engine, given: dict[str, Any], kept: dict[str, Any]
) -> None:
    engine.author(email("tip", timing=given))
    assert engine.rows("select timing from dripdrop.steps")[0].timing == kept
    assert engine.plan("acme", onboarding(email("tip", timing=kept))) == []


@pytest.mark.parametrize(
    ("timing", "field"),
    [
        ("in 2 hours at 9am", "timing"),
        ("in 1201 months", "timing"),
        ("tomorrow at 9", "timing"),
        ("every 0 days", "timing"),
        ("every other weekday", "timing"),
        ("every 2 mondays", "timing"),
        ("every 6 hours at 9am", "timing"),
        ("every month on the 1st", "timing"),
        ("every month on the 32nd at 9am", "timing"),
        ("every month on the sixth monday at 9am", "timing"),
        ("every monday or thursday at 9am", "timing"),
        ("3 days before appointment_at", "timing"),
        ("3 days before data", "timing"),
        ("2 hours before data.starts_at at 9am", "timing"),
        ("2 business days before data.starts_at", "timing"),
        (cron("every 2 days"), "timing.cron_expression"),
        (delay(2, "hours", at="09:00"), "timing.at"),
        (delay(2, "days", at="9am"), "timing.at"),
        (interval(0, "days"), "timing.interval_amount"),
        (interval(2, "seconds"), "timing.interval_unit"),
        (interval(2, "days", days=["mon"]), "timing.days"),
        (interval(2, "weeks", days=["monday"]), "timing.days"),
        (interval(2, "weeks", days=[]), "timing.days"),
        (interval(2, "hours", at="09:00"), "timing.at"),
        (interval(2, "days", timezone=1), "timing.timezone"),
        (relative("starts at"), "timing.relative_to"),
        (relative("a", -1, "business_days"), "timing.delay_amount"),
        (relative("a") | {"delay_amount": 1}, "timing.delay_unit"),
        (relative("a") | {"delay_unit": "days"}, "timing.delay_amount"),
        (relative("a", recurring=True), "timing.recurring"),
    ],
)
def test_what_cannot_be_meant_is_refused(engine: Engine, timing: Any, field: str) -> None:
    document = onboarding(email("welcome"), email("tip", timing=timing))
    with pytest.raises(DripdropError) as refusal:
        engine.apply("acme", document)
    assert refusal.value.diag.column_name == f"steps[1].{field}"
    assert refusal.value.diag.message_hint
    if isinstance(timing, str):
        with engine.refused(InvalidTiming):
            engine.parse_timing(timing)


@pytest.mark.parametrize(
    ("timing", "start", "expected"),
    [
        ("in 1 day at 9am", "2026-03-28 23:30", "2026-03-29 09:00"),
        ("tomorrow at 9am", "2026-03-28 00:05", "2026-03-29 09:00"),
        ("in 1 day at 02:30", "2026-03-28 12:00", "2026-03-29 03:00"),
        ("in 1 day at 02:30", "2026-10-24 12:00", "2026-10-25 02:30"),
        ("in 1 month", "2026-01-31 10:00", "2026-02-28 10:00"),
        ("in 1 month", "2028-01-31 10:00", "2028-02-29 10:00"),
        ("in 1 month at 9am", "2026-03-31 10:00", "2026-04-30 09:00"),
        ("in 12 months", "2028-02-29 10:00", "2029-02-28 10:00"),
        ("in 2 business days at 9am", "2026-03-06 18:00", "2026-03-10 09:00"),
        ("every 2 days", "2026-03-28 12:00", "2026-03-30 12:00"),
        ("every 2 days at 9am", "2026-03-28 12:00", "2026-03-29 09:00"),
        ("every 2 days at 9am", "2026-03-28 09:00", "2026-03-30 09:00"),
        ("every other monday", "2026-03-03 10:15", "2026-03-09 10:15"),
        ("every month", "2026-01-31 10:00", "2026-02-28 10:00"),
        ("every month on the 1st at 9am", "2026-03-01 09:00", "2026-04-01 09:00"),
        ("every month on the 31st at 9am", "2026-03-31 09:00", "2026-05-31 09:00"),
        ("every month on the last day at 9am", "2026-03-31 09:00", "2026-04-30 09:00"),
        ("every monday and thursday at 9am", "2026-03-02 10:00", "2026-03-05 09:00"),
        ("3 days before data.x at 9am", "2026-03-30 01:00", "2026-03-27 09:00"),
        ("2 hours after data.x", "2026-03-29 01:30", "2026-03-29 04:30"),
        ("1 month before data.x", "2026-03-31 10:00", "2026-02-28 10:00"),
    ],
)
def test_the_next_time_is_what_people_mean(
    engine: Engine, timing: str, start: str, expected: str
) -> None:
    found = engine.next_time(timing, "Europe/Berlin", local(start))
    assert found.astimezone(BERLIN) == local(expected)
    assert found.tzinfo is not None and found.astimezone(UTC) == local(expected).astimezone(UTC)
