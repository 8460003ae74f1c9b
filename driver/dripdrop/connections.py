"""Connections to the database: found dead soon, bounded in time, the same behind any pooler.

Nothing is kept on a connection between transactions: each sets what it needs with `set local`, in
the message that begins it. No prepared statements, session settings, session locks or LISTEN.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from dripdrop.dsn import redacted, understood, with_defaults
from dripdrop.faults import Kind, RaisedReadOnly, Unanswered, Uncertain, kind_of

_DEFAULTS: dict[str, str | int] = {
    "fallback_application_name": "dripdrop",
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""What a connection string may override. A peer that is gone is found out in eleven seconds."""

_CLIENT_SLACK = 3.0  # seconds after the server's own time limit in which it may say so
_LIFETIME = 3600.0
_COMMAND_SECONDS = 600.0
_DRIVER = f"set local dripdrop.driver_version = '{version('dripdrop-postgres')}'"
_BEGIN = "begin isolation level read committed"
_GATE = "select pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtext('dripdrop.install'))"
_DURABLE = (  # a claim that a crash of the server forgets would be sent again
    "select pg_catalog.set_config('synchronous_commit', 'on', true)"
    " where pg_catalog.current_setting('synchronous_commit') operator(pg_catalog.=) 'off'"
)

INSTALL_GATE = "select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('dripdrop.install'))"
"""Waits until no daemon is in a transaction, and lets none begin another."""


