"""A mail server and a web server on loopback that take everything, at once or from afar."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Literal

Kind = Literal["mail", "web"]


@contextmanager
def serving(kind: Kind, away: float) -> Iterator[int]:
    """Run a server in a process of its own that replies after so many seconds; lend its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(kind, away, there), daemon=True)
    process.start()
    try:
        if not here.poll(60):
            raise RuntimeError("the server does not start")
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(kind: Kind, away: float, there: Connection) -> None:
    asyncio.run(_listen(MailServer if kind == "mail" else WebServer, away, there))


async def _listen(protocol: type[_Server], away: float, there: Connection) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(away), "127.0.0.1", 0, backlog=1000)
    there.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Server(asyncio.Protocol):
    """Replies to what arrives together together, after so many seconds."""

    def __init__(self, away: float) -> None:
        self._away = away
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        replies = self.replies()
        if replies and self._away:
            loop = asyncio.get_running_loop()
            loop.call_later(self._away, self._transport.write, replies)
        elif replies:
            self._transport.write(replies)

    def replies(self) -> bytes:
        """Return the replies to what has arrived whole."""
        raise NotImplementedError


class WebServer(_Server):
    """Says 200 to every request, in Postmark's words."""

    _REPLY = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
        b'{"ErrorCode":0}'
    )

    def replies(self) -> bytes:
        """Return the replies to what has arrived whole."""
        replies = b""
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            _, _, length = self._received[:end].lower().partition(b"content-length:")
            whole = end + 4 + int(length.partition(b"\r\n")[0] or 0)
            if len(self._received) < whole:
                break
            self._received = self._received[whole:]
            replies += self._REPLY
        return replies


_MAIL_REPLIES = {
    b"EHLO": b"250-bench\r\n250 PIPELINING\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class MailServer(_Server):
    """Takes every mail, and offers PIPELINING."""

    _in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        super().connection_made(transport)
        self._transport.write(b"220 bench\r\n")

    def replies(self) -> bytes:
        """Return the replies to what has arrived whole."""
        replies = b""
        while True:
            end = b"\r\n.\r\n" if self._in_content else b"\r\n"
            line, found, rest = self._received.partition(end)
            if not found:
                return replies
            self._received = rest
            if self._in_content:
                replies += b"250 2.0.0 queued\r\n"
                self._in_content = False
            else:
                command = line[:4].upper()
                replies += _MAIL_REPLIES.get(command, b"250 2.1.0 ok\r\n")
                self._in_content = command == b"DATA"
