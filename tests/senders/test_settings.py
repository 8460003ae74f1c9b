"""What a sender says about itself is checked where it is written, by the rows that describe it."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest

from dripdrop.client import Client
from dripdrop.errors import DestinationBound, InvalidArgument
from tests.engine import ENVELOPE, TENANT, Engine

SMTP = {"host": "mail.acme.example", "from": "Acme <hello@acme.example>"}
POSTMARK = {"from": "Acme <hello@acme.example>"}
ANOTHER = b64encode(b"\x01" + bytes(range(40))).decode()


def create(
    engine: Engine, provider: str, config: dict[str, Any], credentials: str | None = None
) -> Any:
    channel = "webhook" if provider == "default" else "email"
    return Client.create_channel_adapter(
        engine, TENANT, "post", channel, provider, credentials, config
    )


@pytest.mark.parametrize(
    ("provider", "config", "field"),
    [
        ("smtp", {"from": "hello@acme.example"}, "config.host"),
        ("smtp", {"host": "mail.acme.example"}, "config.from"),
        ("smtp", SMTP | {"host": ""}, "config.host"),
        ("smtp", SMTP | {"host": None}, "config.host"),
        ("smtp", SMTP | {"host": "mail..example.com"}, "config.host"),
        ("smtp", SMTP | {"host": "-mail.example.com"}, "config.host"),
        ("smtp", SMTP | {"host": "mail.example.com "}, "config.host"),
        ("smtp", SMTP | {"host": "smtp://mail.example.com"}, "config.host"),
        ("smtp", SMTP | {"host": "a" * 64 + ".example.com"}, "config.host"),
        ("smtp", SMTP | {"host": ".".join(["a" * 60] * 5)}, "config.host"),
        ("smtp", SMTP | {"host": 7}, "config.host"),
        ("smtp", SMTP | {"host": "192.0.2.1:25"}, "config.host"),
        ("smtp", SMTP | {"host": "mail.example.com:587"}, "config.host"),
        ("smtp", SMTP | {"host": "256.0.2.1"}, "config.host"),
        ("smtp", SMTP | {"host": "192.0.2"}, "config.host"),
        ("smtp", SMTP | {"host": "0x7f.1"}, "config.host"),
        ("smtp", SMTP | {"host": "12:34"}, "config.host"),
        ("smtp", SMTP | {"host": ["mail.example.com"]}, "config.host"),
        ("smtp", SMTP | {"security": "STARTTLS"}, "config.security"),
        ("smtp", SMTP | {"security": "tls "}, "config.security"),
        ("smtp", SMTP | {"security": "ssl", "port": 465}, "config.security"),
        ("smtp", SMTP | {"security": True}, "config.security"),
        ("smtp", SMTP | {"port": 99999}, "config.port"),
        ("smtp", SMTP | {"port": 65536}, "config.port"),
        ("smtp", SMTP | {"port": 0}, "config.port"),
        ("smtp", SMTP | {"port": -25}, "config.port"),
        ("smtp", SMTP | {"port": 25.5}, "config.port"),
        ("smtp", SMTP | {"port": "smtp"}, "config.port"),
        ("smtp", SMTP | {"port": [25]}, "config.port"),
        ("smtp", SMTP | {"from": "Acme"}, "config.from"),
        ("smtp", SMTP | {"from": "Acme, Inc. <hello@acme.example>"}, "config.from"),
        ("smtp", SMTP | {"from": "a@acme.example, b@acme.example"}, "config.from"),
        ("smtp", SMTP | {"from": "hello@acme..example"}, "config.from"),
        ("smtp", SMTP | {"from": "hello.@acme.example"}, "config.from"),
        ("smtp", SMTP | {"from": "a" * 65 + "@acme.example"}, "config.from"),
        (
            "smtp",
            SMTP | {"from": "Acme <hello@acme.example>\r\nBcc: eve@example.com"},
            "config.from",
        ),
        ("smtp", SMTP | {"from": "(" * 2000}, "config.from"),
        ("smtp", SMTP | {"from": "a" * 2000 + " <hello@acme.example>"}, "config.from"),
        ("smtp", SMTP | {"helo": "localhost"}, "config.helo"),
        ("smtp", SMTP | {"helo": "mail.acme.example X"}, "config.helo"),
        ("smtp", SMTP | {"helo": "[300.0.2.1]"}, "config.helo"),
        ("smtp", SMTP | {"connections": 0}, "config.connections"),
        ("smtp", SMTP | {"connections": 1001}, "config.connections"),
        ("smtp", SMTP | {"max_in_flight": "many"}, "config.max_in_flight"),
        ("smtp", SMTP | {"max_in_flight": 0}, "config.max_in_flight"),
        ("smtp", SMTP | {"max_in_flight": True}, "config.max_in_flight"),
        ("smtp", SMTP | {"allow_plain": "yes"}, "config.allow_plain"),
        ("smtp", SMTP | {"username": "ada", "security": "none"}, "config.security"),
        ("smtp", SMTP | {"username": "a\nb"}, "config.username"),
        ("smtp", SMTP | {"password": "x"}, "config.password"),
        ("postmark", POSTMARK, "credentials"),
        ("default", {"url": "https://example.com/hook"}, "credentials"),
    ],
)
def test_a_sender_that_cannot_work_is_refused_when_it_is_written(
    engine: Engine, provider: str, config: dict[str, Any], field: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        create(engine, provider, config)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize(
    ("provider", "field", "hint"),
    [
        ("smtp", "HOST", 'Write "host" instead. The fields are host, port, '),
        ("smtp", "passwort", 'Seal "password" with "dripdrop seal". The fields are host, '),
        ("smtp", "timeout", "The fields are host, port, security, "),
        ("smtp", "base_url", "The fields are host, port, security, "),
        ("smtp", "user_name", 'Write "username" instead. '),
        ("smtp", "", "The fields are host, "),
        ("smtp", "x" * 5000, "The fields are host, "),
        ("postmark", "message_steam", 'Write "message_stream" instead. '),
        (
            "default",
            "uri",
            'Write "url" instead. The fields are url, max_in_flight and thresholds.',
        ),
    ],
)
def test_a_field_that_no_sender_has_is_refused_with_the_nearest_and_all_there_are(
    engine: Engine, provider: str, field: str, hint: str
) -> None:
    config: dict[str, Any] = {"max_in_flight": 3, field: "sesame"}
    with engine.refused(InvalidArgument) as refusal:
        create(engine, provider, config, ENVELOPE)
    said = refusal.value.diag
    assert (said.column_name or "").startswith("config." + field[:50])
    assert (said.message_hint or "").startswith(hint)
    assert len(str(said.message_primary)) < 200
    assert "sesame" not in str(refusal.value)
    adapter = create(engine, provider, {}, ENVELOPE)
    with engine.refused(InvalidArgument):
        engine.update_channel_adapter(TENANT, adapter.id, config=config)


@pytest.mark.parametrize(
    ("provider", "config", "field"),
    [
        ("postmark", {"base_url": "https://a..b"}, "config.base_url"),
        ("postmark", {"base_url": "ftp://api.example.com"}, "config.base_url"),
        ("postmark", {"base_url": "https://user:pass@api.example.com"}, "config.base_url"),
        ("postmark", {"base_url": "https://api.example.com:99999"}, "config.base_url"),
        ("postmark", {"base_url": "https://api.example.com/a b"}, "config.base_url"),
        ("postmark", {"track_links": "all"}, "config.track_links"),
        ("postmark", {"track_opens": "yes"}, "config.track_opens"),
        ("postmark", {"from": "Acme"}, "config.from"),
        ("default", {"url": "example.com/hook"}, "config.url"),
        ("default", {"url": "https://"}, "config.url"),
        ("smtp", {"port": 99999}, "config.port"),
    ],
)
def test_what_is_not_sealed_is_checked_beside_what_is(
    engine: Engine, provider: str, config: dict[str, Any], field: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        create(engine, provider, config, ENVELOPE)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize(
    "config",
    [
        {"host": "192.0.2.1"},
        {"host": "2001:db8::1"},
        {"host": "::1"},
        {"host": "::ffff:192.0.2.1"},
        {"host": "1.example.com"},
        {"host": "mail.2x"},
        {"host": "mail"},
        {"host": "my_mail.internal"},
        {"port": 1},
        {"port": 65535},
        {"port": "587"},
        {"security": "tls"},
        {"from": "hello@acme.example"},
        {"from": "<hello@acme.example>"},
        {"from": '"Acme, Inc." <hello@acme.example>'},
        {"from": '"Say \\"hi\\"" <hello@acme.example>'},
        {"from": "J. Doe & Söhne <first.last+tag@mail.acme.example>"},
        {"helo": "mail.acme.example"},
        {"helo": "[192.0.2.1]"},
        {"helo": "[IPv6:2001:db8::1]"},
        {"connections": 1000},
        {"username": "ada", "security": "none", "allow_plain": True},
        {"username": None, "security": "none"},
    ],
)
def test_what_can_work_is_taken(engine: Engine, config: dict[str, Any]) -> None:
    assert create(engine, "smtp", SMTP | config).config == SMTP | config


def test_what_is_sealed_may_hold_what_is_required(engine: Engine) -> None:
    assert create(engine, "smtp", {}, ENVELOPE).config == {}
    assert engine.startup_check() == []


def test_a_change_is_checked_like_a_new_sender(engine: Engine) -> None:
    adapter = create(engine, "smtp", SMTP)
    for config in ({"from": "hello@acme.example"}, SMTP | {"port": 99999}):
        with engine.refused(InvalidArgument):
            Client.update_channel_adapter(engine, TENANT, adapter.id, config=config)
    Client.update_channel_adapter(engine, TENANT, adapter.id, ENVELOPE, {"port": 25})
    Client.update_channel_adapter(engine, TENANT, adapter.id, active=False)


@pytest.mark.parametrize(
    ("provider", "config", "changed"),
    [
        ("smtp", SMTP, {"host": "evil.example"}),
        ("smtp", SMTP, {"port": 26}),
        ("smtp", SMTP, {"security": "none"}),
        ("smtp", SMTP, {"allow_plain": True}),
        ("smtp", SMTP, {"username": "eve"}),
        ("smtp", SMTP | {"security": "tls"}, {"security": None}),
        ("smtp", {}, {"host": "evil.example"}),
        ("postmark", POSTMARK, {"base_url": "https://evil.example"}),
        ("default", {}, {"url": "https://evil.example"}),
    ],
)
def test_sealed_credentials_go_nowhere_else_unless_they_are_given_again(
    engine: Engine, provider: str, config: dict[str, Any], changed: dict[str, Any]
) -> None:
    adapter = create(engine, provider, config, ENVELOPE)
    for again in (None, ENVELOPE):
        with engine.refused(DestinationBound) as refusal:
            Client.update_channel_adapter(engine, TENANT, adapter.id, again, config | changed)
        assert refusal.value.diag.column_name == f"config.{next(iter(changed))}"
    Client.update_channel_adapter(engine, TENANT, adapter.id, ANOTHER, config | changed)
    Client.update_channel_adapter(
        engine, TENANT, adapter.id, config=config | changed | {"max_in_flight": 3}
    )


def test_without_credentials_a_sender_may_move(engine: Engine) -> None:
    adapter = create(engine, "smtp", SMTP)
    Client.update_channel_adapter(
        engine, TENANT, adapter.id, config=SMTP | {"host": "other.example"}
    )


def test_a_sender_that_was_written_otherwise_is_named_by_the_check(engine: Engine) -> None:
    create(engine, "smtp", SMTP)
    engine.connection.execute(
        """update dripdrop.channel_adapters set config = '{"port": 0}' || (config - 'from')"""
    )
    found = [(row.problem, row.detail) for row in engine.startup_check()]
    assert found == [
        ("invalid_adapter", "sender post (tenant acme): from is missing"),
        ("invalid_adapter", "sender post (tenant acme): port is no integer"),
    ]
    Client.update_channel_adapter(
        engine, TENANT, engine.rows("select id from dripdrop.channel_adapters")[0].id, active=False
    )
    assert engine.startup_check() == []


def test_the_rows_are_read_alike_by_python_and_by_postgres(engine: Engine) -> None:
    rows = engine.provider_settings()
    samples = [
        *(
            "a",
            "mail.acme.example",
            "mail..example",
            "-a",
            "2001:db8::1",
            "587",
            "0",
            "65536",
            "1000",
        ),
        *(
            "Acme <a@b.example>",
            "Acme, Inc. <a@b.example>",
            '"A, B" <a@b.example>',
            "a@b",
            "(" * 2000,
        ),
        *("https://a.example/x?y=1", "https://a..b", "http://[::1]:80", "[192.0.2.1]", "tls ", "ü"),
        *(
            "whsec_c2VzYW1l",
            "a b",
            "a\tb",
            "a\x7fb",
            "a" * 300,
            '"\\"" <a@b.example>',
            "",
            "a@b@c",
            "a\n",
        ),
    ]
    for row in rows:
        assert row.hint
        if row.pattern is not None:
            matched = engine.rows(
                "select s, s ~ %s::text as fits from unnest(%s::text[]) as s", row.pattern, samples
            )
            assert {s: bool(re.fullmatch(row.pattern, s)) for s in samples} == dict(matched)
    assert {(row.kind, row.field) for row in rows if row.secret} == {
        ("email.smtp", "password"),
        ("email.postmark", "api_key"),
        ("webhook.default", "secret"),
    }
    assert len({(row.kind, row.field) for row in rows}) == len(rows)
