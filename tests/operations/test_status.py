"""status() is one screen of what goes on; workers say themselves that they are there."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import InvalidArgument
from tests.conftest import START, Clock
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine, after, email

DOING = {"in_flight": {"email": 3, "webhook": 2}, "failing": {"send": "gone"}}


def lines(engine: Engine, part: str) -> list[Any]:
    """Return the lines of a part."""
    return [row for row in engine.status() if row.part == part]


def test_nothing_goes_on_in_a_fresh_installation(engine: Engine) -> None:
    assert [row.part for row in engine.status()] == ["lag"]


def test_a_worker_that_was_heard_of_is_there(engine: Engine, clock: Clock) -> None:
    worker = uuid4()
    engine.note_worker(worker, "web-1", 4711, "0.1.0", {})
    clock.advance(seconds=30)
    engine.note_worker(worker, "web-1", 4711, "0.1.0", DOING)
    (row,) = engine.list_workers()
    assert (row.host, row.pid, row.version, row.is_there) == ("web-1", 4711, "0.1.0", True)
    assert (row.started_at, row.seen_at, row.doing) == (START, clock.now, DOING)
    (line,) = lines(engine, "workers")
    assert (line.name, line.number, line.since) == ("web-1:4711", 5, clock.now)
    assert line.detail == "version 0.1.0; send fails: gone"


def test_a_worker_that_is_silent_for_a_minute_is_not_there(engine: Engine, clock: Clock) -> None:
    engine.note_worker(uuid4(), "web-1", 4711, "0.1.0", {})
    clock.advance(minutes=1)
    assert [row.is_there for row in engine.list_workers()] == [False]
    assert lines(engine, "workers")[0].detail == "version 0.1.0; not heard of"


def test_a_worker_that_ends_in_order_is_gone_and_one_that_does_not_after_a_day(
    engine: Engine, clock: Clock
) -> None:
    ends, is_killed = uuid4(), uuid4()
    engine.note_worker(ends, "web-1", 1, "0.1.0", {})
    engine.note_worker(is_killed, "web-1", 2, "0.1.0", {})
    engine.forget_worker(ends)
    assert [row.pid for row in engine.list_workers()] == [2]
    clock.advance(days=1, seconds=1)
    engine.note_worker(uuid4(), "web-1", 3, "0.1.0", {})
    assert [row.pid for row in engine.list_workers()] == [3]


@pytest.mark.parametrize(
    ("host", "doing"),
    [("x" * 501, {}), ("web-1", []), ("web-1", None), (None, {})],
)
def test_a_worker_says_who_it_is(engine: Engine, host: str | None, doing: Any) -> None:
    with pytest.raises(InvalidArgument):
        engine.rows(
            "select dripdrop.note_worker(%s, %s, 1, '0.1.0', %s::jsonb)",
            uuid4(),
            host,
            json.dumps(doing),
        )


def test_what_is_due_and_under_way_is_counted_since_the_oldest(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"))
    engine.join("first")
    engine.tick()
    clock.advance(minutes=5)
    engine.join("second")
    clock.advance(minutes=5)
    found = {row.name: (row.number, row.since) for row in lines(engine, "lag")}
    assert found == {
        "due": (1, START + timedelta(minutes=5)),
        "queued": (1, START),
    }


def test_senders_show_their_rates_and_what_keeps_them(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"))
    for name in ("one", "two"):
        engine.join(name)
        engine.deliver()
        clock.advance(minutes=2)
    mail = engine.get_default_adapter(TENANT, "email")
    engine.pause_adapter(TENANT, mail.id, reason="too many bounces")
    (line,) = [each for each in lines(engine, "senders") if each.number]
    assert (line.name, line.tenant_key, line.number) == ("email email", TENANT, 2)
    assert line.since == clock.now - timedelta(minutes=2)
    assert line.detail == "0 in the last minute; rests"


def test_pauses_what_is_held_and_what_failed_are_shown(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), email("tip", timing=after(1, "hours")))
    engine.join("fails")
    engine.deliver("failed", code="smtp_554")
    engine.pause_sending(TENANT, "channel", "email", "wrong prices")
    engine.join("waits")
    engine.tick()
    shown = [(row.part, row.name, row.number) for row in engine.status()]
    assert ("pauses", "channel email", None) in shown
    assert ("held", "pause: sending_paused", 1) in shown
    assert ("failed today", "onboarding: smtp_554", 1) in shown
    clock.advance(days=1, seconds=1)
    assert lines(engine, "failed today") == []


def test_the_command_prints_it(engine: Engine, dsn: str) -> None:
    engine.author(email("welcome"))
    engine.join()
    engine.deliver()
    printed = dripdrop("status", "--dsn", dsn).stdout
    assert printed.splitlines()[0] == "lag"
    assert "email email" in printed
    records = [
        json.loads(line) for line in dripdrop("status", "--json", "--dsn", dsn).stdout.splitlines()
    ]
    assert {record["part"] for record in records} == {"lag", "senders"}
