"""The channels: one file per provider, all against one small protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dripdrop.channels.base import (
    Adapter,
    Channel,
    ChannelSettings,
    Handover,
    InvalidAdapter,
    Message,
    NotServed,
    Outcome,
)
from dripdrop.channels.postmark import PostmarkChannel
from dripdrop.channels.provider_settings import faults
from dripdrop.channels.smtp import SMTPChannel
from dripdrop.channels.webhook import WebhookChannel

__all__ = [
    "CHANNELS",
    "Adapter",
    "Channel",
    "ChannelSettings",
    "Handover",
    "InvalidAdapter",
    "Message",
    "NotServed",
    "Outcome",
    "check_served",
    "open_channel",
    "validate_credentials",
]

CHANNELS: dict[tuple[str, str], type[Channel]] = {
    ("email", "postmark"): PostmarkChannel,
    ("email", "smtp"): SMTPChannel,
    ("webhook", "default"): WebhookChannel,
}
"""The class for each channel and provider. Add to it to send by other means."""


def open_channel(adapter: Adapter, settings: ChannelSettings) -> Channel:
    """Return the channel for an adapter. Connects to nothing yet.

    Raises `NotServed` when others send for the provider, `InvalidAdapter` when the credentials will
    not do.
    """
    account = (adapter.channel, adapter.provider, adapter.credentials, adapter.config)
    missing = validate_credentials(*account)
    if missing:
        raise InvalidAdapter(f'adapter "{adapter.name}" lacks {", ".join(missing)}')
    # What the account does not say, such as from, its messages may.
    found = faults(*account, settings.described, whole=False)
    if found:
        raise InvalidAdapter(f'adapter "{adapter.name}": {"; ".join(found)}')
    return CHANNELS[adapter.channel, adapter.provider](adapter, settings)


def check_served(channel: str, provider: str) -> None:
    """Raise `NotServed` for a provider that others send for."""
    if (channel, provider) not in CHANNELS:
        raise NotServed(f'unknown provider "{provider}" for channel "{channel}"')


def validate_credentials(
    channel: str,
    provider: str,
    credentials: Mapping[str, Any],
    config: Mapping[str, Any],
) -> list[str]:
    """Return the names of the required fields that neither `credentials` nor `config` fills.

    Raises `NotServed` when the provider is unknown for the channel.
    """
    check_served(channel, provider)
    required = CHANNELS[channel, provider].required_credentials
    return [name for name in required if not (credentials.get(name) or config.get(name))]
