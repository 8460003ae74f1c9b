"""The database as a web process uses it: a few connections, and an end to waiting for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from dripdrop.client import AsyncClient

UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.QueryCanceled,
    PoolTimeout,
    TooManyRequests,
)
"""What a later attempt may not meet."""

_CONNECTIONS = 4
_WAITING = 200
_SECONDS = 10


class Database:
    """At most four requests are in the database and 200 wait, none longer than ten seconds.

    That bounds what anybody who has a link can cost; whoever comes beyond it is told to come again.
    """

    def __init__(self, dsn: str, clock: Callable[[], datetime] | None) -> None:
        """Prepare without connecting."""
        self._clock = clock
        self._pool = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=_CONNECTIONS,
            max_waiting=_WAITING,
            timeout=_SECONDS,
            open=False,
            kwargs={"autocommit": True, "application_name": "dripdrop web"},
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
        )

    async def __aenter__(self) -> Database:
        """Open the connection pool; a database that is away is waited for by each request."""
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        await self._pool.close()

    def now(self) -> datetime:
        """Return the time."""
        return self._clock() if self._clock else datetime.now(UTC)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """Lend a client whose calls are one transaction."""
        async with self._pool.connection() as connection, connection.transaction():
            if self._clock is not None:
                now = self._clock().isoformat()
                await connection.execute("select set_config('dripdrop.now', %s, true)", [now])
            yield AsyncClient(connection)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(f"set statement_timeout = '{_SECONDS}s'")
