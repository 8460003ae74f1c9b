"""Worker processes that run every stage, and a provider that takes everything."""

from __future__ import annotations

import asyncio
import logging
from multiprocessing.synchronize import Barrier, Event
from typing import Any, ClassVar, Literal, TypeAlias

import psycopg
import structlog

from dripdrop.channels import Adapter, ChannelSettings, Message, Outcome
from dripdrop.client import Client
from dripdrop.daemon import Settings, Worker
from dripdrop.templates.process import Work

Mode: TypeAlias = Literal["render", "sql"]
"""render: as `dripdrop run` does; sql: claim and complete, with payloads that are ready."""

PROCESSES = 2
BATCH = 500

_TRIAL = Work("trial", {"text": "{{ word }}"}, {"word": "ready"})
_PAYLOAD = {"subject": "Welcome", "html": "<p>Welcome</p>" * 20, "text": "Welcome " * 20}


class Sink:
    """A provider that accepts everything at once."""

    required_credentials: ClassVar[tuple[str, ...]] = ()
    places = 1000

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Take what every channel takes."""

    async def send(self, message: Message) -> Outcome:
        """Accept the message."""
        return Outcome("sent", "accepted", provider_message_id=message.idempotency_key[:32])

    async def aclose(self) -> None:
        """Close nothing."""


def work(dsn: str, mode: Mode, ready: Barrier, stop: Event) -> None:
    """Run every stage in this process from `ready` to `stop`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if mode == "sql":
        _work_sql(dsn, ready, stop)
    else:
        asyncio.run(_work_rendering(dsn, ready, stop))


async def _work_rendering(dsn: str, ready: Barrier, stop: Event) -> None:
    async with Worker(dsn, Settings(), open_channel=Sink) as worker:
        await worker.rendering.render_one(_TRIAL)
        ready.wait()
        task = asyncio.create_task(worker.run())
        while not stop.is_set() and not task.done():
            await asyncio.sleep(0.05)
        worker.stop()
        await task


def _work_sql(dsn: str, ready: Barrier, stop: Event) -> None:
    """Claim and complete as a worker does, with payloads that are ready."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        client = Client(connection)
        ready.wait()
        while not stop.is_set():
            if not pass_through(client):
                stop.wait(0.01)


def pass_through(client: Client) -> bool:
    """Take a batch through every stage; return whether there was anything to do."""
    return any([_pass_due(client), _pass_queued(client), _pass_sends(client)])


def _pass_due(client: Client) -> bool:
    """Decide what is due, and hand over at once what is to be sent."""
    decided = client.claim_due(BATCH)
    if decided.leased:
        claims = client.claim_rendered(
            _rendered(client.leased_renders(decided.leased)), "email", BATCH
        )
        _complete(client, claims)
    return any(decided)


def _pass_queued(client: Client) -> bool:
    claims = client.claim_renders(BATCH)
    if claims:
        client.complete_renders(_rendered(claims))
    return bool(claims)


def _pass_sends(client: Client) -> bool:
    claims = client.claim_sends("email", BATCH)
    if claims:
        _complete(client, claims)
    return bool(claims)


def _rendered(claims: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "payload": _PAYLOAD,
        }
        for claim in claims
    ]


def _complete(client: Client, claims: list[Any]) -> None:
    client.complete_sends(
        [
            {"execution": str(claim.execution_id), "fence": claim.fence, "outcome": "sent"}
            for claim in claims
        ]
    )
