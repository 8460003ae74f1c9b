"""What all stages of a worker work with, and nothing of the stages themselves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import orjson
import psycopg
import structlog
from psycopg.types.json import set_json_dumps, set_json_loads

from dripdrop.client import AsyncClient
from dripdrop.connections import Connections
from dripdrop.daemon.health import SECONDS
from dripdrop.daemon.reading import read_json
from dripdrop.daemon.settings import Settings
from dripdrop.vault import Vault


class Desk:
    """Settings, database, vault and log; the end of the worker, and news between its stages.

    `clock` replaces the database's clock: every call runs under `dripdrop.now`.
    """

    def __init__(
        self,
        dsn: str,
        connections: int,
        settings: Settings,
        vault: Callable[[], Vault],
        clock: Callable[[], datetime] | None,
    ) -> None:
        """Prepare without connecting; so many connections are open at a time."""
        self.settings = settings
        self.vault = vault
        self.log = structlog.get_logger("dripdrop")
        self.stopping = asyncio.Event()
        self.news = defaultdict[str, asyncio.Event](asyncio.Event)
        """By stage: whether there may be something to do for it."""
        self._clock = clock
        self._connections = Connections(dsn, connections, self._configure)

    @asynccontextmanager
    async def database(self, seconds: float | None = None) -> AsyncIterator[AsyncClient]:
        """Lend a client whose calls are one transaction, committed at the end of the block.

        A call may take `seconds`; else what its stage is given. `faults.Uncertain` is raised when
        what was called may have been done; after any other error it was not.
        """
        now = None if self._clock is None else self._clock()
        async with self._connections.transaction(seconds or SECONDS.get(), now) as connection:
            yield AsyncClient(connection)

    def stop(self) -> None:
        """Claim nothing more, and come to an end."""
        self.stopping.set()
        self.wake(*self.news)

    def wake(self, *stages: str) -> None:
        """Tell stages that wait that there may be something to do."""
        for name in stages:
            self.news[name].set()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Read and write jsonb with orjson: batches are large. No value ends more than its row.

        What the engine warns of, circuits that open and rows that are held, goes into the log.
        """
        set_json_dumps(orjson.dumps, connection)
        set_json_loads(read_json, connection)
        connection.add_notice_handler(self._warned)

    @contextmanager
    def unheard(self, connection: psycopg.AsyncConnection[Any]) -> Iterator[None]:
        """Let a connection's warnings go unlogged: the application's own words may hold data."""
        connection.remove_notice_handler(self._warned)
        try:
            yield
        finally:
            connection.add_notice_handler(self._warned)

    def _warned(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            said = {"detail": diagnostic.message_detail, "hint": diagnostic.message_hint}
            self.log.warning(
                diagnostic.message_primary, **{key: value for key, value in said.items() if value}
            )
