"""Connections of one account: opened one at a time, shared, and no more than the server takes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import Awaitable, Callable

from dripdrop.channels.base import Message, TooLate
from dripdrop.channels.smtp_session import Away, Refused, Session

_IDLE = 10.0  # seconds after which a connection is left to others
_GROW = (30.0, 900.0)  # seconds until one more is tried: at first, and at most
_ALONE = (5.0, 3)  # seconds that a server of which others have all connections is left alone; times
_CROWDED = re.compile(r"connection|concurren|session", re.IGNORECASE)


class Busy(Exception):
    """A message did not get a connection, and did not try to open one."""

    def __init__(self, code: str) -> None:
        """Take why."""
        super().__init__(code)
        self.code = code


class Pool:
    """Lends connections. One that fails to open costs who opened it, and nobody who waited."""

    def __init__(self, open_session: Callable[[], Awaitable[Session]], size: int) -> None:
        """Prepare without connecting."""
        self._open = open_session
        self._size = size
        self._limit = size
        self._grow_at = -math.inf
        self._patience = _GROW[0]
        self._count = 0  # lent, idle, and the one that is being opened
        self._idle: list[Session] = []
        self._opening = False
        self._alone = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._goodbyes: set[asyncio.Task[None]] = set()

    @property
    def places(self) -> int:
        """How many messages can be on their way at once: those on open connections and one more, up
        to what the server takes. One that says nothing gets one message, and not all it might take.
        """
        return min(self._most, self._count - self._opening + 1)

    @property
    def _most(self) -> int:
        """How many connections the server takes: what it took, and now and then one more."""
        if self._limit < self._size and _now() >= self._grow_at:
            return self._limit + 1
        return self._limit

    async def take(self, message: Message, fresh: bool = False) -> Session:
        """Lend a connection. Raises what opening raises, `Busy` if somebody else's opening failed,
        `TooLate` if none became free in time. `fresh`: those that are idle seem to be lost.
        """
        if fresh:
            self._say_goodbye(self._idle)
        while True:
            message.handover.check()
            while self._idle:
                session = self._idle.pop()
                if session.is_connected:
                    session.reused = not fresh
                    return session
                self._forget(session)
            if not self._opening and self._count < max(self._most, not self._count):
                session_or_none = await self._open_one()
                if session_or_none is not None:
                    return session_or_none
                continue
            await self._wait(message)

    def give_back(self, session: Session, usable: bool) -> None:
        """Take a connection back; one that is not usable is closed."""
        if usable and session.is_connected and self._count <= self._size:
            session.idle_since = _now()
            self._idle.append(session)
            asyncio.get_running_loop().call_later(_IDLE, self._prune)
        else:
            self._forget(session)
        self._wake()

    async def aclose(self) -> None:
        """Close the connections that are not lent."""
        self._say_goodbye(self._idle)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)

    async def _open_one(self) -> Session | None:
        """Return a new connection, None where the server takes no more than there are."""
        self._opening = True
        self._count += 1
        opened = False
        try:
            session = await self._open()
            opened = True
        except (Refused, Away) as error:
            others = self._count - 1
            if others and not _is_final(error):
                self._shrink(others)
                return None
            if not others:
                self._disappoint(Busy("no_connection"))
                if _is_crowded(error) and self._alone < _ALONE[1]:
                    self._leave_alone()
                    raise Busy("connection_limit") from None
                # It is away: how many it took before says nothing of how many it will take.
                self._limit, self._grow_at, self._patience = self._size, -math.inf, _GROW[0]
            raise
        finally:
            self._opening = False
            if not opened:
                self._count -= 1
            self._wake()
        self._alone = 0
        if self._count > self._limit:
            self._limit = self._count
            self._patience = _GROW[0]
            self._grow_at = _now() + self._patience
        return session

    def _shrink(self, count: int) -> None:
        self._limit = count
        self._grow_at = _now() + self._patience
        self._patience = min(self._patience * 2, _GROW[1])

    def _leave_alone(self) -> None:
        """Give others' workers time: they have what the server takes of us."""
        self._alone += 1
        self._limit = 0
        self._grow_at = _now() + _ALONE[0] * self._alone

    async def _wait(self, message: Message) -> None:
        """Wait until something changes. Raises `Busy`, or `TooLate`."""
        change = asyncio.get_running_loop().create_future()
        self._waiting.add(change)
        try:
            leave_by = message.handover.leave_by
            async with asyncio.timeout_at(None if leave_by == math.inf else leave_by):
                await change
        except TimeoutError:
            raise TooLate from None
        finally:
            self._waiting.discard(change)

    def _wake(self) -> None:
        for change in self._waiting:
            if not change.done():
                change.set_result(None)

    def _disappoint(self, error: Busy) -> None:
        for change in self._waiting:
            if not change.done():
                change.set_exception(error)

    def _forget(self, session: Session) -> None:
        session.close()
        self._count -= 1

    def _prune(self) -> None:
        longest = _now() - _IDLE
        self._say_goodbye([each for each in self._idle if each.idle_since <= longest])

    def _say_goodbye(self, sessions: list[Session]) -> None:
        for session in list(sessions):
            with contextlib.suppress(ValueError):
                self._idle.remove(session)
            self._count -= 1
            goodbye = asyncio.create_task(session.quit())
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._goodbyes.discard)
        self._wake()


def _is_final(error: Refused | Away) -> bool:
    """Whether the account, and not the number of connections, is the reason."""
    if isinstance(error, Away):
        return error.kind == "auth_error"
    return error.stage == "login" and error.code >= 500


def _is_crowded(error: Refused | Away) -> bool:
    """Whether a server says that it has too many connections."""
    return (
        isinstance(error, Refused)
        and error.code < 500
        and _CROWDED.search(error.text) is not None
        and "closing connection" not in error.text.lower()
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
