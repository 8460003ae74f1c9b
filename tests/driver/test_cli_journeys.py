"""The commands that say what became of people, and what will."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import START, Clock
from tests.driver.command import Result, dripdrop
from tests.engine import TENANT, Engine, after, email

SAM = json.dumps({"email": "sam@example.com"})


def at(dsn: str, *arguments: str) -> Result:
    """Run a command for the tenant, at the time at which tests begin."""
    now = f"-c dripdrop.now={START.isoformat()}"
    return dripdrop(*arguments, "--dsn", dsn, "--tenant", TENANT, PGOPTIONS=now)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def cells(line: str) -> list[str]:
    return [part.strip() for part in line.split("  ") if part]


def test_explain_says_what_comes_next_and_how_each_gate_stands(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.suppress(TENANT, "email", "sam@example.com")
    first, *table = at(dsn, "explain", str(engine.join().id)).stdout.splitlines()
    assert first == "welcome: skip at 2026-03-02 09:00:00Z"
    assert cells(table[0]) == ["gate", "open", "reason", "until", "detail"]
    assert ["suppression", "no", "suppressed", "manual"] in [cells(line) for line in table]
    assert ["recipient", "yes"] in [cells(line) for line in table]


def test_explain_begins_with_what_is_over(engine: Engine, dsn: str) -> None:
    engine.author()
    enrollment = engine.join()
    engine.deliver()
    header, past, empty, now, *_ = at(dsn, "explain", str(enrollment.id)).stdout.splitlines()
    assert cells(header) == ["at", "step", "outcome", "reason", "detail"]
    assert cells(past) == ["2026-03-02 09:00:00Z", "welcome", "sent"]
    assert (empty, now) == ("", "tip: send at 2026-03-05 09:00:00Z")


def test_explain_shows_every_message_to_come(engine: Engine, dsn: str) -> None:
    digest = {"type": "cron", "cron_expression": "0 9 * * *", "recurring": True}
    engine.author(email("welcome", timing=after(1, "hours")), email("digest", timing=digest))
    output = at(dsn, "explain", str(engine.join().id)).stdout
    assert "welcome: send at 2026-03-02 10:00:00Z\n" in output
    assert "\n\ndigest: send at 2026-03-03 09:00:00Z\n" in output


def test_explain_numbers_the_turns_of_a_step_that_comes_again(
    engine: Engine, dsn: str, clock: Clock
) -> None:
    digest = {"type": "cron", "cron_expression": "0 9 * * *", "recurring": True}
    engine.author(email("welcome", timing=after(9, "days")), email("digest", timing=digest))
    enrollment = engine.join()
    clock.advance(days=1)
    engine.deliver()
    output = at(dsn, "explain", str(enrollment.id)).stdout
    assert "digest #2: send at 2026-03-04 09:00:00Z\n" in output


def test_explain_says_why_an_enrolment_ended(engine: Engine, dsn: str) -> None:
    engine.author()
    enrollment = engine.unenroll(TENANT, engine.join().id, "bored")
    last = at(dsn, "explain", str(enrollment.id)).stdout.splitlines()[-1]
    assert last == "cancelled at 2026-03-02 09:00:00Z: bored"


@pytest.mark.slow
def test_explain_finds_an_enrolment_by_its_subscriber(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.join("sam")
    engine.enroll(TENANT, "onboarding", "Lead", "a/b", {"email": "lead@example.com"})
    for subscriber in ("sam", "User/sam", "Lead/a/b"):
        where = ("--sequence", "onboarding", "--subscriber", subscriber)
        assert at(dsn, "explain", *where).stdout.startswith("welcome: send at")


def test_explain_finds_one_of_a_subscribers_enrolments_by_its_entry(
    engine: Engine, dsn: str
) -> None:
    engine.author(reentry="always")
    engine.join(entry_key="order-1")
    engine.unenroll(TENANT, engine.join(entry_key="order-2").id, "returned")
    for entry_key, expected in (("order-1", "welcome: send"), ("order-2", "cancelled")):
        where = ("--sequence", "onboarding", "--subscriber", "sam", "--entry-key", entry_key)
        assert expected in at(dsn, "explain", *where).stdout


def test_explain_names_the_entry_it_does_not_find(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.join()
    where = ("--sequence", "onboarding", "--subscriber", "sam", "--entry-key", "order-3")
    result = at(dsn, "explain", *where)
    assert result.returncode == 1
    assert result.stderr == (
        'dripdrop: no enrolment of "User/sam" for entry "order-3" in sequence "onboarding"\n'
    )


def test_explain_names_the_subscriber_it_does_not_find(engine: Engine, dsn: str) -> None:
    engine.author()
    result = at(dsn, "explain", "--sequence", "onboarding", "--subscriber", "eve")
    assert result.returncode == 1
    assert result.stderr == 'dripdrop: no enrolment of "User/eve" in sequence "onboarding"\n'


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--sequence", "onboarding"),
        ("--subscriber", "sam"),
        (str(uuid4()), "--subscriber", "sam"),
        (str(uuid4()), "--entry-key", "order-1"),
        ("--entry-key", "order-1"),
        (str(uuid4()), "--sequence", "onboarding", "--subscriber", "sam", "--entry-key", "a"),
        (str(uuid4()), "--sequence", "onboarding", "--subscriber", "sam"),
    ],
)
def test_explain_wants_an_id_or_a_subscriber(options: tuple[str, ...]) -> None:
    assert dripdrop("explain", *options).returncode == 2


def test_explain_prints_the_rows_of_the_database_as_json(engine: Engine, dsn: str) -> None:
    engine.author()
    enrollment = engine.join()
    engine.deliver()
    past, *now = lines(at(dsn, "explain", str(enrollment.id), "--json"))
    assert (past["phase"], past["at"]) == ("past", "2026-03-02T09:00:00Z")
    assert {row["step"] for row in now} == {"tip"}
    assert len(now) == len(engine.explain(TENANT, enrollment.id)) - 1


def test_simulate_shows_what_would_happen_and_leaves_nothing(engine: Engine, dsn: str) -> None:
    engine.author()
    before = engine.contents()
    result = at(dsn, "simulate", "--sequence", "onboarding", "--data", SAM)
    header, *rows = [cells(line) for line in result.stdout.splitlines()]
    assert header == ["at", "step_key", "channel", "action", "reason", "recipient"]
    assert rows[:2] == [
        ["2026-03-02 09:00:00Z", "welcome", "email", "send", "sam@example.com"],
        ["2026-03-05 09:00:00Z", "tip", "email", "send", "sam@example.com"],
    ]
    assert engine.contents() == before


def test_simulate_takes_a_horizon_a_start_and_events(engine: Engine, dsn: str) -> None:
    engine.author()
    rows = lines(
        at(
            *(dsn, "simulate", "--sequence", "onboarding", "--data", SAM, "--json"),
            *("--start-at", "2026-04-01 12:00", "--horizon", "2 days"),
            *("--events", '[{"at": "1 day", "event_key": "opened"}]'),
        )
    )
    assert [(row["at"], row["step_key"], row["action"]) for row in rows] == [
        ("2026-04-01T12:00:00Z", "welcome", "send"),
        ("2026-04-02T12:00:00Z", None, "event"),
    ]


def test_simulate_takes_a_version_that_is_not_in_force(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.author(email("hello"), activate=False)
    options = ("--sequence", "onboarding", "--data", SAM, "--version", "2", "--json")
    assert lines(at(dsn, "simulate", *options))[0]["step_key"] == "hello"


@pytest.mark.parametrize(
    "option", [("--data", "{"), ("--events", "["), ("--hooks", "x"), ("--start-at", "soon")]
)
def test_simulate_names_the_option_that_cannot_be_read(option: tuple[str, str]) -> None:
    result = dripdrop("simulate", "--sequence", "onboarding", "--data", "{}", *option)
    assert result.returncode == 2
    assert f"'{option[0]}'" in result.stderr


def test_simulate_takes_an_enrolment_or_a_subscriber(engine: Engine, dsn: str) -> None:
    engine.author()
    sam = engine.join()
    for options in (
        ("--enrollment", str(sam.id)),
        ("--sequence", "onboarding", "--subscriber", "User/sam"),
    ):
        rows = lines(at(dsn, "simulate", *options, "--json"))
        assert [row["step_key"] for row in rows] == ["welcome", "tip", None]


def test_forecast_counts_the_days_of_a_zone(engine: Engine, dsn: str) -> None:
    engine.author(email("welcome", timing="in 16 hours"))
    engine.join()
    options = ("--sequence", "onboarding", "--time-zone", "Asia/Tokyo", "--json")
    (row,) = lines(at(dsn, "forecast", *options))
    assert row["day"] == "2026-03-03"


def test_forecast_counts_messages_by_day_and_step(engine: Engine, dsn: str) -> None:
    engine.author()
    for name in ("sam", "eve"):
        engine.join(name)
    header, *rows = at(dsn, "forecast", "--sequence", "onboarding").stdout.splitlines()
    assert cells(header) == ["day", "step_key", "channel", "messages"]
    assert [cells(row) for row in rows] == [
        ["2026-03-02", "welcome", "email", "2"],
        ["2026-03-05", "tip", "email", "2"],
    ]


def test_forecast_prints_json(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.join()
    options = ("--sequence", "onboarding", "--horizon", "1 day", "--json")
    assert lines(at(dsn, "forecast", *options)) == [
        {"day": "2026-03-02", "step_key": "welcome", "channel": "email", "messages": 1}
    ]


def test_forecast_says_that_nothing_comes(engine: Engine, dsn: str) -> None:
    engine.author()
    result = at(dsn, "forecast", "--sequence", "onboarding", "--horizon", "1 hour")
    assert result.stdout == "nothing would happen within 1 hour\n"


def test_a_horizon_that_is_no_interval_is_refused(engine: Engine, dsn: str) -> None:
    engine.author()
    result = at(dsn, "forecast", "--sequence", "onboarding", "--horizon", "soon")
    assert result.returncode == 1
    assert '"soon"' in result.stderr
