"""Who keeps messages waiting by a transaction that stays open is named."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import structlog
from psycopg.rows import namedtuple_row

from dripdrop.daemon import Settings, Worker
from tests.engine import TENANT, Engine

AT_ONCE = timedelta(0)


def test_a_stop_that_stays_open_is_named(engine: Engine, other: Engine) -> None:
    other.connection.execute("set application_name = 'shop'")
    with other.connection.transaction():
        other.suppress(TENANT, "email", "@d.example")
        (found,) = engine.open_transactions(AT_ONCE)
        assert (found.pid, found.application) == (other.connection.info.backend_pid, "shop")
        assert (found.state, found.stops) == ("idle in transaction", True)
        assert "suppressions" in found.tables
        assert engine.open_transactions() == []
    assert engine.open_transactions(AT_ONCE) == []


def test_a_row_that_stays_locked_is_named(engine: Engine, other: Engine) -> None:
    engine.author()
    sam = engine.join()
    with other.connection.transaction():
        other.track_event(TENANT, "bought", enrollment_id=sam.id)
        (found,) = engine.open_transactions(AT_ONCE)
        assert found.stops is False
        assert {"enrollments", "events"} <= set(found.tables)


@pytest.mark.parametrize("call", ["list_suppressions", "list_topics"])
def test_who_only_reads_keeps_nobody_waiting(engine: Engine, other: Engine, call: str) -> None:
    with other.connection.transaction():
        getattr(other, call)(TENANT)
        assert engine.open_transactions(AT_ONCE) == []


def test_the_check_says_what_to_do(engine: Engine, other: Engine) -> None:
    other.connection.execute("set application_name = 'shop'")
    pid = other.connection.info.backend_pid
    with other.connection.transaction():
        other.suppress(TENANT, "email", "@d.example")
        (stop,) = engine.rows("select * from dripdrop._open_transaction_problems('0')")
    assert stop.problem == "open_transaction"
    assert stop.detail.startswith(f"process {pid} (shop, role ")
    assert stop.detail.endswith("keeps the messages that it stops waiting")
    assert f"pg_terminate_backend({pid})" in stop.hint


def test_a_stranger_who_locks_what_stops_lock_is_named(engine: Engine, dsn: str) -> None:
    """No stop locks beyond its transaction; any role that may connect can."""
    engine.connection.execute("create role stranger login")
    with psycopg.connect(dsn, user="stranger", autocommit=True) as connection:
        (lock,) = engine.rows(
            "select dripdrop._stop_class() as kind, dripdrop._everything_slot() as slot"
        )
        connection.execute("select pg_advisory_lock(%s, %s)", [lock.kind, lock.slot])
        (found,) = engine.open_transactions()
        assert (found.role, found.state, found.stops) == ("stranger", "idle", True)
        assert found.pid == connection.info.backend_pid
        (problem,) = engine.rows("select * from dripdrop._open_transaction_problems('10 s')")
        assert "role stranger), with a lock of its session, connected since" in problem.detail
        assert f"pg_terminate_backend({found.pid})" in problem.hint
        connection.execute("select pg_advisory_unlock_all()")
        assert engine.open_transactions(AT_ONCE) == []
    engine.connection.execute("drop role stranger")


def test_the_owner_sees_the_sessions_of_every_role(engine: Engine, dsn: str) -> None:
    engine.connection.execute("create role shopkeeper login in role dripdrop_app")
    with psycopg.connect(dsn, user="shopkeeper", row_factory=namedtuple_row) as connection:
        Engine(connection).suppress(TENANT, "email", "sam@example.com")
        engine.connection.execute("set role dripdrop_sender")
        (found,) = engine.open_transactions(AT_ONCE)
        engine.connection.execute("reset role")
        assert found.role == "shopkeeper"
    engine.connection.execute("drop role shopkeeper")
    (kept,) = engine.list_suppressions(TENANT)
    assert kept.recipient == "sam@example.com"


def test_the_log_warns_of_each_once(engine: Engine, other: Engine, dsn: str) -> None:
    async def watch() -> list[Any]:
        async with Worker(dsn, Settings(patience=AT_ONCE)) as worker:
            (stage,) = (stage for stage in worker.stages if stage.name == "watch")
            with structlog.testing.capture_logs() as logs:
                assert not await stage.step()
                assert not await stage.step()
        return [line for line in logs if line["event"] == "open_transaction"]

    with other.connection.transaction():
        other.suppress(TENANT, "email", "@d.example")
        (line,) = asyncio.run(watch())
    assert line["log_level"] == "warning"
    pid = other.connection.info.backend_pid
    assert (line["pid"], line["stops"], line["state"]) == (pid, True, "idle in transaction")
    assert f"pg_terminate_backend({pid})" in line["hint"]
