"""One request, one reply: what a server says beyond that is nobody else's reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from dripdrop.channels import ChannelSettings
from dripdrop.outgoing.http import GuardedHTTP

from .conftest import Open, message

pytestmark = pytest.mark.anyio

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def sent(open_: Open, talk: Talk, bodies: list[str]) -> tuple[list[str], int]:
    """Send to a server that talks so; return what became of each message, and the connections."""
    connections: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.append(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        channel = open_("webhook", "default", {"url": url, "secret": SECRET})
        outcomes = [await channel.send(message({"body": body})) for body in bodies]
        await channel.aclose()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)
    return [outcome.code for outcome in outcomes], len(connections)


async def test_a_second_reply_is_not_taken_for_the_next_requests(open_: Open) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(NO_CONTENT + b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    assert await sent(open_, talk, ["one", "two"]) == (["http_204", "http_204"], 2)


async def test_a_server_that_replies_before_it_has_read_gets_no_other_request_behind_it(
    open_: Open,
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(NO_CONTENT)
        await writer.drain()
        if int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) > 1_000_000:
            await asyncio.Event().wait()

    big = "x" * 20_000_000
    async with asyncio.timeout(10):
        assert await sent(open_, talk, [big, "two"]) == (["http_204", "http_204"], 2)


async def test_other_protocols_are_not_switched_to(open_: Open) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nwords")
        await writer.drain()
        await reader.read()

    async with asyncio.timeout(10):
        assert (await sent(open_, talk, ["one"]))[0] == ["http_101"]


async def test_what_frames_a_request_is_not_for_others_to_say() -> None:
    http = GuardedHTTP(ChannelSettings())
    theirs = {"Content-Length": "1", "transfer-encoding": "chunked", "HOST": "a", "X-Tag": "b"}
    request = http.request("POST", "https://example.com:8443/a?b=c#d", theirs, b"hello", 5)
    head, _, content = request.as_bytes().partition(b"\r\n\r\n")
    assert content == b"hello"
    assert sorted(head.decode().split("\r\n")) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        "Content-Length: 5",
        "Host: example.com:8443",
        "POST /a?b=c HTTP/1.1",
        "User-Agent: dripdrop-postgres",
        "X-Tag: b",
    ]
