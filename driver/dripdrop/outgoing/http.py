"""HTTP that leaves: one guarded exchange."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

import aiohttp
import certifi
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from dripdrop.outgoing.headers import checked_headers
from dripdrop.outgoing.reach import Reach, Unsendable
from dripdrop.outgoing.urlguard import PrivateAddress, check_url, public_socket

_MAX_REPLY_BYTES = 64 * 1024
_MAX_INTERIM_REPLIES = 16
_RETRY_AFTER_SECONDS = (1.0, 86400.0)
_FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, LookupError)
_MAX_TARGETS = 256
_WITHOUT_CONTENT = {"GET", "HEAD", "DELETE"}
_OURS = {"User-Agent": "dripdrop-postgres", "Accept": "*/*"}
_ALWAYS_OURS = {"Accept-Encoding": "identity"}
_NOT_THEIRS = {"accept-encoding", "connection", "content-length", "host", "transfer-encoding"}


class Reply(NamedTuple):
    """The start of an HTTP response: at most 64 KiB of its body."""

    status: int
    headers: Mapping[str, str]
    """Names count whatever their case."""
    body: bytes
    cut: bool = False

    @property
    def code(self) -> str:
        """The status as outcomes and answers name it, such as ``http_404``."""
        return f"http_{self.status:03}"

    @property
    def server_failed(self) -> bool:
        """Whether the server is at fault: 5xx, or no status that there is (RFC 9110 section 15)."""
        return not 200 <= self.status < 500

    def json(self) -> dict[str, Any]:
        """Return the body if it is a JSON object, else an empty one."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def retry_after(self, now: datetime) -> float | None:
        """Return `Retry-After` (RFC 9110 section 10.2.3) in seconds, between 1 s and 24 h.

        A date counts from the server's own `Date`, or from `now` where it sends none.
        """
        value = self.headers.get("retry-after", "").strip()
        shortest, longest = _RETRY_AFTER_SECONDS
        if value.isdecimal():
            seconds = float(value)
        elif (until := _date(value)) is not None:
            seconds = (until - (_date(self.headers.get("date", "")) or now)).total_seconds()
        else:
            return None
        return min(max(seconds, shortest), longest)


def _date(value: str) -> datetime | None:
    """Return a header's date, or None where there is none that can be read."""
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None


class Request(NamedTuple):
    """What is to leave: its URL and headers have been checked."""

    method: str
    url: URL
    headers: Mapping[str, str]
    content: bytes
    limits: aiohttp.ClientTimeout

    def as_bytes(self) -> bytes:
        """Return the request for the wire (RFC 9112 section 3)."""
        head = [
            f"{self.method} {self.url.raw_path_qs} HTTP/1.1",
            f"Host: {self.url.host_port_subcomponent}",
            *[f"{name}: {value}" for name, value in self.headers.items()],
        ]
        if self.content or self.method not in _WITHOUT_CONTENT:
            head.append(f"Content-Length: {len(self.content)}")
        return "\r\n".join((*head, "\r\n")).encode("ascii") + self.content


