"""Whoever connects and says nothing, or half of something, is in nobody's way."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import pytest

from dripdrop import Vault
from dripdrop.web import app
from dripdrop.web.connections import HEAD_BYTES, Places, _network
from tests.daemon.conftest import KEY
from tests.daemon.servers import wait_for
from tests.web.conftest import serving
from tests.web.test_command import answers
from tests.web.test_command import serving as process

HALF = b"GET /u/x HTTP/1.1\r\nHost: a\r\nX-Half: "
WHOLE = b"GET /u/x HTTP/1.1\r\nHost: a\r\n\r\n"

Connect = Callable[..., socket.socket]


@pytest.fixture
def connect(free_tcp_port: int) -> Iterator[Connect]:
    """Return a function that opens a connection to a port, from an address of loopback."""
    with ExitStack() as stack:

        def open_line(
            port: int = free_tcp_port, begin: bytes = b"", source: str = "127.0.0.1"
        ) -> socket.socket:
            line = socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
            stack.enter_context(line)
            line.sendall(begin)
            return line

        yield open_line


def not_found(line: socket.socket) -> bool:
    """Whether the answer is that there is no such token; waits for all of it."""
    answer = b""
    while not answer.endswith(b"Not Found\n"):
        part = line.recv(1000)
        if not part:
            return False
        answer += part
    return answer.startswith(b"HTTP/1.1 404 ")


def ended(line: socket.socket) -> bool:
    """Whether the server has closed a connection; waits for it to say something."""
    try:
        return line.recv(1000) == b""
    except ConnectionResetError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("begin", [b"", HALF], ids=["idle", "half heads"])
@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.1"], ids=["another", "the same"])
def test_510_that_say_nothing_leave_room_for_the_next(
    dsn: str, free_tcp_port: int, connect: Connect, begin: bytes, source: str
) -> None:
    with process(dsn, "dripdrop", "web", "--port", str(free_tcp_port)):
        wait_for(lambda: answers(free_tcp_port))
        for _ in range(510):
            connect(begin=begin)
        started = time.monotonic()
        for _ in range(20):
            assert not_found(connect(begin=WHOLE, source=source))
        assert time.monotonic() - started < 5


@pytest.mark.slow
def test_many_addresses_that_say_nothing_leave_room_for_the_next(
    dsn: str, free_tcp_port: int, connect: Connect
) -> None:
    with process(dsn, "dripdrop", "web", "--port", str(free_tcp_port), "--connections", "50"):
        wait_for(lambda: answers(free_tcp_port))
        for number in range(100):
            connect(begin=HALF, source=f"127.0.1.{number}")
        assert not_found(connect(begin=WHOLE, source="127.0.2.1"))


@pytest.mark.slow
def test_an_address_has_no_more_than_its_share(
    dsn: str, free_tcp_port: int, connect: Connect
) -> None:
    command = ("dripdrop", "web", "--port", str(free_tcp_port))
    with process(dsn, *command, "--connections-per-address", "3"):
        wait_for(lambda: answers(free_tcp_port))
        elsewhere = connect(begin=HALF, source="127.0.0.2")
        lines = [connect(begin=HALF) for _ in range(4)]
        assert ended(lines[0])
        for line in (*lines[1:], elsewhere):
            line.sendall(b"x\r\n\r\n")
            assert not_found(line)


@pytest.fixture
def hurried(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an application that waits a fifth of a second for a head."""
    monkeypatch.setattr("dripdrop.web.connections._HEAD_SECONDS", 0.2)
    with serving(app(dsn, vault=lambda: Vault(KEY))) as port:
        yield port


@pytest.mark.parametrize("begin", [b"", HALF, WHOLE, WHOLE + HALF])
def test_a_head_that_does_not_come_is_not_waited_for(
    hurried: int, connect: Connect, begin: bytes
) -> None:
    line = connect(hurried, begin)
    if begin.startswith(WHOLE):
        assert not_found(line)
    assert ended(line)


def test_a_head_that_comes_byte_by_byte_has_the_same_time(hurried: int, connect: Connect) -> None:
    line = connect(hurried, HALF)
    line.settimeout(0.02)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            line.sendall(b"x")
            if line.recv(1000) == b"":
                return
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return
    pytest.fail("it waits for as long as bytes come")


def test_a_body_nobody_reads_is_not_waited_for(hurried: int, connect: Connect) -> None:
    line = connect(hurried, b"POST /u/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
    assert not_found(line)
    assert ended(line)


def test_a_connection_may_ask_again_within_its_time(hurried: int, connect: Connect) -> None:
    line = connect(hurried)
    for _ in range(3):
        line.sendall(WHOLE)
        assert not_found(line)


def test_a_long_head_is_refused(dsn: str, connect: Connect) -> None:
    with serving(app(dsn, vault=lambda: Vault(KEY))) as port:
        line = connect(port, HALF + b"x" * HEAD_BYTES)
        assert line.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_long_path_is_no_token(dsn: str) -> None:
    with serving(app(dsn, vault=lambda: Vault(KEY))) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/u/{'x' * 8000}").status_code == 404


@dataclass(eq=False)
class Line:
    """A connection without a wire."""

    address: str
    waiting: bool = True
    over: bool = field(default=False, init=False)

    def hang_up(self) -> None:
        """Note it."""
        self.over = True


def test_a_request_that_has_arrived_is_not_given_up() -> None:
    places = Places(2, None)
    busy = [Line("a", waiting=False), Line("b", waiting=False)]
    assert all(places.take(line) for line in busy)
    assert not places.take(Line("c"))
    assert not any(line.over for line in busy)
    places.leave(busy[0])
    assert places.take(Line("c"))


def test_whoever_has_most_gives_up_the_oldest_that_waits() -> None:
    places = Places(4, None)
    few, *many = Line("a"), Line("b", waiting=False), Line("b"), Line("b")
    assert all(places.take(line) for line in (few, *many))
    assert places.take(Line("c"))
    assert [line.over for line in (few, *many)] == [False, False, True, False]


def test_a_place_that_is_left_twice_is_one_place() -> None:
    places = Places(1, 1)
    line = Line("a")
    assert places.take(line)
    places.leave(line)
    places.leave(line)
    assert places.take(Line("a", waiting=False))
    assert not places.take(Line("b"))


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_its_network(host: str, network: str) -> None:
    assert _network(host) == network
