"""Send what is rendered: claim it behind the fence, hand it to its channel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

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
from dripdrop.daemon.reading import CODE as UNREADABLE
from dripdrop.daemon.reading import Unreadable, unreadable
from dripdrop.faults import Uncertain
from dripdrop.vault import VaultError, from_text

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker

_AHEAD = timedelta(seconds=2)
"""How long a connection may wait with a message for its slot: longer than a message takes from the
tick to the fence, and than most servers hesitate before they take a content."""

_ALL = 0.1  # seconds after which every channel is looked at, however busy one of them is
_LINGER = 0.005  # seconds in which further places come free, while messages are under way


class Send:
    """Takes from `dripdrop.claim_sends()`, and leaves the outcomes to be recorded.

    It claims what it can hand over at once and no more: for each sender as many messages as its
    channel has free places, and one for a sender that it does not know yet.
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
        self._unanswered: dict[UUID, float] = {}
        self._freed: set[str] = set()
        self._all_at = 0.0

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
        await self._release_unanswered()
        if self._tasks and not any(sender.is_idle for sender in self._senders.values()):
            await asyncio.sleep(_LINGER)
        begun = 0
        for channel in self._next_channels():
            begun += await self._claim(channel)
        return begun > 0

    def _next_channels(self) -> list[str]:
        """Return those that have places again; now and then, and when nothing else is to do, all.

        Whoever waits for a place is not to wait for a look at the others' queues as well.
        """
        now = asyncio.get_running_loop().time()
        freed = sorted(self._freed)
        self._freed.clear()
        if freed and now < self._all_at:
            return freed
        self._all_at = now + _ALL
        return sorted({channel for channel, _ in CHANNELS})

    async def _claim(self, channel: str) -> int:
        """Claim for one channel, and begin to send; return how many messages."""
        settings = self.worker.settings
        free = min(settings.in_flight - self._claimed[channel], settings.batch_size)
        if free <= 0 or self.over:
            return 0
        token = uuid4()
        claims: list[Any] = []
        # All that may come counts while the database is asked: `in_flight` is never too small.
        self._claimed[channel] += free
        try:
            claimed_at = asyncio.get_running_loop().time()
            async with self.worker.database() as database:
                if not self.channels.described:
                    described = tuple(await database.provider_settings())
                    self.channels = replace(self.channels, described=described)
                claims = await database.claim_sends(
                    channel,
                    free,
                    settings.lease,
                    self._places(channel),
                    token,
                    _AHEAD,
                    self.worker.record.answered,
                )
        except Uncertain:
            claims = []
            self._unanswered[token] = claimed_at + settings.lease.total_seconds()
            raise
        finally:
            self._claimed[channel] -= free - len(claims)
        for claim in claims:
            if claim.adapter is not None:
                self._learn(claim.adapter_id, claim.adapter)
        for claim in claims:
            self._begin(self._deliver(channel, claim, claimed_at))
        return len(claims)

    def _places(self, channel: str) -> dict[str, int]:
        """Return how many messages each sender can be handed now."""
        known = {
            str(adapter_id): sender.free
            for adapter_id, sender in self._senders.items()
            if sender.channel_name == channel
        }
        return {"*": 1, **known}

    async def _release_unanswered(self) -> None:
        """Give back the claims whose answer was lost: nothing of them has begun.

        Once is not enough: a claim may have been on its way while the database was away.
        """
        now = asyncio.get_running_loop().time()
        for token, until in list(self._unanswered.items()):
            async with self.worker.database() as database:
                released = await database.release_claim(token)
            if released:
                self.worker.log.warning("claim_released", messages=released)
            if released or now > until:
                del self._unanswered[token]

    async def drain(self, grace: float) -> None:
        """Wait for what is being sent; after `grace` seconds say that its fate is unknown."""
        await drain(self._tasks, grace)

    async def aclose(self) -> None:
        """Close the channels; what is still being sent is interrupted."""
        await self.drain(0)
        for sender in self._senders.values():
            await sender.aclose(wait=False)
        self._senders.clear()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _learn(self, adapter_id: UUID, row: Mapping[str, Any] | Unreadable) -> None:
        """Open a channel for an adapter that is new, or that was changed."""
        known = self._senders.get(adapter_id)
        if known is not None and known.row == row:
            return
        self._senders[adapter_id] = _Sender(self.worker, row)
        if known is not None:
            self._begin(known.aclose())

    async def _deliver(self, channel: str, claim: Any, claimed_at: float) -> None:
        """Send one message and leave its outcome to be recorded. Raises nothing.

        Until its first byte has left it is released when it is interrupted; from then on it may
        have left.
        """
        sender = self._senders[claim.adapter_id]
        sender.take()
        handover = Handover(may_leave=lambda: not self.worker.stopping.is_set())
        outcome: dict[str, Any] | None = None
        kind = "released"
        try:
            handover.leave_from = claimed_at + claim.leave_after
            handover.leave_by = claimed_at + claim.leave_within
            reason = unreadable(claim)
            if reason is not None and not isinstance(claim.adapter, Unreadable):
                outcome = _reported(Outcome("failed", UNREADABLE, reason))
            else:
                outcome = _reported(await sender.send(_message(channel, claim, handover)))
        except asyncio.CancelledError:
            kind = "maybe_sent" if handover.begun else "released"
            self.worker.log.warning("interrupted", execution=str(claim.execution_id), outcome=kind)
        except Exception:
            kind = "maybe_sent" if handover.begun else "retry"
            self.worker.log.exception("channel_failed", execution=str(claim.execution_id))
        outcome = outcome or {"outcome": kind, "code": kind}
        if handover.left_at is not None:
            outcome["left_after"] = handover.left_at - claimed_at
        # What did not go well may be the sender's affair, which the database is yet to say: until
        # then nobody else gets the place.
        at_once = outcome["outcome"] == "sent"
        if at_once:
            sender.give_back()
            self._freed.add(channel)
            self.worker.wake(self.name)

        def recorded() -> None:
            self._claimed[channel] -= 1
            if not at_once:
                sender.give_back()

        self.worker.record.add(claim, outcome, recorded)


