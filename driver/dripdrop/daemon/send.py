"""Send what is rendered: claim it behind the fence, hand it to its channel."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dripdrop.channels import (
    CHANNELS,
    Adapter,
    Channel,
    Handover,
    InvalidAdapter,
    Message,
    Outcome,
)
from dripdrop.daemon.drain import drain
from dripdrop.vault import VaultError, from_text

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker


class Send:
    """Takes from `dripdrop.claim_sends()`, and leaves the outcomes to be recorded.

    At most `in_flight` messages per channel are claimed and not yet recorded, and at most
    `in_flight_per_adapter` are at one adapter's provider at a time.
    """

    name = "send"
    feeds: tuple[str, ...] = ()

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.interval = worker.settings.interval
        self.channels = worker.settings.channels
        self._senders: dict[UUID, _Sender] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claimed: Counter[str] = Counter()

    @property
    def over(self) -> bool:
        """At once: what is claimed goes on by itself, see `drain`."""
        return self.worker.stopping.is_set()

    @property
    def in_flight(self) -> int:
        """How many messages are claimed and not yet recorded."""
        return self._claimed.total()

    async def step(self) -> bool:
        """Claim what fits, channel by channel, and begin to send it."""
        settings = self.worker.settings
        begun = 0
        for channel in sorted({channel for channel, _ in CHANNELS}):
            free = min(settings.in_flight - self._claimed[channel], settings.batch_size)
            if free <= 0 or self.over:
                continue
            # All that may come counts while the database is asked: `in_flight` is never too small.
            self._claimed[channel] += free
            claims: list[Any] = []
            try:
                claimed_at = asyncio.get_running_loop().time()
                async with self.worker.database() as database:
                    if not self.channels.described:
                        described = tuple(await database.provider_settings())
                        self.channels = replace(self.channels, described=described)
                    claims = await database.claim_sends(channel, free, settings.lease)
            finally:
                self._claimed[channel] -= free - len(claims)
            for claim in claims:
                if claim.adapter is not None:
                    self._learn(claim.adapter)
            for claim in claims:
                self._begin(self._deliver(channel, claim, claimed_at))
            begun += len(claims)
        return begun > 0

    def recorded(self, channel: str, count: int) -> None:
        """Make room for `count` more messages of a channel."""
        self._claimed[channel] -= count

    async def drain(self, grace: float) -> None:
        """Wait for what is being sent; after `grace` seconds say that its fate is unknown."""
        await drain(self._tasks, grace)

    async def aclose(self) -> None:
        """Close the channels; what is still being sent is interrupted."""
        await self.drain(0)
        for sender in self._senders.values():
            await sender.aclose()
        self._senders.clear()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _learn(self, row: Mapping[str, Any]) -> None:
        """Open a channel for an adapter that is new, or that was changed."""
        adapter_id = UUID(row["id"])
        known = self._senders.get(adapter_id)
        if known is not None and known.row == row:
            return
        self._senders[adapter_id] = _Sender(self.worker, row)
        if known is not None:
            self._begin(known.aclose())

    async def _deliver(self, channel: str, claim: Any, claimed_at: float) -> None:
        """Send one message and leave its outcome to be recorded. Raises nothing.

        One whose turn comes too late is released: it never left. One that is interrupted may have
        left.
        """
        sender = self._senders[claim.adapter_id]
        handover = Handover()
        kind = "released"
        outcome = None
        try:
            async with sender.window:
                if self._may_leave(sender, claimed_at):
                    outcome = await sender.send(_message(channel, claim, handover))
        except asyncio.CancelledError:
            kind = "maybe_sent" if handover.begun else "released"
            self.worker.log.warning("interrupted", execution=str(claim.execution_id), outcome=kind)
        except Exception:
            kind = "maybe_sent" if handover.begun else "retry"
            self.worker.log.exception("channel_failed", execution=str(claim.execution_id))
        self.worker.record.add(channel, claim, outcome or {"outcome": kind, "code": kind})

    def _may_leave(self, sender: _Sender, claimed_at: float) -> bool:
        """Not once the worker stops, half the lease is over, or the adapter was told to rest."""
        half_the_lease = self.worker.settings.lease.total_seconds() / 2
        return (
            not self.worker.stopping.is_set()
            and asyncio.get_running_loop().time() < claimed_at + half_the_lease
            and claimed_at > sender.rests_since
        )


class _Sender:
    """An adapter, its channel, and how many messages may be at its provider at a time."""

    def __init__(self, worker: Worker, row: Mapping[str, Any]) -> None:
        self.row = row
        self.rests_since = -math.inf  # what was claimed before then waits, as the database knows
        limit = row["config"].get("max_in_flight", worker.settings.in_flight_per_adapter)
        self._limit = limit if isinstance(limit, int) and limit > 0 else 0
        self.window = asyncio.Semaphore(self._limit or 1)
        self._worker = worker
        self._channel: Channel | None = None
        self._unusable: Outcome | None = None

    async def send(self, message: Message) -> dict[str, Any]:
        """Return the outcome as `complete_sends` takes it."""
        if self._channel is None and self._unusable is None:
            try:
                self._channel = self._worker.open_channel(
                    self._adapter(), self._worker.send.channels
                )
            except (InvalidAdapter, VaultError) as error:
                code = "vault_error" if isinstance(error, VaultError) else "invalid_adapter"
                self._worker.log.error(code, adapter=self.row["id"], detail=str(error))
                self._unusable = Outcome("auth_error", code, str(error))
        if self._channel is None:
            outcome = self._unusable
        else:
            outcome = await self._channel.send(message)
        assert outcome is not None
        if outcome.kind in {"rate_limited", "auth_error"}:
            self.rests_since = asyncio.get_running_loop().time()
        return {
            "outcome": outcome.kind,
            "stage": outcome.stage or None,
            "code": outcome.code,
            "detail": _storable(outcome.detail),
            "hard": outcome.hard,
            "retry_after": outcome.retry_after,
            "provider_message_id": _storable(outcome.provider_message_id),
            "out_message_id": outcome.out_message_id,
            "response": _storable(outcome.response),
        }

    async def aclose(self) -> None:
        """Close the channel once nothing is being sent through it."""
        for _ in range(self._limit):
            await self.window.acquire()
        if self._channel is not None:
            with suppress(Exception):
                await self._channel.aclose()

    def _adapter(self) -> Adapter:
        row = self.row
        if not self._limit:
            raise InvalidAdapter(f'adapter "{row["name"]}": max_in_flight must be a count from 1')
        sealed = row["credentials"]
        return Adapter(
            id=UUID(row["id"]),
            tenant_key=row["tenant_key"],
            name=row["name"],
            channel=row["channel"],
            provider=row["provider"],
            config=row["config"],
            credentials=self._worker.vault().open(
                from_text(sealed), row["tenant_key"], row["name"], "adapter"
            )
            if sealed
            else {},
        )


def _message(channel: str, claim: Any, handover: Handover) -> Message:
    return Message(
        execution_id=claim.execution_id,
        fence=claim.fence,
        idempotency_key=claim.idempotency_key,
        tenant_key=claim.tenant_key,
        channel=channel,
        recipient=claim.recipient,
        payload=claim.payload,
        sent_at=claim.claimed_at,
        handover=handover,
    )


def _storable(value: Any) -> Any:
    """Return what a provider said without what jsonb refuses: NUL and lone surrogates."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", "?")
    if isinstance(value, Mapping):
        return {_storable(key): _storable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_storable(each) for each in value]
    return value
