"""A mail relay and a web server that log when what came, and can be slow, silent or away."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from tests.daemon.servers import PATIENCE, Observed

Mode = Literal["serving", "away", "closing", "silent"]


@dataclass(frozen=True)
class Receipt:
    """What a server has taken, and the second of the monotonic clock at which its content came."""

    at: float
    recipient: str


class Server(Observed):
    """Keeps a log of what it takes; nothing of it is in the way of high rates.

    * `pause(moment)`: the seconds that it hesitates before it answers a moment.
    * `mode`: `away` ends every connection at once, `closing` says so first, `silent` takes them and
      says nothing.
    """

    goodbye = b""
    """What it says when it takes nobody."""

    def __init__(self, pause: Callable[[str], float] = lambda moment: 0.0) -> None:
        super().__init__()
        self.port = 0
        self.pause = pause
        self.receipts: list[Receipt] = []
        self.connections: list[float] = []
        """When they were taken, those of the time when it is away included."""
        self.most_at_once = 0
        self._at_once = 0
        self._mode: Mode = "serving"
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def account(self) -> dict[str, Any]:
        """The config of a sender that sends through it."""
        raise NotImplementedError

    @property
    def times(self) -> list[float]:
        """When messages came, in order."""
        return sorted(receipt.at for receipt in self.receipts)

    def repeated(self) -> list[str]:
        """Return who got more than one message."""
        counts = Counter(receipt.recipient for receipt in self.receipts)
        return [recipient for recipient, count in counts.items() if count > 1]

    def become(self, mode: Mode) -> None:
        """Change how it behaves; the connections there are end."""

        async def change() -> None:
            self._mode = mode
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(PATIENCE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen on a free port, in a thread."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE)
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(time.monotonic())
        if self._mode == "away":
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            if self._mode == "silent":
                await reader.read()
            elif self._mode == "closing":
                writer.write(self.goodbye)
            else:
                with suppress(OSError, asyncio.IncompleteReadError):
                    await self._serve(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _hesitate(self, moment: str) -> None:
        seconds = self.pause(moment)
        if seconds:
            await asyncio.sleep(seconds)

    async def _received(self, recipient: str) -> None:
        """Write down that a content has come, and take the time for the answer."""
        with self.change():
            self.receipts.append(Receipt(time.monotonic(), recipient))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._hesitate("answer")
        finally:
            self._at_once -= 1


class Relay(Server):
    """A mail server. Its moments: greeting, EHLO, MAIL, RCPT, DATA and answer."""

    goodbye = b"421 4.3.2 Service not available, closing transmission channel\r\n"

    @property
    def account(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "security": "none",
            "from": "hello@acme.example",
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""
        await self._hesitate("greeting")
        writer.write(b"220 relay ESMTP\r\n")
        while line := await reader.readline():
            word = line[:4].decode().strip().upper()
            await self._hesitate(word)
            if word == "DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await self._received(recipient)
            elif word == "RCPT":
                found = re.search(rb"<([^>]*)>", line)
                recipient = found[1].decode() if found else ""
            writer.write(b"221 bye\r\n" if word == "QUIT" else b"250 OK\r\n")
            if word == "QUIT":
                return


class Web(Server):
    """An HTTP server that answers every POST with 204. Its moment: answer."""

    goodbye = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

    @property
    def account(self) -> dict[str, Any]:
        return {"url": f"http://127.0.0.1:{self.port}/"}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            await self._received(body.decode())
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def most_in_any(times: list[float], window: float) -> int:
    """Return the most of some ascending times that lie within any window, its end excluded."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most
