"""The commands about senders."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import START
from tests.driver.command import Result, dripdrop
from tests.engine import TENANT, Engine, email

SEALED = "AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQl"


def at(dsn: str, *arguments: str) -> Result:
    """Run a command for the tenant, at the time at which tests begin."""
    now = f"-c dripdrop.now={START.isoformat()}"
    return dripdrop(*arguments, "--dsn", dsn, "--tenant", TENANT, PGOPTIONS=now)


@pytest.fixture
def post(engine: Engine) -> Any:
    """The tenant's sender, beside a global one."""
    engine.create_channel_adapter(None, "global", "email", "smtp")
    return engine.create_channel_adapter(TENANT, "post", "email", "smtp", SEALED)


def stored(engine: Engine) -> Any:
    (row,) = engine.list_channel_adapters(TENANT)
    return row


def test_adapters_shows_until_when_and_why_a_sender_rests(
    engine: Engine, dsn: str, post: Any
) -> None:
    engine.pause_adapter(TENANT, post.id, START + timedelta(hours=1), "audit")
    header, row = at(dsn, "adapters").stdout.splitlines()
    assert header.split()[:3] == ["name", "channel", "provider"]
    assert row.split() == [
        *("post", "email", "smtp", "no", "yes"),
        *("2026-03-02", "10:00:00Z", "audit"),
    ]


def test_adapters_prints_json_without_credentials(engine: Engine, dsn: str, post: Any) -> None:
    (line,) = at(dsn, "adapters", "--json").stdout.splitlines()
    assert json.loads(line)["id"] == str(post.id)
    assert "credentials" not in line


def test_adapters_says_that_there_is_none(engine: Engine, dsn: str) -> None:
    assert at(dsn, "adapters").stdout == "there is no sender\n"


def test_a_sender_is_paused_and_resumed_by_its_name(engine: Engine, dsn: str, post: Any) -> None:
    paused = at(dsn, "pause-adapter", "post")
    assert paused.stdout == "post rests until it is resumed: manual\n"
    assert stored(engine).health_state == "resting"
    assert at(dsn, "resume-adapter", "post").stdout == "post goes on\n"
    assert stored(engine).health_state is None


def test_a_sender_is_paused_by_its_id_until_a_time_for_a_reason(
    engine: Engine, dsn: str, post: Any
) -> None:
    options = ("--until", "2026-03-03 12:00", "--reason", "audit")
    paused = at(dsn, "pause-adapter", str(post.id), *options)
    assert paused.stdout == "post rests until 2026-03-03 12:00:00Z: audit\n"
    assert stored(engine).resting_until == START + timedelta(days=1, hours=3)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pause-adapter", "resume-adapter"])
def test_only_the_tenants_own_senders_are_found(
    engine: Engine, dsn: str, post: Any, command: str
) -> None:
    result = at(dsn, command, "global")
    assert (result.returncode, result.stderr) == (1, 'dripdrop: adapter "global" not found\n')


@pytest.mark.slow
def test_a_time_that_cannot_be_read_is_named(engine: Engine, dsn: str, post: Any) -> None:
    result = at(dsn, "pause-adapter", "post", "--until", "soon")
    assert result.returncode == 2
    assert "'--until'" in result.stderr


@pytest.mark.slow
def test_circuits_shows_who_is_away_since_when_why_and_how_many_wait(
    engine: Engine, dsn: str
) -> None:
    engine.author(email("welcome"))
    engine.join()
    engine.deliver("unreachable", code="connect_error", detail="no route to host")
    engine.connection.execute(
        "select set_config('dripdrop.now', %s, false)", [str(START + timedelta(seconds=5))]
    )
    engine.tick()
    header, row = at(dsn, "circuits").stdout.splitlines()
    assert header.split() == [
        *("server", "state", "reason", "until", "waiting"),
        *("faults", "probes", "started_at", "ended_at", "detail"),
    ]
    assert row.split() == [
        *("sender", '"email"', "resting", "connect_error", "2026-03-02", "09:00:30Z", "1"),
        *("1", "0", "2026-03-02", "09:00:00Z", "no", "route", "to", "host"),
    ]
    (line,) = at(dsn, "circuits", "--json").stdout.splitlines()
    assert json.loads(line)["waiting"] == 1


@pytest.mark.slow
def test_circuits_says_that_there_is_none(engine: Engine, dsn: str) -> None:
    assert at(dsn, "circuits").stdout == "no server is away, and none was\n"
