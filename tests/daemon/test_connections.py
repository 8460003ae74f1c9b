"""A worker's connections: settings of their own, limits of time, and what is lost with one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dripdrop.connections import Connections
from dripdrop.faults import Unanswered, Uncertain
from tests.chaos.proxy import Proxy, before_database
from tests.daemon.conftest import KEY, OpenWorker
from tests.daemon.servers import MailServer
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine

pytestmark = pytest.mark.anyio

UNFRIENDLY = {
    "statement_timeout": "20ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "default_transaction_isolation": "repeatable read",
    "synchronous_commit": "off",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
}
"""What an administrator may have set for a database."""


def set_for_database(db: psycopg.Connection[Any], settings: dict[str, str]) -> None:
    """Set what connections to this database begin with."""
    for name, value in settings.items():
        db.execute(
            sql.SQL("alter database {} set {} = {}").format(
                sql.Identifier(db.info.dbname), sql.Identifier(name), sql.Literal(value)
            )
        )


@pytest.fixture
async def connections(dsn: str) -> AsyncIterator[Connections]:
    """Three connections."""
    made = Connections(dsn, 3, lambda _: None)
    yield made
    await made.aclose()


@pytest.fixture
def proxied(dsn: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the database, and the DSN that leads through it."""
    with before_database(dsn) as both:
        yield both


