"""Send what is rendered: claim it behind the fence, hand it to its channel."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from dripdrop.channels import CHANNELS, Handover, Message, Outcome
from dripdrop.daemon.desk import Desk
from dripdrop.daemon.reading import CODE as UNREADABLE
from dripdrop.daemon.reading import Unreadable, unreadable
from dripdrop.daemon.record import Record
from dripdrop.daemon.sender import OpenChannel, Sender
from dripdrop.daemon.stage import Stage, drain
from dripdrop.faults import Uncertain

_AHEAD = timedelta(seconds=2)
"""How long a connection may wait with a message for its slot: longer than a message takes from the
tick to the fence, and than most servers hesitate before they take a content."""

_ALL = 0.1  # seconds after which every channel is looked at, however busy one of them is
_LINGER = 0.005  # seconds in which further places come free, while many messages are under way
_QUEUED = 1.0  # seconds for which a queue that held something is taken to hold more
_FEW = 10  # of which it is not worth waiting for the next


class Send(Stage):
    """Takes from `dripdrop.claim_sends()`, and leaves the outcomes to be recorded.

    It claims what it can hand over at once and no more: for each sender as many messages as its
    channel has free places, and one for a sender that it does not know yet. It is over at once:
    what is claimed goes on by itself, see `drain`.
    """

    name = "send"

    def __init__(self, desk: Desk, record: Record, open_channel: OpenChannel) -> None:
        """Leave outcomes to a stage that records them."""
        super().__init__(desk)
        self._record = record
        self._open_channel = open_channel
        self._channels = desk.settings.channels
        self._senders: dict[UUID, Sender] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered: dict[UUID, float] = {}
        self._asked: Counter[str] = Counter()
        """By channel, for how many messages the database is being asked."""
        self._free: set[str] = set()
        self._queued: dict[str, float] = {}
        """By channel, until when more may wait in its queue than was claimed."""
        self._all_at = 0.0
        self._claiming = defaultdict[str, asyncio.Lock](asyncio.Lock)
        """By channel: no two claims count the same places."""

    async def step(self) -> bool:
        """Claim what fits, channel by channel, and begin to send it."""
        await self._release_unanswered()
        if len(self._tasks) > _FEW and not any(each.is_idle for each in self._senders.values()):
            await asyncio.sleep(_LINGER)
        begun = 0
        for channel in self._next_channels():
            async with self._claiming[channel]:
                begun += await self._claim(channel)
        return begun > 0

    def _next_channels(self) -> list[str]:
        """Return those that have places; now and then, and when nothing is under way, all.

        Whoever waits for a place is not to wait for a look at the others' queues as well, nor at
        one's own as long as all places are taken.
        """
        now = asyncio.get_running_loop().time()
        free = sorted(self._free)
        self._free.clear()
        if now < self._all_at and (free or self._tasks):
            self.interval = self._all_at - now
            return free
        self._all_at = now + _ALL
        self.interval = self.desk.settings.interval
        return sorted(_ours())

    async def take_rendered(self, channel: str, results: Sequence[Mapping[str, Any]]) -> None:
        """Hand in what is rendered for a channel, and begin to send what there is a place for."""
        async with self._claiming[channel]:
            if self._room(channel) > 0:
                await self._claim(channel, results)
                return
        self._expect(channel)
        async with self.desk.database() as database:
            await database.complete_renders(results)

    def _room(self, channel: str) -> int:
        """Return how many messages of a channel may be claimed: none of one that is not ours."""
        settings = self.desk.settings
        free = min(settings.in_flight - self._record.claimed[channel], settings.batch_size)
        return 0 if self.over or channel not in _ours() else free

    async def _claim(self, channel: str, rendered: Sequence[Mapping[str, Any]] = ()) -> int:
        """Claim for one channel, what is just rendered or what is in the queue, and begin to send.

        Return how many messages.
        """
        settings = self.desk.settings
        free = self._room(channel)
        if free <= 0:
            return 0
        token = uuid4()
        claims: list[Any] = []
        # All that may come counts while the database is asked: `in_flight` is never too small.
        self._record.claimed[channel] += free
        self._asked[channel] += free
        try:
            claimed_at = asyncio.get_running_loop().time()
            async with self.desk.database() as database:
                if not self._channels.described:
                    described = tuple(await database.provider_settings())
                    self._channels = replace(self._channels, described=described)
                asked: dict[str, Any] = {
                    "channel": channel,
                    "batch_size": free,
                    "lease": settings.lease,
                    "places": self._places(channel),
                    "claim": token,
                    "ahead": _AHEAD,
                    "answered": self._record.answered,
                }
                if rendered:
                    claims = await database.claim_rendered(rendered, **asked)
                else:
                    claims = await database.claim_sends(**asked)
        except Uncertain:
            claims = []
            self._unanswered[token] = claimed_at + settings.lease.total_seconds()
            raise
        finally:
            self._asked[channel] -= free
            self._record.claimed[channel] -= free - len(claims)
        for claim in claims:
            if claim.adapter is not None:
                self._learn(claim.adapter_id, claim.adapter)
        for claim in claims:
            sender = self._senders[claim.adapter_id]
            sender.take()
            self._begin(self._deliver(sender, channel, claim, claimed_at))
        if len(claims) < len(rendered) or (claims and not rendered):
            self._expect(channel)
        if any(self._senders[claim.adapter_id].free for claim in claims):
            self._has_places(channel)
        return len(claims)

    def _expect(self, channel: str) -> None:
        """Look into a channel's queue for a while as soon as a place is free."""
        self._queued[channel] = asyncio.get_running_loop().time() + _QUEUED

    def _has_places(self, channel: str) -> None:
        """Claim for a channel next, if more may wait for it."""
        if asyncio.get_running_loop().time() < self._queued.get(channel, 0.0):
            self._free.add(channel)
            self.desk.wake(self.name)

    @property
    def in_flight(self) -> dict[str, int]:
        """By channel, how many messages are claimed and not yet recorded."""
        return dict(self._record.claimed - self._asked)

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
            async with self.desk.database() as database:
                released = await database.release_claim(token)
            if released:
                self.desk.log.warning("claim_released", messages=released)
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
        self._senders[adapter_id] = Sender(self.desk, row, self._open_channel, self._channels)
        if known is not None:
            self._begin(known.aclose())

    async def _deliver(self, sender: Sender, channel: str, claim: Any, claimed_at: float) -> None:
        """Send one message and leave its outcome to be recorded. Raises nothing.

        Until its first byte has left it is released when it is interrupted; from then on it may
        have left.
        """
        handover = Handover(may_leave=lambda: not self.desk.stopping.is_set())
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
            self.desk.log.warning("interrupted", execution=str(claim.execution_id), outcome=kind)
        except Exception:
            kind = "maybe_sent" if handover.begun else "retry"
            self.desk.log.exception("channel_failed", execution=str(claim.execution_id))
        outcome = outcome or {"outcome": kind, "code": kind}
        if handover.left_at is not None:
            outcome["left_after"] = handover.left_at - claimed_at
        # What did not go well may be the sender's affair, which the database is yet to say: until
        # then nobody else gets the place.
        at_once = outcome["outcome"] == "sent"
        if at_once:
            sender.give_back()
            self._has_places(channel)

        def recorded() -> None:
            self._record.claimed[channel] -= 1
            if not at_once:
                sender.give_back()

        self._record.add(claim, outcome, recorded)


def _ours() -> set[str]:
    """Return the channels that this program sends over."""
    return {channel for channel, _ in CHANNELS}


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
