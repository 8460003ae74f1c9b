"""A TCP proxy on loopback that can be told to misbehave, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PATIENCE = 30.0
_CHUNK = 65536

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Forwards connections to an upstream until it is told otherwise.

    * `reset`: connections end with an RST; new ones are taken.
    * `stall`: nothing is forwarded either way, new connections included, until `resume`.
    * `half_open`: the connections there are fall silent for good; new ones are served.
    * `refuse`: connections end, and new ones are ended at once, until `resume`.
    * `lose_answer`: the answer to one commit never comes, and its connection ends.
    """

    def __init__(self, upstream: Open) -> None:
        self.port = 0
        self.connections = 0
        """How many have been taken."""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._links: set[_Link] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._lost: list[bytes] = []

    def reset(self) -> None:
        """End every connection with an RST."""
        self._call(self._reset)

    def stall(self) -> None:
        """Forward nothing any more."""
        self._call(self._flows.clear)

    def resume(self) -> None:
        """Forward what was held back, and take connections again."""

        def resume() -> None:
            self._refuses = False
            self._flows.set()

        self._call(resume)

    def half_open(self) -> None:
        """Let the connections there are fall silent, and serve new ones."""

        def silence() -> None:
            for link in self._links:
                link.silent = True

        self._call(silence)

    def refuse(self) -> None:
        """End every connection, and each new one."""

        def refuse() -> None:
            self._refuses = True
            self._reset()

        self._call(refuse)

    def lose_answer(self, *calls: bytes) -> None:
        """Lose the answer to the next commit of a transaction in which one of these is called."""
        self._call(lambda: self._lost.extend(calls))

    @property
    def has_lost_it(self) -> bool:
        """Whether the answer is lost."""
        return not self._lost

    def _reset(self) -> None:
        for link in list(self._links):
            link.reset()

    def _call(self, call: Callable[[], None]) -> None:
        async def called() -> None:
            call()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(_PATIENCE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = _Link(self._flows, self._lost, reader, writer)
        self._links.add(link)
        try:
            if self._refuses:
                link.reset()
                return
            await self._flows.wait()
            await link.run(self._upstream)
        except OSError:
            link.reset()
        finally:
            self._links.discard(link)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """Listen on a free port."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_PATIENCE)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class _Link:
    """A connection of a client, and the one to the upstream that belongs to it."""

    def __init__(
        self,
        flows: asyncio.Event,
        lost: list[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.silent = False
        self._flows = flows
        self._lost = lost
        self._calls = False
        self._reader = reader
        self._writers = [writer]

    async def run(self, upstream: Open) -> None:
        """Forward both ways until either side ends."""
        reader, writer = await upstream()
        self._writers.append(writer)
        ways = [
            asyncio.create_task(self._forward(self._reader, writer)),
            asyncio.create_task(self._forward(reader, self._writers[0])),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for each in self._writers:
            each.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                if not self.silent:
                    writer.write(data)
                    await writer.drain()
                if reader is self._reader and self._is_last(data):
                    self.silent = True
                    await asyncio.sleep(0.5)  # which is enough for the commit
                    self.reset()
            await self._flows.wait()
            while self.silent:
                await asyncio.sleep(3600)

    def _is_last(self, data: bytes) -> bool:
        """Whether a commit goes by whose answer is to be lost: one, the first."""
        self._calls = self._calls or any(call in data for call in self._lost)
        if b"COMMIT" not in data.upper():
            return False
        lost = self._calls and bool(self._lost)
        self._calls = False
        if lost:
            self._lost.clear()
        return lost

    def reset(self) -> None:
        """End both connections with an RST."""
        for writer in self._writers:
            channel: Any = writer.get_extra_info("socket")
            if channel is not None and channel.family != socket.AF_UNIX:
                with suppress(OSError):
                    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def to_port(port: int, host: str = "127.0.0.1") -> Open:
    """Return an upstream that listens on a port."""
    return lambda: asyncio.open_connection(host, port)


@contextmanager
def before_database(dsn: str) -> Iterator[tuple[Proxy, str]]:
    """Put a proxy before a database; yield it, and the DSN that leads through it."""
    given = conninfo_to_dict(dsn)
    host, port = str(given["host"]), int(given.get("port") or 5432)
    if host.startswith("/"):
        path = f"{host}/.s.PGSQL.{port}"
        upstream: Open = lambda: asyncio.open_unix_connection(path)  # noqa: E731
    else:
        upstream = to_port(port, host)
    with Proxy(upstream).running() as proxy:
        yield proxy, make_conninfo(dsn, host="127.0.0.1", port=proxy.port, sslmode="disable")
