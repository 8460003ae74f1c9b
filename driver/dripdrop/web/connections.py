"""How many connections there are, whose they are, and how long one may take to say what it wants.

A server that waits for requests is held up by whoever connects and says nothing, or half of it. So
a head has a time limit, and no address may have more than its share of connections. Where all
places are taken, a newcomer gets that of a connection that still owes us its request: the oldest
one of the address that has most. A request that has arrived is never given up for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 16 * 1024
"""How long the head of a request may be."""

_HEAD_SECONDS = 10.0
_REQUEST_SECONDS = 90.0  # beyond what the application itself waits for a body and the database
_LOG_SECONDS = 60.0
_IPV6_NETWORK = 64  # what one customer of a provider has (RFC 6177)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


class Line(Protocol):
    """A connection, as far as its place is concerned."""

    address: str

    @property
    def waiting(self) -> bool:
        """Whether the request, or a part of it, has yet to come."""

    def hang_up(self) -> None:
        """End the connection."""


class Places:
    """Who is connected. An address may have `per_address` connections, all together `total`."""

    def __init__(self, total: int, per_address: int | None) -> None:
        """Begin with nobody."""
        self._total = total
        self._per_address = per_address
        self._lines: dict[str, dict[Line, None]] = {}
        self._taken = 0

    def take(self, line: Line) -> bool:
        """Give a connection a place, if need be another one's; return whether it has one."""
        own = self._lines.get(line.address, {})
        if self._per_address is not None and len(own) >= self._per_address:
            if not self._give_up(own):
                return False
        elif self._taken >= self._total and not self._give_up(self._greediest_first()):
            return False
        self._lines.setdefault(line.address, {})[line] = None
        self._taken += 1
        return True

    def leave(self, line: Line) -> None:
        """Free the place of a connection, if it has one."""
        own = self._lines.get(line.address, {})
        if line in own:
            del own[line]
            self._taken -= 1
            if not own:
                del self._lines[line.address]

    def _give_up(self, lines: Iterable[Line]) -> bool:
        for line in lines:
            if line.waiting:
                self.leave(line)
                line.hang_up()
                return True
        return False

    def _greediest_first(self) -> list[Line]:
        by_count = sorted(self._lines.values(), key=len, reverse=True)
        return [line for lines in by_count for line in lines]


def limited(total: int, per_address: int | None) -> type[H11Protocol]:
    """Return the protocol of a server whose connections have places and time limits."""
    return type("Limited", (_Limited,), {"places": Places(total, per_address)})


class _Limited(H11Protocol):
    """uvicorn's own protocol, with an end to waiting for what a client has to say or take."""

    places: Places
    _last_warning: float | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.address = ""
        self._timer: asyncio.TimerHandle | None = None
        self._timed: object = None  # the request that the timer is for; None is one to come

    @property
    def waiting(self) -> bool:
        return not self._busy or self.cycle.more_body

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = _network(self.client[0] if self.client else "")
        if self.places.take(self):
            self._wait(_HEAD_SECONDS)
        else:
            self._warn()
            transport.write(_FULL)
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def hang_up(self) -> None:
        self._wait(1.0, abort=True)  # for whoever does not take what is still to be written
        self.transport.close()

    def _watch(self) -> None:
        """Set the timer anew where a request has come, or has been answered."""
        request = self.cycle if self._busy else None
        if request is not self._timed:
            self._timed = request
            self._wait(_HEAD_SECONDS if request is None else _REQUEST_SECONDS)

    def _wait(self, seconds: float, *, abort: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        end = self.transport.abort if abort else self.hang_up
        self._timer = self.loop.call_later(seconds, end)

    def _warn(self) -> None:
        now = self.loop.time()
        last = type(self)._last_warning
        if last is None or now - last >= _LOG_SECONDS:
            type(self)._last_warning = now
            structlog.get_logger("dripdrop").warning("connections_refused")


def _network(host: str) -> str:
    """Return what stands for one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, _IPV6_NETWORK), strict=False))
    return str(address)
