"""Say that the worker is there."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import psycopg

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.stage import Stage

_SECONDS = 5.0
_FAREWELL = 2.0  # seconds that the end may take, with a database that does not answer


class Presence(Stage):
    """Calls `dripdrop.note_worker()` every few seconds, with what the worker does."""

    name = "presence"

    def __init__(self, desk: Desk, doing: Callable[[], dict[str, Any]]) -> None:
        """Give the worker a name of its own."""
        super().__init__(desk)
        self.interval = _SECONDS
        self._worker = uuid4()
        self._doing = doing
        self._said_at = 0.0

    async def step(self) -> bool:
        """Say it, unless that was just done; there is never more to do at once."""
        if self._said_at and time.monotonic() - self._said_at < _SECONDS / 2:
            return False
        async with self.desk.database() as database:
            await database.note_worker(
                self._worker,
                socket.gethostname(),
                os.getpid(),
                version("dripdrop-postgres"),
                self._doing(),
            )
        self._said_at = time.monotonic()
        return False

    async def aclose(self) -> None:
        """Say that the worker has ended, where there is a database to say it to."""
        if self._said_at:
            with suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(_FAREWELL), self.desk.database() as database:
                    await database.forget_worker(self._worker)
