"""The replies of a mail server to commands of which several may be under way (RFC 5321, 4.2)."""

from __future__ import annotations

import asyncio
import re
from collections import deque

import aiosmtplib
from aiosmtplib import SMTPResponse, SMTPServerDisconnected

_LINE = re.compile(rb"(\d{3})(?:([ -])(.*))?", re.DOTALL)
_MOST_BYTES = 32 * 1024  # of replies to what was written last
_NO_REPLY = -1


class Wire(asyncio.Protocol):
    """Takes the place of the library's protocol on an open connection.

    That one knows of one reply at a time: what comes together with it, or before it is asked for,
    is lost or is taken for the reply to something else.
    """

    def __init__(self, smtp: aiosmtplib.SMTP) -> None:
        """Take over. Raises `SMTPServerDisconnected` when there is no connection any more."""
        if smtp.protocol is None or smtp.protocol.transport is None:
            raise SMTPServerDisconnected("Connection lost")
        self._library = smtp.protocol
        self._transport = smtp.protocol.transport
        self._begun = b""
        self._lines: list[bytes] = []
        self._replies: deque[SMTPResponse] = deque()
        self._bytes = 0
        self._ended = False
        self._change: asyncio.Future[None] | None = None
        self._transport.set_protocol(self)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed, or is closing."""
        return self._ended or self._transport.is_closing()

    @property
    def is_usable(self) -> bool:
        """Whether it is open, and nothing has come that nobody has asked for."""
        return not (self.is_lost or self._replies or self._lines or self._begun)

    def write(self, data: bytes) -> None:
        """Write commands, or content. Raises `SMTPServerDisconnected`."""
        if self.is_lost:
            raise SMTPServerDisconnected("Connection lost")
        assert isinstance(self._transport, asyncio.WriteTransport)
        self._bytes = 0
        self._transport.write(data)

    async def reply(self) -> SMTPResponse:
        """Return the next reply; the code of what is none is -1. Raises `SMTPServerDisconnected`.

        Takes as long as the server does: the caller bounds it.
        """
        while not self._replies:
            if self.is_lost:
                raise SMTPServerDisconnected("Connection lost")
            self._change = asyncio.get_running_loop().create_future()
            await self._change
        return self._replies.popleft()

    def data_received(self, data: bytes) -> None:
        """Take the lines that are whole."""
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self._replies.append(SMTPResponse(_NO_REPLY, "Response too long"))
            self._transport.close()
        else:
            *lines, self._begun = (self._begun + data).split(b"\n")
            for line in lines:
                self._take(line.rstrip(b"\r"))
        self._wake()

    def eof_received(self) -> None:
        """Take no more; the transport closes itself."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and the library."""
        self._ended = True
        self._wake()
        self._library.connection_lost(exc)

    def _take(self, line: bytes) -> None:
        """Take a line. As the library has it, the code is the last line's."""
        said = _LINE.fullmatch(line)
        self._lines.append(line[4:].strip() if said else line)
        if said is not None and said[2] == b"-":
            return
        text = b"\n".join(each for each in self._lines if each).decode("utf-8", "surrogateescape")
        self._lines = []
        self._replies.append(SMTPResponse(int(said[1]) if said else _NO_REPLY, text))

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
