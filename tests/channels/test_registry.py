from __future__ import annotations

from typing import Any

import pytest

from dripdrop.channels import (
    CHANNELS,
    ChannelSettings,
    InvalidAdapter,
    validate_credentials,
)
from dripdrop.channels.webhook import WebhookChannel

from .conftest import Open

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("channel", "provider"), [("email", "nobody"), ("pigeon", "smtp")])
def test_an_unknown_provider_is_refused(open_: Open, channel: str, provider: str) -> None:
    with pytest.raises(InvalidAdapter, match=provider):
        open_(channel, provider, {})


@pytest.mark.parametrize(("channel", "provider"), CHANNELS)
def test_missing_credentials_are_named(open_: Open, channel: str, provider: str) -> None:
    missing = validate_credentials(channel, provider, {}, {})
    assert missing
    with pytest.raises(InvalidAdapter, match=missing[0]):
        open_(channel, provider, {})


@pytest.mark.parametrize("value", [None, ""])
def test_a_blank_credential_is_missing(value: Any) -> None:
    assert validate_credentials("email", "smtp", {"host": value}, {}) == ["host"]


def test_a_field_in_the_config_is_not_missing() -> None:
    assert validate_credentials("email", "smtp", {}, {"host": "mail.example.org"}) == []


def test_nothing_private_or_in_the_clear_is_allowed_unless_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("DRIPDROP_ALLOW_HTTP", "DRIPDROP_ALLOW_PRIVATE"):
        monkeypatch.delenv(variable, raising=False)
    assert ChannelSettings.from_environment() == ChannelSettings()
    monkeypatch.setenv("DRIPDROP_ALLOW_HTTP", "1")
    assert ChannelSettings.from_environment() == ChannelSettings(allow_http=True)
    monkeypatch.setenv("DRIPDROP_ALLOW_PRIVATE", "true")
    assert ChannelSettings.from_environment() == ChannelSettings(True, True)


def test_another_provider_can_be_added(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    class PagerChannel(WebhookChannel):
        required_credentials = ()

    monkeypatch.setitem(CHANNELS, ("sms", "pager"), PagerChannel)
    assert isinstance(open_("sms", "pager", {"secret": "whsec_c2VjcmV0"}), PagerChannel)
