"""HTTP that leaves: one guarded exchange."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport

from dripdrop.outgoing.headers import checked_headers
from dripdrop.outgoing.reach import Reach, Unsendable
from dripdrop.outgoing.urlguard import PrivateAddress, check_url, public_socket

_MAX_REPLY_BYTES = 64 * 1024
_MAX_INTERIM_REPLIES = 16
_RETRY_AFTER_SECONDS = (1.0, 86400.0)

_before_writing: ContextVar[Callable[[], None] | None] = ContextVar("before_writing", default=None)


@dataclass(frozen=True, slots=True)
class Reply:
    """The start of an HTTP response: at most 64 KiB of its body."""

    status: int
    headers: httpx.Headers
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
        try:
            if value.isdecimal():
                seconds = float(value)
            else:
                date = self.headers.get("date")
                start = parsedate_to_datetime(date) if date else now
                seconds = (parsedate_to_datetime(value) - start).total_seconds()
        except (ValueError, TypeError):
            return None
        return min(max(seconds, shortest), longest)


class GuardedHTTP:
    """The way out: one request, one reply, to public addresses only, and nothing of its own accord.

    The transport stands alone, without `httpx.AsyncClient`: no redirects, cookies, proxies from the
    environment or netrc, and no log lines with the URL. Connections open with the first request.
    """

    def __init__(self, reach: Reach) -> None:
        """Prepare the connection pool."""
        self._reach = reach
        self._transport = AiohttpTransport(client=self._session)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], content: str, timeout: float
    ) -> httpx.Request:
        """Return a request whose URL and headers have been checked, or raise `Unsendable`."""
        ours = {"User-Agent": "dripdrop-postgres", "Accept-Encoding": "identity"}
        named = {name.lower() for name in headers} - {"accept-encoding"}
        headers = {name: each for name, each in headers.items() if name.lower() in named}
        checked = checked_headers(
            {name: each for name, each in ours.items() if name.lower() not in named} | headers
        )
        for name, value in checked.items():
            if not value.isascii():
                raise Unsendable("invalid_header", f'header "{name}" must be ASCII')
        connect = min(self._reach.connect_timeout, timeout)
        limits = httpx.Timeout(timeout, connect=connect, pool=connect)
        return httpx.Request(
            method,
            check_url(url, self._reach),
            headers=checked,
            content=content.encode(),
            extensions={"timeout": limits.as_dict()},
        )

    async def exchange(
        self,
        request: httpx.Request,
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

        token = _before_writing.set(begin)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(request)
        except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError, LookupError) as error:
            raise NoReply(*_lost(error, begun)) from None
        finally:
            _before_writing.reset(token)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _session(self) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=0,
            ssl=httpx.create_ssl_context(),
            socket_factory=None if self._reach.allow_private else public_socket,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), request_class=_Request
        )

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self._transport.handle_async_request(request)
        body = b""
        try:
            # As they are: what was encoded unasked could become a thousand times as large.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MAX_REPLY_BYTES:
                    break
        finally:
            await response.aclose()
        cut = len(body) > _MAX_REPLY_BYTES
        return Reply(response.status_code, response.headers, body[:_MAX_REPLY_BYTES], cut)


class _Request(aiohttp.ClientRequest):
    """Says that it is about to be written; aiohttp calls `send` once there is a connection."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Write the request."""
        before_writing = _before_writing.get()
        if before_writing is not None:
            before_writing()
        return await super().send(conn)


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
    cause = (isinstance(error, httpx.HTTPError) and error.__cause__) or error
    if isinstance(cause.__cause__, PrivateAddress):
        return "url_refused", str(cause.__cause__)
    # A certificate that will not do is a ValueError, too.
    if not (begun or isinstance(cause, OSError)) and isinstance(cause, ValueError | LookupError):
        return "url_refused", "the URL cannot be read"
    detail = str(cause) or type(cause).__name__
    if not begun:
        return "connect_error", detail
    return "timeout" if isinstance(cause, TimeoutError) else "connection_lost", detail
