"""How many requests a server is given at a time, found out by what it does with more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from dripdrop.channels import Channel
from dripdrop.channels.window import AT_ONCE, MOST, Window

from .conftest import HTTPServers, Open, message

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def played(
    window: Window,
    seconds: Callable[[int], float],
    until: float,
    now: float = 0.0,
    full: bool = True,
) -> list[int]:
    """Keep a window's places taken against a server, and return the limits that it had."""
    limits = [window.limit]
    while now < until:
        took = seconds(window.limit)
        for _ in range(window.limit):
            window.begun(window.limit if full else window.limit - 1)
            window.answered(took, now)
            if window.limit != limits[-1]:
                limits.append(window.limit)
        now += took
    return limits


def at_most(rate: float, least: float) -> Callable[[int], float]:
    """Return how long replies take of a server that answers no more than so many per second."""
    return lambda under_way: max(least, under_way / rate)


def test_it_grows_to_what_the_server_takes() -> None:
    window = Window()
    limits = played(window, at_most(2000, 0.03), 10)
    assert limits[:6] == [1, 2, 4, 8, 16, AT_ONCE]
    assert window.limit / at_most(2000, 0.03)(window.limit) >= 0.9 * 2000
    assert window.limit <= 120


def test_it_does_not_grow_where_more_at_once_are_not_more_per_second() -> None:
    limits = played(Window(), at_most(600, 0.001), 5)
    assert limits[-1] == AT_ONCE
    assert limits.count(2 * AT_ONCE) == 1, "and that was tried once"


def test_it_tries_again_later_and_later() -> None:
    window = Window()
    limits = played(window, at_most(600, 0.001), 1000)
    assert limits.count(2 * AT_ONCE) in range(6, 11)
    assert played(window, at_most(10_000, 0.03), 2000, now=1000)[-1] == MOST


def test_it_grows_no_further_than_it_may() -> None:
    assert max(played(Window(), lambda under_way: 0.03, 30)) == MOST
    assert max(played(Window(5, 5), lambda under_way: 0.03, 30)) == 5


def test_whoever_has_less_to_send_gets_no_more() -> None:
    assert max(played(Window(), lambda under_way: 0.03, 30, full=False)) == AT_ONCE


def test_a_server_that_wants_fewer_gets_fewer_for_a_while() -> None:
    window = Window()
    played(window, lambda under_way: 0.03, 30)
    window.too_many(30)
    assert window.limit == AT_ONCE
    assert max(played(window, lambda under_way: 0.03, 34, now=30)) == AT_ONCE
    assert max(played(window, lambda under_way: 0.03, 45, now=35)) == MOST


def test_a_reply_that_is_lost_is_a_new_beginning() -> None:
    window = Window()
    played(window, lambda under_way: 0.03, 30)
    window.lost()
    assert window.limit == 1


async def handed_over(channel: Channel, count: int) -> int:
    """Keep a channel's places taken until so many are sent; return how many places it had."""
    under_way: set[asyncio.Task[Any]] = set()
    most = 0
    for _ in range(count):
        while len(under_way) >= channel.places:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().kind for task in done} == {"sent"}
        most = max(most, channel.places)
        under_way.add(asyncio.create_task(channel.send(message({"body": {}}))))
    await asyncio.gather(*under_way)
    return most


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("config", "expected"),
    [({}, range(2 * AT_ONCE, MOST + 1)), ({"max_in_flight": 7}, range(7, 8))],
)
async def test_a_channel_gives_a_distant_server_more_unless_somebody_said_how_many(
    open_: Open, http_server: HTTPServers, config: dict[str, Any], expected: range
) -> None:
    server = await http_server()

    async def distant(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response()

    server.handle = distant  # type: ignore[method-assign]
    account = {"secret": SECRET, "url": server.url}
    assert await handed_over(open_("webhook", "default", account, config), 120) in expected


@pytest.mark.anyio
async def test_many_messages_leave_on_one_connection(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    channel = open_("webhook", "default", {"secret": SECRET, "url": server.url})
    for _ in range(5):
        assert (await channel.send(message({"body": {}}))).kind == "sent"
    (connection,) = {request.transport for request, _ in server.requests}
    assert connection is not None


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_request_whose_reply_is_lost_is_not_repeated(
    open_: Open, http_server: HTTPServers, method: str
) -> None:
    server = await http_server()
    channel = open_("webhook", "default", {"secret": SECRET, "url": server.url})
    assert (await channel.send(message({"body": {}}))).kind == "sent"
    server.status = None
    assert (await channel.send(message({"body": {}, "method": method}))).kind == "maybe_sent"
    assert len(server.requests) == 2
