from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dripdrop.channels import (
    CHANNELS,
    ChannelSettings,
    InvalidAdapter,
    validate_credentials,
)
from dripdrop.channels.provider_settings import faults
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


ROWS = [
    SimpleNamespace(
        kind="email.smtp",
        field=field,
        type=kind,
        choices=choices,
        pattern=pattern,
        hint="Say it otherwise.",
        secret=field == "password",
        required=field == "host",
    )
    for field, kind, choices, pattern in (
        ("host", "text", None, "^[a-z.]+$"),
        ("port", "integer", None, "^[0-9]{1,5}$"),
        ("security", "text", ["tls", "none"], None),
        ("allow_plain", "boolean", None, None),
        ("password", "text", None, "^[!-~]+$"),
        ("thresholds", "object", None, None),
    )
]


@pytest.mark.parametrize(
    ("credentials", "config", "found"),
    [
        ({}, {}, ["host is missing"]),
        ({"host": "mail.example"}, {}, []),
        ({}, {"host": "mail.example", "password": 7}, []),
        ({"host": "a"}, {"host": "A"}, []),
        ({"host": "A"}, {"host": "a"}, ["host will not do: Say it otherwise."]),
        ({"host": "a\n"}, {}, ["host will not do: Say it otherwise."]),
        ({"host": "a", "password": "sesame \n"}, {}, ["password will not do: Say it otherwise."]),
        ({"host": "a"}, {"port": "587"}, []),
        ({"host": "a"}, {"port": 587}, []),
        ({"host": "a"}, {"port": True}, ["port will not do: Say it otherwise."]),
        ({"host": "a"}, {"security": ["tls"]}, ["security will not do: Say it otherwise."]),
        ({"host": "a"}, {"allow_plain": 1}, ["allow_plain will not do: Say it otherwise."]),
        ({"host": "a"}, {"thresholds": False}, []),
        ({"host": "a" * 1001}, {}, ["host will not do: Say it otherwise."]),
        (
            {"host": "a", "passwort": "sesame"},
            {"HOST": "b"},
            ["HOST is no field of email.smtp", "passwort is no field of email.smtp"],
        ),
    ],
)
def test_an_account_is_held_against_its_description(
    credentials: dict[str, Any], config: dict[str, Any], found: list[str]
) -> None:
    assert faults("email", "smtp", credentials, config, ROWS) == found


def test_an_account_that_its_description_refuses_is_not_opened(open_: Open) -> None:
    settings = ChannelSettings(described=tuple(ROWS))
    with pytest.raises(InvalidAdapter, match="host will not do") as refusal:
        open_("email", "smtp", {"host": "Sesame"}, settings=settings)
    assert "Sesame" not in str(refusal.value)
