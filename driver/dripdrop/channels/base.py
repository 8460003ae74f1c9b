"""What every channel shares: an adapter and a message go in, an outcome comes out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

from dripdrop.outgoing.reach import Reach
from dripdrop.redaction import strings, without

OutcomeKind = Literal[
    "sent",
    "refused",
    "retry",
    "failed",
    "bounced",
    "auth_error",
    "rate_limited",
    "unreachable",
    "maybe_sent",
    "released",
]

_NO_SECRETS = frozenset({"host", "port", "username", "user", "from", "helo", "security"})
_DETAIL_CHARACTERS = 500
_MOST = 1000


@dataclass(frozen=True, slots=True)
class ChannelSettings(Reach):
    """How this process may reach providers, and how their accounts are described."""

    described: tuple[Any, ...] = field(default=(), repr=False)
    """The rows of `dripdrop.provider_settings()`, by which accounts are checked when opened."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One row of `channel_adapters` with its credentials opened."""

    id: UUID
    tenant_key: str | None
    name: str
    channel: str
    provider: str
    config: Mapping[str, Any]
    credentials: Mapping[str, Any] = field(repr=False)

    def option(self, name: str) -> Any:
        """Return a credential, else the config entry of that name, else None."""
        value = self.credentials.get(name)
        return self.config.get(name) if value is None else value

    def count(self, name: str, default: int) -> int:
        """Return a setting that is a count, `default` where there is none."""
        value = self.option(name)
        try:
            number = default if value in (None, "") else int(value)
        except (TypeError, ValueError):
            number = 0
        if not 1 <= number <= _MOST:
            raise InvalidAdapter(f'adapter "{self.name}": {name} must be from 1 to {_MOST}')
        return number

    def redact(self, text: str) -> str:
        """Return `text` on one line, at most 500 characters, without what was sealed."""
        secrets = [
            secret
            for name, value in self.credentials.items()
            if name not in _NO_SECRETS
            for secret in strings(value)
        ]
        return " ".join(without(text, secrets).split())[:_DETAIL_CHARACTERS]


class TooLate(Exception):
    """The time by which a message might leave has passed; it has not left."""


def _always() -> bool:
    return True


@dataclass(slots=True)
class Handover:
    """When a message may leave, and when it did: from its first byte on the provider may have it.

    All are times of the running loop. `may_leave` is asked at the last moment. A channel waits for
    the `turn` of a message when all is ready for its first byte, and then says `begin`.
    """

    leave_by: float = math.inf
    leave_from: float = -math.inf
    may_leave: Callable[[], bool] = field(default=_always, repr=False)
    left_at: float | None = None

    @property
    def begun(self) -> bool:
        """Whether the first byte of content has left."""
        return self.left_at is not None

    def check(self) -> None:
        """Raise `TooLate` if the message may not leave any more."""
        if asyncio.get_running_loop().time() > self.leave_by or not self.may_leave():
            raise TooLate

    async def turn(self) -> None:
        """Wait until the message may leave, or raise `TooLate`."""
        self.check()
        loop = asyncio.get_running_loop()
        while (early := self.leave_from - loop.time()) > 0:
            await asyncio.sleep(early)
        self.check()

    def begin(self) -> None:
        """Say that the first byte leaves now, or raise `TooLate`. A channel does so just before.

        What did not wait for its turn does not leave either.
        """
        if self.left_at is None:
            self.check()
            now = asyncio.get_running_loop().time()
            if now < self.leave_from:
                raise TooLate
            self.left_at = now


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered execution, fenced, ready to leave.

    `sent_at` is "now" as the database sees it. The recipient is `recipient` and nothing else: an
    address in the payload would not have been checked for suppression.
    """

    execution_id: UUID
    fence: int
    idempotency_key: str
    tenant_key: str | None
    channel: str
    recipient: str | None
    payload: Mapping[str, Any] = field(repr=False)
    sent_at: datetime
    handover: Handover = field(default_factory=Handover, compare=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one send. Whose fault a refusal is, `dripdrop.reply_codes()` says.

    ==============  ==============================================================================
    sent            the provider has taken the message
    refused         it has said no: where (`stage`), how (`code`) and in which words (`detail`)
    failed          the message cannot leave as it is, and no provider was asked
    auth_error      the adapter cannot be used as it is
    unreachable     no server could be talked to; the message certainly has not left
    maybe_sent      the reply was lost after the first byte had left
    released        it has not left, and nobody is at fault: too late, or others' connection
    retry           it certainly has not left; the recipient's server may take it later
    rate_limited    it certainly has not left; the whole adapter waits
    bounced         the address was refused; `hard` means for good, so suppress it
    ==============  ==============================================================================

    The last three are for a provider that knows better than the table.

    `code` is short and stable (``smtp_550``, ``http_429``, ``connect_error``), `detail` the
    provider's words, `response` a small summary of its reply; none holds a secret or a body.
    `retry_after` is in seconds, where the provider asked for it. `out_message_id` is the RFC 5322
    Message-ID without its brackets.
    """

    kind: OutcomeKind
    code: str = ""
    detail: str = ""
    provider_message_id: str | None = None
    out_message_id: str | None = None
    retry_after: float | None = None
    hard: bool = False
    stage: str = ""
    response: Mapping[str, Any] = field(default_factory=dict)


class Channel(Protocol):
    """One provider account, reused for many messages and safe for concurrent sends.

    It calls `Handover.begin()` just before the first byte of a message's content leaves, and bounds
    every wait for a server. When it is cancelled, `Handover.begun` says what may have become of it.
    """

    required_credentials: ClassVar[tuple[str, ...]]

    @property
    def places(self) -> int:
        """How many messages it can hand over at once. May change, also to 0 for a while."""

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Prepare without connecting. Raises `InvalidAdapter` when the credentials will not do."""

    async def send(self, message: Message) -> Outcome:
        """Hand one message to the provider. Raises nothing but cancellation."""

    async def aclose(self) -> None:
        """Close what is open."""


class InvalidAdapter(Exception):
    """An adapter cannot be used as it is. Names the field, never its value."""


class NotServed(InvalidAdapter):
    """An adapter is of a provider that others send for."""
