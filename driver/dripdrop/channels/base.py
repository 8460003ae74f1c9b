"""What every channel shares: an adapter and a message go in, an outcome comes out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

from dripdrop.redaction import strings, without

OutcomeKind = Literal[
    "sent", "retry", "failed", "bounced", "auth_error", "rate_limited", "maybe_sent"
]

_NO_SECRETS = frozenset({"host", "port", "username", "user", "from", "helo", "security"})
_DETAIL_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """How this process may reach the outside. Times are in seconds."""

    allow_http: bool = False
    allow_private: bool = False
    connect_timeout: float = 5.0
    timeout: float = 30.0

    @classmethod
    def from_environment(cls) -> ChannelSettings:
        """Read `DRIPDROP_ALLOW_HTTP` and `DRIPDROP_ALLOW_PRIVATE`; "1" or "true" allows."""
        return cls(
            allow_http=_is_set("DRIPDROP_ALLOW_HTTP"),
            allow_private=_is_set("DRIPDROP_ALLOW_PRIVATE"),
        )


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

    def redact(self, text: str) -> str:
        """Return `text` on one line, at most 500 characters, without what was sealed."""
        secrets = [
            secret
            for name, value in self.credentials.items()
            if name not in _NO_SECRETS
            for secret in strings(value)
        ]
        return " ".join(without(text, secrets).split())[:_DETAIL_CHARACTERS]


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one send.

    ==============  ==============================================================================
    sent            the provider has taken the message
    retry           it certainly has not; try again
    rate_limited    it certainly has not; the whole adapter waits `retry_after` seconds
    auth_error      the adapter's account is at fault; the message is not
    bounced         the address was refused; `hard` means for good, so suppress it
    failed          the message was refused, and would be again
    maybe_sent      the reply was lost after everything had left
    ==============  ==============================================================================

    `code` is short and stable (``smtp_550``, ``http_429``, ``connect_error``), `detail` the
    provider's words, `response` a small summary of its reply; none holds a secret or a body.
    `out_message_id` is the RFC 5322 Message-ID without its brackets.
    """

    kind: OutcomeKind
    code: str = ""
    detail: str = ""
    provider_message_id: str | None = None
    out_message_id: str | None = None
    retry_after: float | None = None
    hard: bool = False
    response: Mapping[str, Any] = field(default_factory=dict)


class Channel(Protocol):
    """One provider account, reused for many messages and safe for concurrent sends."""

    required_credentials: ClassVar[tuple[str, ...]]

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Prepare without connecting. Raises `InvalidAdapter` when the credentials will not do."""

    async def send(self, message: Message) -> Outcome:
        """Hand one message to the provider. Raises nothing but cancellation."""

    async def aclose(self) -> None:
        """Close what is open."""


class InvalidAdapter(Exception):
    """An adapter cannot be used as it is. Names the field, never its value."""


class InvalidMessage(Exception):
    """A message must not leave as it is; it becomes a `failed` outcome."""

    def __init__(self, code: str, detail: str) -> None:
        """Take the outcome's code and detail."""
        super().__init__(detail)
        self.outcome = Outcome("failed", code, detail)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in {"1", "true"}