def connect(dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect for one transaction, as the commands do: it is begun, with the settings we need.

    Raises:
        InvalidDsn: the connection string is malformed.
        psycopg.OperationalError: there is no such database; the text holds no password.
    """
    dsn = with_defaults(understood(dsn), _DEFAULTS)
    try:
        connection = psycopg.connect(dsn, prepare_threshold=None, autocommit=True)
    except psycopg.Error as error:
        raise _without_secrets(error, dsn) from None
    # One message, which no limit of the database's is short enough for to come between.
    connection.execute("; ".join([_BEGIN, *_limits(connection, _COMMAND_SECONDS), *_reading()]))
    return connection


class Connections:
    """A few connections of a worker, lent for one transaction each.

    A connection is made when it is needed, so that an error is that of the attempt, and a database
    that is back is used at once. When one is lost, those that lie idle are closed with it.
    """

    def __init__(
        self, dsn: str, most: int, configure: Callable[[psycopg.AsyncConnection[Any]], None]
    ) -> None:
        """Prepare without connecting; `most` are open at a time, each configured once."""
        self._configure = configure
        self.dsn = with_defaults(understood(dsn), _DEFAULTS)
        self._places = asyncio.Semaphore(most)
        self._idle: list[tuple[float, psycopg.AsyncConnection[Any]]] = []

    async def aclose(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop()[1].close()

    @asynccontextmanager
    async def transaction(
        self, seconds: float, now: datetime | None = None
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend a connection on which a transaction has begun; commit it at the end.

        A statement may take `seconds`; so may the transaction, with a little slack after which the
        connection is cut. `now` replaces the database's clock.

        Raises:
            Uncertain: the answer to the commit was lost.
            Unanswered: the time is over; nothing was committed.
            RaisedReadOnly: so said a trigger; the server lets us write.
            psycopg.Error: the transaction failed, and is rolled back.
        """
        async with self._places:
            since, connection = self._take() or (time.monotonic(), await self._connect())
            cut = _Cut(connection, seconds + _CLIENT_SLACK)
            committing = False
            try:
                await connection.execute(_beginning(connection, seconds, now))
                yield connection
                committing = True
                await connection.commit()
            except psycopg.Error as error:
                await _roll_back(connection)
                if kind_of(error) is Kind.READ_ONLY and await _may_write(connection):
                    raise RaisedReadOnly(*error.args, info=error.pgresult) from error
                if kind_of(error) is not Kind.GONE and not connection.closed:
                    raise
                await self.aclose()
                if committing:
                    raise Uncertain("the answer to a commit was lost") from error
                if cut.done:
                    raise Unanswered(f"no answer within {seconds + _CLIENT_SLACK:g} s") from error
                if kind_of(error) is not Kind.GONE:
                    raise psycopg.OperationalError("the connection was lost") from error
                raise
            except Exception:
                await _roll_back(connection)
                raise
            finally:
                cut.cancel()
                if _is_reusable(connection) and time.monotonic() - since < _LIFETIME:
                    self._idle.append((since, connection))
                else:
                    await connection.close()

    def _take(self) -> tuple[float, psycopg.AsyncConnection[Any]] | None:
        """Return the connection that was used last, of those that still look sound."""
        while self._idle:
            since, connection = self._idle.pop()
            if _is_reusable(connection) and not _has_input(connection):
                return since, connection
            connection.pgconn.finish()
        return None

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        try:
            async with asyncio.timeout(float(_DEFAULTS["connect_timeout"]) * 2):
                connection = await psycopg.AsyncConnection.connect(
                    self.dsn, autocommit=True, prepare_threshold=None
                )
        except TimeoutError:
            raise Unanswered("no connection in time") from None
        except psycopg.Error as error:
            raise _without_secrets(error, self.dsn) from None
        self._configure(connection)
        return connection


class _Cut:
    """Shuts a connection's socket down after some time: whoever waits for it gets an error.

    Cancelling the waiting task instead would wait for an answer to the cancellation.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any], seconds: float) -> None:
        self.done = False
        self._connection = connection
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cut)

    def cancel(self) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.done = True
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as channel,
        ):
            channel.shutdown(socket.SHUT_RDWR)


def _beginning(
    connection: psycopg.AsyncConnection[Any], seconds: float, now: datetime | None
) -> str:
    """Return the message that begins a transaction, whatever is set for the role or database."""
    clock = [] if now is None else [f"set local dripdrop.now = '{now.isoformat()}'"]
    return "; ".join(
        [
            _BEGIN,
            *_limits(connection, seconds),
            *_reading(),
            *clock,
            _DRIVER,
            _DURABLE,
            _GATE,
        ]
    )


def _limits(connection: psycopg.BaseConnection[Any], seconds: float) -> list[str]:
    """Return the settings that give each statement, and each pause, so many seconds.

    Whoever is cut off in a pause gives back its locks.
    """
    limits = [
        f"set local statement_timeout = {round(seconds * 1000)}",
        f"set local lock_timeout = {round(seconds * 500)}",
        f"set local idle_in_transaction_session_timeout = {round(seconds * 1000)}",
    ]
    if connection.info.server_version >= 170000:
        limits.append("set local transaction_timeout = 0")
    return limits


def _reading() -> list[str]:
    """Return the settings without which values are read wrongly, or not at all."""
    return [
        "set local client_encoding = 'UTF8'",
        "set local datestyle = 'ISO, MDY'",
        "set local intervalstyle = 'postgres'",
        "set local timezone = 'UTC'",
        "set local bytea_output = 'hex'",
        "set local extra_float_digits = 1",
    ]


async def _roll_back(connection: psycopg.AsyncConnection[Any]) -> None:
    """Roll back what can be; what cannot be is closed with its connection."""
    if connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
        with suppress(psycopg.Error):
            await connection.rollback()


async def _may_write(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server lets a new transaction write: no standby does."""
    with suppress(psycopg.Error):
        cursor = await connection.execute(
            "select pg_catalog.current_setting('transaction_read_only')"
        )
        return await cursor.fetchone() == ("off",)
    return False


def _is_reusable(connection: psycopg.AsyncConnection[Any]) -> bool:
    return connection.info.transaction_status is TransactionStatus.IDLE


def _has_input(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether something came unasked: an end of the connection, or what precedes one."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _without_secrets(error: psycopg.Error, dsn: str) -> psycopg.Error:
    return type(error)(redacted(str(error), dsn))
