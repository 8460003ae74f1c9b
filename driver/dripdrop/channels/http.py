"""What all HTTP that leaves shares: one guarded exchange; and what its result means to a send."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from dripdrop.channels.base import (
    Adapter,
    ChannelSettings,
    InvalidMessage,
    Message,
    Outcome,
    OutcomeKind,
)
from dripdrop.channels.headers import checked_headers
from dripdrop.channels.urlguard import PrivateAddress, check_url, public_socket

_MAX_REPLY_BYTES = 64 * 1024
_RETRY_AFTER_SECONDS = (1.0, 86400.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """The start of an HTTP response: at most 64 KiB of its body."""

    status: int
    headers: httpx.Headers
    body: bytes
    cut: bool = False

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

    def __init__(self, settings: ChannelSettings) -> None:
        """Prepare the connection pool."""
        self.settings = settings
        self._transport = AiohttpTransport(client=self._session)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], content: str, timeout: float
    ) -> httpx.Request:
        """Return a request whose URL and headers have been checked, or raise `InvalidMessage`."""
        checked = checked_headers({"User-Agent": "dripdrop-postgres", **headers})
        for name, value in checked.items():
            if not value.isascii():
                raise InvalidMessage("invalid_header", f'header "{name}" must be ASCII')
        connect = min(self.settings.connect_timeout, timeout)
        limits = httpx.Timeout(timeout, connect=connect, pool=connect)
        return httpx.Request(
            method,
            check_url(url, self.settings),
            headers=checked,
            content=content.encode(),
            extensions={"timeout": limits.as_dict()},
        )

    async def exchange(self, request: httpx.Request, timeout: float) -> Reply:
        """Return the reply. Raises `NoReply` when there is none within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(request)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise NoReply(*_lost(error)) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=httpx.create_ssl_context(),
            socket_factory=None if self.settings.allow_private else public_socket,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self._transport.handle_async_request(request)
        body = b""
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_REPLY_BYTES:
                    break
        finally:
            await response.aclose()
        cut = len(body) > _MAX_REPLY_BYTES
        return Reply(response.status_code, response.headers, body[:_MAX_REPLY_BYTES], cut)


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


def _lost(error: Exception) -> tuple[str, str]:
    """Return the code and the words for an exchange that failed.

    Only the transport's own cause tells whether anything left: httpx-aiohttp reports a connection
    that the server closed after reading the request as a connect timeout.
    """
    cause = (isinstance(error, httpx.HTTPError) and error.__cause__) or error
    if isinstance(cause.__cause__, PrivateAddress):
        return "url_refused", str(cause.__cause__)
    if isinstance(cause, aiohttp.InvalidURL):
        return "url_refused", "the URL cannot be read"
    detail = str(cause) or type(cause).__name__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return "connect_error", detail
    return "timeout" if isinstance(cause, TimeoutError) else "connection_lost", detail


class HTTPChannel(ABC):
    """A provider reached by one HTTP request per message.

    A provider says how a message becomes a request and, where the status does not tell enough,
    how a reply becomes an outcome. `repeatable` says that the receiver drops a repeat of the same
    message: then a request whose fate is unknown is simply sent again.
    """

    required_credentials: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = False

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Prepare the connection pool, which opens with the first message."""
        self.adapter = adapter
        self.settings = settings
        self._http = GuardedHTTP(settings)

    @abstractmethod
    def request(self, message: Message) -> httpx.Request:
        """Return the request for a message, or raise `InvalidMessage`."""

    def guarded_request(
        self, method: str, url: str, headers: Mapping[str, str], content: str
    ) -> httpx.Request:
        """Return a request whose URL and headers have been checked, or raise `InvalidMessage`."""
        return self._http.request(method, url, headers, content, self.settings.timeout)

    def outcome(self, message: Message, reply: Reply) -> Outcome:
        """Return what a reply means, going by its status alone."""
        after = reply.retry_after(message.sent_at)
        return Outcome(
            self._kind(reply.status, after),
            f"http_{reply.status}",
            retry_after=after,
            response={"status": reply.status},
        )

    async def send(self, message: Message) -> Outcome:
        """Send one message."""
        try:
            request = self.request(message)
        except InvalidMessage as error:
            return error.outcome
        try:
            reply = await self._http.exchange(request, self.settings.timeout)
        except NoReply as error:
            return self._lost(error)
        return self.outcome(message, reply)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _kind(self, status: int, retry_after: float | None) -> OutcomeKind:
        if 200 <= status < 300:
            return "sent"
        if status == 429:
            return "rate_limited"
        if status in {401, 403}:
            return "auth_error"
        if status in {408, 425}:
            return "retry"
        if status < 500:
            return "failed"
        if retry_after is not None and (status == 503 or self.repeatable):
            return "rate_limited"
        return self._unknown

    @property
    def _unknown(self) -> OutcomeKind:
        return "retry" if self.repeatable else "maybe_sent"

    def _lost(self, error: NoReply) -> Outcome:
        """Return the outcome of a request that got no reply."""
        if error.code == "url_refused":
            return Outcome("failed", error.code, error.detail)
        kind: OutcomeKind = "retry" if error.code == "connect_error" else self._unknown
        return Outcome(kind, error.code, self.adapter.redact(error.detail))