async def value(connection: psycopg.AsyncConnection[Any], query: str) -> Any:
    """Return the one value of a query."""
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def shown(connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
    """Return the settings that a transaction has."""
    names = [*UNFRIENDLY, "transaction_isolation"]
    return {name: await value(connection, f"show {name}") for name in names}


@pytest.mark.slow
async def test_what_an_administrator_set_for_the_database_does_not_reach_the_daemon(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    set_for_database(mailing.connection, UNFRIENDLY)
    for number in range(50):
        mailing.join(f"user{number}", data={"email": f"u{number}@example.com", "name": "Zoë €"})
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert len(mail.mails) == 50
    assert mail.mails[0].subject == "Hello Zoë €"


@pytest.mark.slow
def test_nor_does_it_reach_a_command_or_an_installation(mailing: Engine, dsn: str) -> None:
    set_for_database(mailing.connection, UNFRIENDLY)
    mailing.pause_sending(TENANT, "channel", "email", "wrong prices")
    for command in (["pauses", "--tenant", TENANT], ["adapters"], ["install"], ["check"]):
        result = dripdrop(*command, "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=KEY)
        assert "dripdrop: " not in result.stderr, result.stderr
    result = dripdrop("run", "--once", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=KEY)
    assert result.returncode == 0, result.stderr


async def test_a_transaction_has_settings_of_its_own_and_leaves_none_behind(
    db: psycopg.Connection[Any], connections: Connections
) -> None:
    set_for_database(db, UNFRIENDLY)
    async with connections.transaction(10) as connection:
        inside = await shown(connection)
    outside = await shown(connection)
    assert inside == {
        "statement_timeout": "10s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
        "default_transaction_isolation": "repeatable read",
        "transaction_isolation": "read committed",
        "synchronous_commit": "on",
        "client_encoding": "UTF8",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "bytea_output": "hex",
        "extra_float_digits": "1",
    }
    assert outside == UNFRIENDLY | {"transaction_isolation": "repeatable read"}


@pytest.mark.slow
async def test_a_database_that_is_silent_ends_the_wait_and_nothing_is_done(
    db: psycopg.Connection[Any], proxied: tuple[Proxy, str]
) -> None:
    proxy, through = proxied
    db.execute("create table done (n int)")
    connections = Connections(through, 1, lambda _: None)
    began = time.monotonic()
    with pytest.raises(Unanswered):
        async with connections.transaction(0.5) as connection:
            await connection.execute("insert into done values (1)")
            proxy.stall()
            await connection.execute("select 1")
    assert time.monotonic() < began + 6
    proxy.resume()
    async with connections.transaction(0.5) as connection:
        assert await value(connection, "select count(*) from done") == 0
    await connections.aclose()


async def test_an_answer_to_a_commit_that_is_lost_leaves_it_uncertain(
    db: psycopg.Connection[Any], proxied: tuple[Proxy, str]
) -> None:
    proxy, through = proxied
    db.execute("create table done (n int)")
    db.execute(
        "create function linger() returns trigger language plpgsql as"
        " 'begin perform pg_sleep(0.5); return null; end';"
        " create constraint trigger linger after insert on done"
        " deferrable initially deferred for each row execute function linger()"
    )
    connections = Connections(through, 1, lambda _: None)
    loop = asyncio.get_running_loop()
    with pytest.raises(Uncertain):
        async with connections.transaction(5) as connection:
            await connection.execute("insert into done values (1)")
            loop.call_later(0.2, proxy.reset)
    await connections.aclose()


async def test_a_connection_that_is_lost_before_the_commit_leaves_no_doubt(
    db: psycopg.Connection[Any], proxied: tuple[Proxy, str]
) -> None:
    proxy, through = proxied
    connections = Connections(through, 1, lambda _: None)
    with pytest.raises(psycopg.OperationalError) as lost:
        async with connections.transaction(5) as connection:
            proxy.reset()
            await connection.execute("select 1")
    assert not isinstance(lost.value, Uncertain)
    await connections.aclose()


@pytest.mark.slow
async def test_connections_that_died_while_they_were_idle_are_not_lent(
    db: psycopg.Connection[Any], connections: Connections
) -> None:
    async with connections.transaction(5) as one, connections.transaction(5) as other:
        backends = [one.info.backend_pid, other.info.backend_pid]
    for backend in backends:
        db.execute("select pg_terminate_backend(%s, 5000)", [backend])
    async with connections.transaction(5) as connection:
        assert connection.info.backend_pid not in backends


@pytest.mark.slow
async def test_connections_that_fell_silent_while_idle_cost_one_wait_and_not_one_each(
    db: psycopg.Connection[Any], proxied: tuple[Proxy, str]
) -> None:
    proxy, through = proxied
    connections = Connections(through, 3, lambda _: None)
    async with connections.transaction(5), connections.transaction(5), connections.transaction(5):
        pass
    proxy.half_open()
    with pytest.raises(Unanswered):
        async with connections.transaction(0.5):
            pass
    began = time.monotonic()
    async with connections.transaction(0.5) as connection:
        await connection.execute("select 1")
    assert time.monotonic() < began + 2
    await connections.aclose()


@pytest.mark.slow
async def test_a_failed_transaction_is_rolled_back_and_its_connection_used_again(
    db: psycopg.Connection[Any], connections: Connections
) -> None:
    db.execute("create table done (n int)")
    for failing in ("select 1/0", "select pg_sleep(9)"):
        with pytest.raises(psycopg.Error):
            async with connections.transaction(0.2) as connection:
                await connection.execute("insert into done values (1)")
                await connection.execute(failing.encode())
    with pytest.raises(KeyError):
        async with connections.transaction(5) as again:
            await again.execute("insert into done values (1)")
            raise KeyError
    assert again is connection
    assert db.execute("select count(*) from done").fetchone() == (0,)


@pytest.mark.slow
async def test_a_worker_sends_on_soon_after_its_connections_fell_silent(
    mailing: Engine, mail: MailServer, proxied: tuple[Proxy, str], open_worker: OpenWorker
) -> None:
    proxy, through = proxied
    async with open_worker(dsn=through) as worker:
        run = asyncio.create_task(worker.run())
        await asyncio.to_thread(mailing.join, "sam")
        await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 1)
        proxy.half_open()
        silent = time.monotonic()
        await asyncio.to_thread(mailing.join, "ada")
        await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 2)
        assert time.monotonic() < silent + 12
        worker.stop()
        await run


@pytest.mark.slow
def test_the_kernel_is_told_to_find_dead_peers_out(dsn: str) -> None:
    connections = Connections(f"{dsn} keepalives_idle=60", 1, lambda _: None)
    given = conninfo_to_dict(connections.dsn)
    assert (given["keepalives_idle"], given["tcp_user_timeout"]) == ("60", "10000")
