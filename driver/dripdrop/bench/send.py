"""`dripdrop bench send`: how many messages a second one process hands over, without a database.

Each channel sends to a server in a process of its own that replies at once, and to one that is
30 ms away. It takes turns with its anchor, the bare client library that writes the same bytes in
loops: aiohttp with as many requests at a time as make it fast, aiosmtplib on as many connections as
the channel has. A rate is the median turn's. `places` is how many messages at a time it came to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from statistics import median
from typing import Any, Literal, TypeAlias
from uuid import UUID

import aiohttp
import aiosmtplib

from dripdrop.bench.servers import serving
from dripdrop.channels import Adapter, Channel, ChannelSettings, Message, open_channel
from dripdrop.channels.http import HTTPChannel
from dripdrop.channels.mime import Email

Kind: TypeAlias = Literal["webhook", "postmark", "smtp"]
Loop: TypeAlias = Callable[[], Awaitable[None]]
"""Hands one message over."""

KINDS: tuple[Kind, ...] = ("webhook", "postmark", "smtp")
AWAY = 0.03
CONNECTIONS = 8
WARM_UP = 2.0
REQUESTS = {0.0: 20, AWAY: 128}

_SENT_AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_FROM = "Bench <bench@example.org>"
_HTML = f"<html><body>{'<p>Upgrade whenever you like.</p>' * 20}</body></html>"
_TEXT = "Upgrade whenever you like.\n" * 20
_EMAIL = {"subject": "Ada, your starter plan", "html": _HTML, "text": _TEXT}
_WEBHOOK = {"body": {"name": "Ada", "plan": "starter", "html": _HTML}}
_SETTINGS = ChannelSettings(allow_http=True, allow_private=True)


def measure(*, seconds: float, turns: int) -> dict[str, Any]:
    """Return messages per second, and ratios; each turn takes so many seconds."""
    result: dict[str, Any] = {"seconds": seconds, "turns": turns}
    for kind in KINDS:
        for away in (0.0, AWAY):
            with serving("mail" if kind == "smtp" else "web", away) as port:
                rates = asyncio.run(_in_turns(kind, away, port, seconds, turns))
            name = f"{kind}_{away * 1000:.0f}ms"
            result |= {f"{name}_{what}": rate for what, rate in rates.items()}
    return result


async def _in_turns(
    kind: Kind, away: float, port: int, seconds: float, turns: int
) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        channel = open_channel(_account(kind, port), _SETTINGS)
        stack.push_async_callback(channel.aclose)
        loops = await _bare(stack, kind, channel, away, port)
        # Connections open meanwhile, and the window with them.
        await _through(channel, kind, WARM_UP)
        ours, bare = [], []
        for _ in range(turns):
            ours.append(await _through(channel, kind, seconds))
            bare.append(await _rate(loops, seconds))
        return {
            "per_second": round(median(ours)),
            "bare_per_second": round(median(bare)),
            "ratio_to_bare": round(median(ours) / median(bare), 2),
            "places": channel.places,
        }


async def _through(channel: Channel, kind: Kind, seconds: float) -> float:
    """Keep the channel's places taken, a task for each message, as a worker does."""
    began = time.perf_counter()
    under_way = sent = 0
    given_back = asyncio.Event()

    async def hand_over(message: Message) -> None:
        nonlocal under_way, sent
        outcome = await channel.send(message)
        if outcome.kind != "sent":
            raise RuntimeError(f"{kind}: {outcome.kind} {outcome.code} {outcome.detail}")
        under_way -= 1
        sent += 1
        given_back.set()

    async with asyncio.TaskGroup() as tasks:
        while time.perf_counter() - began < seconds:
            while under_way < channel.places:
                under_way += 1
                tasks.create_task(hand_over(_message(kind, sent + under_way)))
            given_back.clear()
            await given_back.wait()
    return sent / (time.perf_counter() - began)


async def _rate(loops: list[Loop], seconds: float) -> float:
    """Return how often per second the loops come round, all at once."""
    began = time.perf_counter()
    rounds = 0

    async def repeat(loop: Loop) -> None:
        nonlocal rounds
        while time.perf_counter() - began < seconds:
            await loop()
            rounds += 1

    await asyncio.gather(*(repeat(loop) for loop in loops))
    return rounds / (time.perf_counter() - began)


async def _bare(
    stack: AsyncExitStack, kind: Kind, channel: Channel, away: float, port: int
) -> list[Loop]:
    """Return the loops of the anchor, which write what the channel does."""
    message = _message(kind, 1)
    if isinstance(channel, HTTPChannel):
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        request = channel.request(message)

        async def post() -> None:
            async with session.post(
                request.url, data=request.content, headers=request.headers
            ) as response:
                await response.read()

        return [post] * REQUESTS[away]

    content = Email.read(message, _FROM).as_bytes()

    async def mail() -> Loop:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        await stack.enter_async_context(client)

        async def send() -> None:
            await client.sendmail("bench@example.org", "user@example.com", content)

        return send

    return [await mail() for _ in range(CONNECTIONS)]


def _account(kind: Kind, port: int) -> Adapter:
    url = f"http://127.0.0.1:{port}"
    config: dict[str, Any]
    match kind:
        case "smtp":
            config = {"host": "127.0.0.1", "port": port, "security": "none", "from": _FROM}
            config["connections"] = CONNECTIONS
            return Adapter(UUID(int=0), None, "bench", "email", "smtp", config, {})
        case "postmark":
            config = {"base_url": url, "from": _FROM}
            key = {"api_key": "token"}
            return Adapter(UUID(int=0), None, "bench", "email", "postmark", config, key)
        case "webhook":
            secret = {"secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"}
            return Adapter(UUID(int=0), None, "bench", "webhook", "default", {"url": url}, secret)


def _message(kind: Kind, number: int) -> Message:
    return Message(
        execution_id=UUID(int=number),
        fence=1,
        idempotency_key=f"{number:064x}",
        tenant_key=None,
        channel="webhook" if kind == "webhook" else "email",
        recipient=f"user{number}@example.com",
        payload=_WEBHOOK if kind == "webhook" else _EMAIL,
        sent_at=_SENT_AT,
    )
