"""The database as a web process uses it: a few connections, and an end to waiting for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

import psycopg

from dripdrop.client import AsyncClient
from dripdrop.connections import Connections
from dripdrop.dsn import understood, with_defaults
from dripdrop.errors import OtherVersion
from dripdrop.faults import Kind, kind_of
from dripdrop.process.version import is_version

_CONNECTIONS = 4
_WAITING = 200
_SECONDS = 10


class Crowded(Exception):
    """As many requests wait for the database as may."""


class Database:
    """At most four requests are in the database and 200 wait, none longer than ten seconds.

    That bounds what anybody who has a link can cost; whoever comes beyond it is told to come again.
    """

    def __init__(
        self,
        dsn: str,
        clock: Callable[[], datetime] | None,
        on_other_version: Callable[[], None] | None = None,
    ) -> None:
        """Prepare without connecting; `on_other_version` is told when the schema is not ours."""
        self._clock = clock
        self._on_other_version = on_other_version
        self._inside = 0
        named = with_defaults(understood(dsn), {"fallback_application_name": "dripdrop web"})
        self._connections = Connections(named, _CONNECTIONS, lambda connection: None)

    async def __aenter__(self) -> Database:
        """Connect later: a database that is away is waited for by each request."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._connections.aclose()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """Lend a client whose calls are one transaction, on a schema of the driver's version.

        Raises:
            OtherVersion: it is not the driver's; the log says what to do.
            Crowded: too many wait.
            TimeoutError: there was no connection in time.
            psycopg.Error: the transaction failed.
        """
        if self._inside >= _CONNECTIONS + _WAITING:
            raise Crowded
        self._inside += 1
        try:
            async with AsyncExitStack() as stack:
                transaction = self._connections.transaction(
                    _SECONDS, self._clock() if self._clock else None
                )
                async with asyncio.timeout(_SECONDS):
                    connection = await stack.enter_async_context(transaction)
                client = AsyncClient(connection)
                if not is_version(await client.version()):
                    if self._on_other_version is not None:
                        self._on_other_version()
                    raise OtherVersion("the schema is of another version")
                yield client
        finally:
            self._inside -= 1


def is_passing(error: Exception) -> bool:
    """Whether a later attempt may not meet this error."""
    if isinstance(error, psycopg.Error):
        return kind_of(error) is not Kind.OURS
    return isinstance(error, Crowded | TimeoutError)
