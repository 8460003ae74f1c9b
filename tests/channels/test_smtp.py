from __future__ import annotations

import asyncio
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from dripdrop.channels import ChannelSettings, InvalidAdapter

from .conftest import IDEMPOTENCY_KEY, MailServer, MailServers, Open, ScriptedServers, message

pytestmark = pytest.mark.anyio

HELLO = {"subject": "Hello", "text": "Hello Ada", "from": "DripDrop <hello@example.org>"}


def plain(server: MailServer, **credentials: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "security": "none", **credentials}


def ada(server: MailServer, password: str) -> dict[str, Any]:
    return {"host": "localhost", "port": server.port, "username": "ada", "password": password}


def received(server: MailServer) -> EmailMessage:
    (content,) = server.accepted
    mail = message_from_bytes(content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


async def test_a_mail_arrives(open_: Open, mail_server: MailServers) -> None:
    server = await mail_server()
    outcome = await open_("email", "smtp", plain(server)).send(message(HELLO))
    assert outcome.kind == "sent"
    assert outcome.response == {"code": 250, "text": "2.0.0 queued as 4711"}
    assert received(server)["Subject"] == "Hello"
    assert server.recipients == ["ada@example.com"]


async def test_the_message_id_is_the_same_on_every_attempt(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    channel = open_("email", "smtp", plain(server))
    first, second = await channel.send(message(HELLO)), await channel.send(message(HELLO))
    assert first.out_message_id == second.out_message_id == f"{IDEMPOTENCY_KEY[:32]}@example.org"
    ids = [message_from_bytes(content)["Message-ID"] for content in server.accepted]
    assert ids == [f"<{first.out_message_id}>"] * 2


async def test_recipients_in_the_payload_are_ignored(open_: Open, mail_server: MailServers) -> None:
    server = await mail_server()
    extra = {"to": "eve@example.com", "cc": "eve@example.com", "bcc": ["eve@example.com"]}
    await open_("email", "smtp", plain(server)).send(message(HELLO | extra))
    assert server.recipients == ["ada@example.com"]
    assert b"eve" not in server.accepted[0]


async def test_lines_that_start_with_a_dot_arrive_whole(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    text = "first\n.\n..\n.last\n"
    await open_("email", "smtp", plain(server)).send(message(HELLO | {"text": text}))
    assert received(server).get_content().replace("\r\n", "\n") == text


async def test_the_adapter_says_who_sends_when_the_payload_does_not(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    channel = open_("email", "smtp", plain(server), {"from": "Team <team@example.org>"})
    await channel.send(message({"subject": "Hi", "text": "Hi"}))
    assert received(server)["From"] == "Team <team@example.org>"


async def test_credentials_win_over_config(open_: Open, mail_server: MailServers) -> None:
    server = await mail_server()
    config = {"port": 1, "security": "tls", "host": "nowhere.invalid"}
    outcome = await open_("email", "smtp", plain(server), config).send(message(HELLO))
    assert outcome.kind == "sent"


async def test_starttls_encrypts_before_the_login(
    open_: Open, mail_server: MailServers, certificate: ssl.SSLContext
) -> None:
    server = await mail_server(starttls=certificate, login=True)
    outcome = await open_("email", "smtp", ada(server, "correct horse")).send(message(HELLO))
    assert outcome.kind == "sent"
    assert server.logins == [(b"ada", b"correct horse")]
    assert server.sessions[-1].ssl is not None


async def test_tls_encrypts_from_the_first_byte(
    open_: Open, mail_server: MailServers, certificate: ssl.SSLContext
) -> None:
    server = await mail_server(tls=certificate)
    credentials = {"host": "localhost", "port": server.port, "security": "tls"}
    outcome = await open_("email", "smtp", credentials).send(message(HELLO))
    assert outcome.kind == "sent"


async def test_nothing_is_sent_in_the_clear_to_a_server_without_starttls(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    credentials = {"host": "localhost", "port": server.port}
    outcome = await open_("email", "smtp", credentials).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "starttls_not_offered")
    assert server.accepted == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_an_untrusted_certificate_is_refused(
    open_: Open,
    mail_server: MailServers,
    certificate: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    security: str,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = await mail_server(**{security: certificate})
    credentials = {"host": "localhost", "port": server.port, "security": security}
    outcome = await open_("email", "smtp", credentials).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "connect_error")
    assert server.accepted == []


async def test_a_wrong_password_is_the_adapters_fault_and_is_not_shown(
    open_: Open, mail_server: MailServers, certificate: ssl.SSLContext
) -> None:
    server = await mail_server(starttls=certificate, login=True)
    outcome = await open_("email", "smtp", ada(server, "battery staple")).send(message(HELLO))
    assert (outcome.kind, outcome.code, outcome.stage) == ("refused", "smtp_535", "login")
    assert "battery staple" not in repr(outcome)


async def test_a_login_that_the_server_wants_is_the_adapters_fault(
    open_: Open, mail_server: MailServers, certificate: ssl.SSLContext
) -> None:
    server = await mail_server(starttls=certificate, login=True)
    credentials = {"host": "localhost", "port": server.port}
    outcome = await open_("email", "smtp", credentials).send(message(HELLO))
    assert (outcome.kind, outcome.code, outcome.stage) == ("refused", "smtp_530", "sender")


async def test_a_secret_that_the_server_repeats_is_redacted(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    server.replies["CONTENT"] = "554 hunter2hunter2 is not welcome"
    channel = open_("email", "smtp", plain(server, password="hunter2hunter2"))
    outcome = await channel.send(message(HELLO))
    assert outcome.detail == "[redacted] is not welcome"


@pytest.mark.parametrize(
    ("command", "reply", "stage"),
    [
        ("MAIL", "454 4.7.0 Throttling failure: Maximum sending rate exceeded", "sender"),
        ("MAIL", "550 5.7.1 sender not verified", "sender"),
        ("RCPT", "550 5.1.1 no such user", "recipient"),
        ("RCPT", "421 closing", "recipient"),
        ("DATA", "451 4.3.2 not now", "content"),
        ("CONTENT", "554 5.7.1 looks like spam", "content"),
    ],
)
async def test_a_refusal_is_reported_as_it_was_said(
    open_: Open, mail_server: MailServers, command: str, reply: str, stage: str
) -> None:
    server = await mail_server()
    server.replies[command] = reply
    config = {"from": "hello@example.org"}
    outcome = await open_("email", "smtp", plain(server), config).send(message(HELLO))
    assert (outcome.kind, outcome.stage) == ("refused", stage)
    assert outcome.code == f"smtp_{reply[:3]}"
    assert outcome.detail == reply[4:]
    assert outcome.response == {"code": int(reply[:3]), "stage": stage}
    assert server.accepted == []


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_connection_lost_before_the_content_left_is_the_servers_affair(
    open_: Open, mail_server: MailServers, command: str
) -> None:
    server = await mail_server()
    server.replies[command] = None
    outcome = await open_("email", "smtp", plain(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "connection_lost")
    assert server.accepted == []


async def test_a_reply_lost_after_the_content_left_may_mean_sent(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    server.replies["CONTENT"] = None
    outcome = await open_("email", "smtp", plain(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("maybe_sent", "reply_lost")
    assert len(server.accepted) == 1
    assert received(server)["Message-ID"] == f"<{outcome.out_message_id}>"


@pytest.mark.parametrize("reply", ["gibberish", "354 go on"])
async def test_an_unreadable_reply_to_the_content_may_mean_sent(
    open_: Open, mail_server: MailServers, reply: str
) -> None:
    server = await mail_server()
    server.replies["CONTENT"] = reply
    outcome = await open_("email", "smtp", plain(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("maybe_sent", "reply_lost")


@pytest.mark.parametrize(
    ("talk", "kind", "code"),
    [
        ([], "unreachable", "timeout"),
        (["220 hi"], "unreachable", "timeout"),
        (["220 hi", "250 hi", "250 ok", "250 ok"], "unreachable", "timeout"),
        (["220 hi", "250 hi", "250 ok", "250 ok", "354 go"], "maybe_sent", "reply_lost"),
    ],
)
async def test_a_silent_server_is_uncertain_only_once_it_has_the_content(
    open_: Open, talk: list[str], kind: str, code: str
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(talk):
            if number > 0:
                await reader.readline()
            writer.write(f"{line}\r\n".encode())
        await reader.read()
        writer.close()

    async with await asyncio.start_server(script, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        credentials = {"host": "127.0.0.1", "port": port, "security": "none"}
        settings = ChannelSettings(timeout=0.2)
        outcome = await open_("email", "smtp", credentials, settings=settings).send(message(HELLO))
    assert (outcome.kind, outcome.code) == (kind, code)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["199 well", "250-ok\n999 what", "302 elsewhere", "well"])
async def test_what_is_no_reply_is_the_servers_fault(
    open_: Open, scripted_server: ScriptedServers, command: str, reply: str
) -> None:
    server = await scripted_server(**{command: reply})
    account = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    outcome = await open_("email", "smtp", account).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "invalid_reply")


async def test_a_server_that_is_down_is_unreachable(open_: Open, closed_port: int) -> None:
    credentials = {"host": "127.0.0.1", "port": closed_port, "security": "none"}
    outcome = await open_("email", "smtp", credentials).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "connect_error")


async def test_one_connection_carries_many_messages(open_: Open, mail_server: MailServers) -> None:
    server = await mail_server()
    channel = open_("email", "smtp", plain(server))
    for _ in range(5):
        await channel.send(message(HELLO))
    assert len(server.accepted) == 5
    assert len(server.sessions) == 1


async def test_a_refusal_does_not_spoil_the_next_message(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    channel = open_("email", "smtp", plain(server))
    server.replies["RCPT"] = "550 5.1.1 no such user"
    await channel.send(message(HELLO, "nobody@example.com"))
    server.replies.clear()
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert server.recipients == ["ada@example.com"]
    assert len(server.sessions) == 1


async def test_a_connection_that_the_server_dropped_is_replaced(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    channel = open_("email", "smtp", plain(server))
    await channel.send(message(HELLO))
    server.transports[-1].abort()  # type: ignore[attr-defined]
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert len(server.sessions) == 2


async def test_concurrent_sends_do_not_mix(open_: Open, mail_server: MailServers) -> None:
    server = await mail_server()
    channel = open_("email", "smtp", plain(server))
    people = [f"person{number}@example.com" for number in range(30)]
    outcomes = await asyncio.gather(
        *(channel.send(message(HELLO | {"subject": person}, person)) for person in people)
    )
    assert {outcome.kind for outcome in outcomes} == {"sent"}
    mails = [message_from_bytes(content) for content in server.accepted]
    assert sorted(server.recipients) == sorted(people)
    assert all(mail["To"] == mail["Subject"] for mail in mails)
    assert len(server.sessions) <= 8


async def test_a_cancelled_send_gives_its_connection_up(
    open_: Open, mail_server: MailServers
) -> None:
    reached = asyncio.Event()
    server = await mail_server()

    async def hang(*_: object) -> str:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    server.handle_DATA = hang  # type: ignore[method-assign,assignment]
    channel = open_("email", "smtp", plain(server))
    sending = asyncio.create_task(channel.send(message(HELLO)))
    await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    del server.handle_DATA
    async with asyncio.timeout(5):
        assert (await channel.send(message(HELLO))).kind == "sent"
    assert len(server.sessions) == 2


@pytest.mark.parametrize(
    ("payload", "recipient"),
    [
        ({"headers": {"X-Tag\r\nBcc": "eve@example.com"}}, "ada@example.com"),
        ({"from": "hello@example.org\r\nBcc: eve@example.com"}, "ada@example.com"),
        ({}, "ada@example.com>\r\nRCPT TO:<eve@example.com"),
    ],
)
async def test_an_injected_header_never_reaches_the_server(
    open_: Open, mail_server: MailServers, payload: dict[str, Any], recipient: str
) -> None:
    server = await mail_server()
    outcome = await open_("email", "smtp", plain(server)).send(message(HELLO | payload, recipient))
    assert (outcome.kind, outcome.code) == ("failed", "invalid_header")
    assert server.sessions == []


@pytest.mark.parametrize(
    "payload",
    [
        {"subject": "Hi\r\nBcc: eve@example.com"},
        {"headers": {"X-Tag": "a\nBcc: eve@example.com"}},
        {"from": '"Hi\r\nBcc: eve@example.com" <hello@example.org>'},
    ],
)
async def test_a_line_break_in_a_header_is_a_blank_and_adds_no_header(
    open_: Open, mail_server: MailServers, payload: dict[str, Any]
) -> None:
    server = await mail_server()
    outcome = await open_("email", "smtp", plain(server)).send(message(HELLO | payload))
    assert outcome.kind == "sent"
    (content,) = server.accepted
    assert message_from_bytes(content)["Bcc"] is None
    assert server.recipients == ["ada@example.com"]


@pytest.mark.parametrize("field", [{"security": "ssl"}, {"port": "smtp"}])
def test_an_adapter_that_makes_no_sense_is_refused_at_once(
    open_: Open, field: dict[str, str]
) -> None:
    with pytest.raises(InvalidAdapter, match=next(iter(field))):
        open_("email", "smtp", {"host": "localhost", **field})