class _Sender:
    """An adapter, its channel, and how many messages it has in hand."""

    def __init__(self, worker: Worker, row: Mapping[str, Any] | Unreadable) -> None:
        self.row = row
        self.channel_name = "" if isinstance(row, Unreadable) else row["channel"]
        self._worker = worker
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._channel: Channel | None = None
        self._unusable = Outcome("auth_error", "invalid_adapter")
        try:
            self._channel = worker.open_channel(self._adapter(), worker.send.channels)
        except (InvalidAdapter, VaultError) as error:
            code = "vault_error" if isinstance(error, VaultError) else "invalid_adapter"
            name = None if isinstance(row, Unreadable) else row["name"]
            worker.log.error(code, adapter=name, detail=str(error))
            self._unusable = Outcome("auth_error", code, str(error))

    @property
    def free(self) -> int:
        """How many more messages it can be handed."""
        return max(self._places - self._busy, 0)

    @property
    def is_idle(self) -> bool:
        """Whether half of its places or more are free."""
        return self._busy * 2 <= self._places

    @property
    def _places(self) -> int:
        most = self._worker.settings.in_flight_per_adapter
        places = 1 if self._channel is None else self._channel.places
        return min(places, most or places)

    def take(self) -> None:
        """Take a place."""
        self._busy += 1
        self._idle.clear()

    def give_back(self) -> None:
        """Give a place back."""
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def send(self, message: Message) -> Outcome:
        """Hand a message over."""
        return self._unusable if self._channel is None else await self._channel.send(message)

    async def aclose(self, *, wait: bool = True) -> None:
        """Close the channel, once nothing is being sent through it."""
        if wait:
            await self._idle.wait()
        if self._channel is not None:
            with suppress(Exception):
                await self._channel.aclose()

    def _adapter(self) -> Adapter:
        row = self.row
        if isinstance(row, Unreadable):
            raise InvalidAdapter(f"the adapter cannot be read: {row.reason}")
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


def _reported(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as `complete_sends` takes it."""
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


def _storable(value: Any) -> Any:
    """Return what a provider said without what jsonb refuses: NUL and lone surrogates."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", "?")
    if isinstance(value, Mapping):
        return {_storable(key): _storable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_storable(each) for each in value]
    return value