class GuardedHTTP:
    """The way out: one request, one reply, to public addresses only, and nothing of its own accord.

    No redirects, cookies, proxies from the environment or netrc, and no log lines with the URL.
    Connections open with the first request.
    """

    def __init__(self, reach: Reach) -> None:
        """Prepare without a connection pool, which belongs to a running loop."""
        self._reach = reach
        self._session: aiohttp.ClientSession | None = None
        self._targets: dict[URL, aiohttp.ClientRequest] = {}

    def request(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, timeout: float
    ) -> Request:
        """Return a request whose URL and headers have been checked, or raise `Unsendable`."""
        connect = min(self._reach.connect_timeout, timeout)
        return Request(
            method,
            check_url(url, self._reach),
            _headers(headers),
            content,
            _limits(connect),
        )

    async def exchange(
        self,
        request: Request,
        timeout: float,
        before_writing: Callable[[], None] | None = None,
    ) -> Reply:
        """Return the reply. Raises `NoReply` when there is none within `timeout` seconds.

        `before_writing` is called when there is a connection, just before the request's first byte
        leaves, and may still stop it by raising.
        """
        begun = False

        def begin() -> None:
            nonlocal begun
            if before_writing is not None:
                before_writing()
            begun = True

        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(request, begin)
        except _FAILURES as error:
            raise NoReply(*_lost(error, begun)) from None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _connect(self, request: Request) -> Connection:
        """Return a connection of the pool, or a new one."""
        if self._session is None:
            connector = _Connector(
                limit=0,
                ssl=_tls(),
                socket_factory=None if self._reach.allow_private else public_socket,
            )
            self._session = aiohttp.ClientSession(connector=connector)
        origin = request.url.origin()
        target = self._targets.get(origin)
        if target is None:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            target = self._targets[origin] = aiohttp.ClientRequest(
                "GET", origin, loop=asyncio.get_running_loop(), session=self._session
            )
        assert self._session.connector is not None
        return await self._session.connector.connect(target, [], request.limits)

    async def _exchange(self, request: Request, begin: Callable[[], None]) -> Reply:
        """Write a request, and read the reply.

        The pool and the parser are aiohttp's. Its client would follow, retry, keep and translate
        more than is wanted here, and takes as long for that as for all else.
        """
        connection = await self._connect(request)
        protocol = connection.protocol
        transport = connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        try:
            begin()
            # As it is: what was encoded unasked could become a thousand times as large.
            protocol.set_response_params(
                skip_payload=request.method == "HEAD", auto_decompress=False, read_until_eof=True
            )
            transport.write(request.as_bytes())
            head, content = await protocol.read()
            while 100 <= head.code < 200 and head.code != 101:
                head, content = await protocol.read()
            body = b""
            while len(body) <= _MAX_REPLY_BYTES and (chunk := await content.readany()):
                body += chunk
        except BaseException:
            transport.abort()
            connection.close()
            raise
        cut = len(body) > _MAX_REPLY_BYTES
        if cut or transport.get_write_buffer_size():
            transport.abort()
        connection.release()
        return Reply(head.code, head.headers, body[:_MAX_REPLY_BYTES], cut)


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return what is sent, checked: the last of each name counts, whatever the case."""
    named = {name.lower(): name for name in headers}
    chosen = {name: value for name, value in _OURS.items() if name.lower() not in named}
    chosen |= {name: headers[name] for lower, name in named.items() if lower not in _NOT_THEIRS}
    checked = checked_headers(chosen | _ALWAYS_OURS)
    for name, value in checked.items():
        if not value.isascii():
            raise Unsendable("invalid_header", f'header "{name}" must be ASCII')
    return checked


def _tls() -> ssl.SSLContext:
    """Return what verifies servers: Mozilla's authorities, or those that the environment names."""
    named = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return ssl.create_default_context(cafile=None if named else certifi.where())


@lru_cache(maxsize=64)
def _limits(connect: float) -> aiohttp.ClientTimeout:
    """Return what aiohttp bounds: who asks for an exchange bounds the whole."""
    return aiohttp.ClientTimeout(connect=connect, sock_connect=connect)


class _Connection(ResponseHandler):
    """Takes a few interim replies (RFC 9110 section 15.2) before the one that counts.

    aiohttp reads on for as long as they come: a server that sends nothing else would have the loop
    to itself.
    """

    _interim = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a reply's head, or end the connection."""
        self._interim = self._interim + 1 if 100 <= data[0].code < 200 else 0
        if self._interim <= _MAX_INTERIM_REPLIES:
            super().feed_data(data, size)
        elif self._interim == _MAX_INTERIM_REPLIES + 1:
            self.set_exception(aiohttp.ClientConnectionError("too many interim replies"))
            if self.transport is not None:
                self.transport.close()


class _Connector(aiohttp.TCPConnector):
    """Opens such connections."""

    def __init__(self, **settings: Any) -> None:
        """Take what `aiohttp.TCPConnector` takes."""
        super().__init__(**settings)
        self._factory: Any = partial(_Connection, loop=self._loop)


class NoReply(Exception):
    """A request got no reply; `code` says whether it was refused here, or what became of it.

    ================  ==========================================================
    url_refused       the guard kept it from leaving
    connect_error     it certainly did not leave
    timeout           it may have left
    connection_lost   it may have left
    ================  ==========================================================
    """

    def __init__(self, code: str, detail: str) -> None:
        """Take the code and the transport's words."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


def _lost(error: Exception, begun: bool) -> tuple[str, str]:
    """Return the code and the words for an exchange that failed."""
    if isinstance(error.__cause__, PrivateAddress):
        return "url_refused", str(error.__cause__)
    # A certificate that will not do is a ValueError, too.
    if not (begun or isinstance(error, OSError)) and isinstance(error, ValueError | LookupError):
        return "url_refused", "the URL cannot be read"
    detail = str(error) or type(error).__name__
    if not begun:
        return "connect_error", detail
    return "timeout" if isinstance(error, TimeoutError) else "connection_lost", detail
