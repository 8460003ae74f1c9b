"""A message may be at the provider from the first byte of its content on, and not before."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import math
from typing import Any

import pytest

from dripdrop.channels import Channel, ChannelSettings, Handover, InvalidAdapter
from dripdrop.outgoing.http import GuardedHTTP

from .conftest import HTTPServers, Open, ScriptedServer, ScriptedServers, message

pytestmark = pytest.mark.anyio

HELLO = {"subject": "Hello", "text": "Hello Ada"}
QUICK = ChannelSettings(timeout=0.3)


def opened(
    open_: Open,
    server: ScriptedServer,
    config: dict[str, Any] | None = None,
    settings: ChannelSettings | None = None,
) -> Channel:
    account = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    return open_("email", "smtp", account, {"from": "hello@example.org"} | (config or {}), settings)


async def after(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_what_is_stopped_before_its_content_leaves_was_not_begun(
    open_: Open, scripted_server: ScriptedServers, stage: str
) -> None:
    server = await scripted_server(**{stage: ""})
    handover = Handover()
    sending = asyncio.create_task(opened(open_, server).send(message(HELLO, handover=handover)))
    await after(
        lambda: (
            server.connections
            if stage == "GREETING"
            else any(line.upper().startswith(stage) for line in server.said)
        )
    )
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not handover.begun


async def test_what_is_stopped_while_its_content_leaves_was_begun(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server(held=True)
    handover = Handover()
    sending = asyncio.create_task(opened(open_, server).send(message(HELLO, handover=handover)))
    await after(lambda: handover.begun)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert handover.left_at is not None


@pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_every_reply_of_a_server_has_a_deadline(
    open_: Open, scripted_server: ScriptedServers, stage: str
) -> None:
    server = await scripted_server(**{stage: ""})
    handover = Handover()
    channel = opened(open_, server, settings=QUICK)
    outcome = await channel.send(message(HELLO, handover=handover))
    assert (outcome.kind, outcome.code) == ("unreachable", "timeout")
    assert not handover.begun


async def test_a_greeting_of_one_byte_at_a_time_has_a_deadline(open_: Open) -> None:
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"2")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.02)
        writer.close()
        over.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        account = {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "security": "none",
            "from": "hello@example.org",
        }
        channel = open_("email", "smtp", account, settings=QUICK)
        async with asyncio.timeout(5):
            outcome = await channel.send(message(HELLO))
            await over.wait()
    assert (outcome.kind, outcome.code) == ("unreachable", "timeout")


async def test_what_comes_too_late_is_released_and_nobody_is_at_fault(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server()
    channel = opened(open_, server)
    for handover in (Handover(leave_by=-math.inf), Handover(may_leave=lambda: False)):
        outcome = await channel.send(message(HELLO, handover=handover))
        assert (outcome.kind, outcome.code) == ("released", "too_late")
        assert not handover.begun
    assert server.accepted == []


async def test_what_becomes_too_late_just_before_its_content_is_released(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server()
    channel = opened(open_, server)
    stopped = Handover(may_leave=lambda: not any(line == "DATA" for line in server.said))
    assert (await channel.send(message(HELLO, handover=stopped))).kind == "released"
    assert server.accepted == []
    assert (await channel.send(message(HELLO))).kind == "sent"


async def test_a_request_that_comes_too_late_is_not_written(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    channel = open_("webhook", "default", {"secret": "whsec_c2VjcmV0", "url": server.url})
    late = Handover(leave_by=-math.inf)
    outcome = await channel.send(message({}, handover=late))
    assert (outcome.kind, outcome.code) == ("released", "too_late")
    assert server.requests == []
    in_time = Handover()
    assert (await channel.send(message({}, handover=in_time))).kind == "sent"
    assert in_time.begun and not late.begun


async def test_a_reply_is_not_decoded_and_its_raw_bytes_are_counted(open_: Open) -> None:
    """gzip, gzip, gzip of nothing but blanks: decoded it would be gigabytes."""
    body = b" " * 10_000_000
    for _ in range(3):
        body = gzip.compress(body)
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip, gzip\r\nContent-Length: {len(body)}"
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        http = GuardedHTTP(ChannelSettings(allow_http=True, allow_private=True))
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reply = await http.exchange(http.request("GET", url, {}, b"", 5), 5)
        await http.aclose()
    assert (reply.body, reply.cut) == (body, False)
    assert b"accept-encoding: identity\r\n" in asked[0].lower()


async def test_a_failing_server_costs_one_attempt_and_releases_who_waited(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server(GREETING="554 5.7.1 you are not welcome")
    channel = opened(open_, server)
    outcomes = await asyncio.gather(*(channel.send(message(HELLO)) for _ in range(8)))
    assert server.connections == 1
    assert sorted(outcome.kind for outcome in outcomes) == ["refused"] + ["released"] * 7
    assert {outcome.code for outcome in outcomes} == {"smtp_554", "no_connection"}


@pytest.mark.parametrize("crowded", ["421 4.7.0 too many connections", "421 go away", "554 no"])
async def test_connections_shrink_to_what_the_server_takes_and_nobody_pays(
    open_: Open, scripted_server: ScriptedServers, crowded: str
) -> None:
    server = await scripted_server(held=True)
    server.most, server.crowded = 2, crowded
    channel = opened(open_, server)
    sending = [asyncio.create_task(channel.send(message(HELLO))) for _ in range(40)]
    await after(lambda: server.refused)
    await after(lambda: channel.places == 2)
    server.hold.set()
    outcomes = await asyncio.gather(*sending)
    assert {outcome.kind for outcome in outcomes} == {"sent"}
    assert len(server.accepted) == 40
    assert server.refused == 1
    assert channel.places == 2


async def test_others_connections_are_waited_for_before_they_are_a_fault(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server()
    server.most = 0
    channel = opened(open_, server)
    codes = []
    for _ in range(4):
        outcome = await channel.send(message(HELLO))
        codes.append((outcome.kind, outcome.code, channel.places))
    assert codes == [("released", "connection_limit", 0)] * 3 + [("refused", "smtp_421", 1)]
    server.most = 1
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert channel.places == 2


async def test_a_connection_that_died_while_it_was_idle_is_replaced_once(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server()
    channel = opened(open_, server)
    await channel.send(message(HELLO))
    server.replies["MAIL"] = "421 4.4.2 idle for too long"
    outcome = await channel.send(message(HELLO))
    assert (outcome.kind, outcome.code, outcome.stage) == ("refused", "smtp_421", "sender")
    assert server.connections == 2
    server.replies.clear()
    assert (await channel.send(message(HELLO))).kind == "sent"
    for writer in server.writers:
        writer.transport.abort()
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert server.connections == 4


@pytest.mark.parametrize(
    "config", [{"connections": 3}, {"max_in_flight": 3}, {"connections": 8, "max_in_flight": 3}]
)
async def test_a_server_that_answers_gets_as_many_places_as_the_config_says(
    open_: Open, scripted_server: ScriptedServers, config: dict[str, Any]
) -> None:
    server = await scripted_server()
    channel = opened(open_, server, config)
    seen = [channel.places]
    for _ in range(4):
        sending = [channel.send(message(HELLO)) for _ in range(channel.places)]
        assert {outcome.kind for outcome in await asyncio.gather(*sending)} == {"sent"}
        seen.append(channel.places)
    assert (seen[0], seen[-1]) == (1, 3)
    assert seen == sorted(seen)


@pytest.mark.parametrize("value", [0, -1, 1001, "many"])
def test_a_count_that_is_none_is_refused(open_: Open, value: Any) -> None:
    with pytest.raises(InvalidAdapter, match="max_in_flight"):
        open_("email", "smtp", {"host": "localhost"}, {"max_in_flight": value})
    with pytest.raises(InvalidAdapter, match="max_in_flight"):
        open_("webhook", "default", {"secret": "whsec_c2VjcmV0"}, {"max_in_flight": value})


@pytest.mark.parametrize("host", ["mail..example.com", "a" * 64 + ".example.com", "ü" * 100])
async def test_a_host_that_cannot_be_one_is_certainly_not_sent_to(open_: Open, host: str) -> None:
    account = {"host": host, "security": "none", "from": "hello@example.org"}
    handover = Handover()
    outcome = await open_("email", "smtp", account).send(message(HELLO, handover=handover))
    assert outcome.kind in ("auth_error", "unreachable")
    assert not handover.begun


@pytest.mark.parametrize(
    "url", ["https://a..b", "https://" + "a" * 64 + ".example", "https://[::1"]
)
async def test_a_url_that_cannot_be_one_is_held_against_who_gave_it(open_: Open, url: str) -> None:
    channel = open_("webhook", "default", {"secret": "whsec_c2VjcmV0", "url": url})
    handover = Handover()
    assert (await channel.send(message({}, handover=handover))).kind in (
        "auth_error",
        "unreachable",
    )
    outcome = await channel.send(message({"url": url}, handover=handover))
    assert outcome.kind in ("failed", "unreachable")
    postmark = open_("email", "postmark", {"api_key": "token", "base_url": url})
    outcome = await postmark.send(message(HELLO | {"from": "a@b.example"}, handover=handover))
    assert outcome.kind in ("auth_error", "unreachable")
    assert not handover.begun


async def test_a_from_that_cannot_be_one_is_certainly_not_sent(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server()
    for sender in ("(" * 2000, "Acme", "a" * 5000 + "@example.org"):
        outcome = await opened(open_, server, {"from": sender}).send(message(HELLO))
        assert outcome.kind == "failed"
    assert server.connections == 0


async def test_an_account_without_a_from_is_at_fault_for_messages_without_one(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server()
    channel = opened(open_, server, {"from": ""})
    outcome = await channel.send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("auth_error", "invalid_adapter")
    postmark = open_("email", "postmark", {"api_key": "token", "base_url": "https://a.invalid"})
    assert (await postmark.send(message(HELLO))).kind == "auth_error"
    assert server.connections == 0
    assert (await channel.send(message(HELLO | {"from": "a@b.example"}))).kind == "sent"


@pytest.mark.parametrize("port", [99999, 0, -1, "x", [25]])
def test_a_port_that_is_none_is_refused_at_once(open_: Open, port: Any) -> None:
    with pytest.raises(InvalidAdapter, match="port"):
        open_("email", "smtp", {"host": "localhost", "port": port or -1})


def test_a_login_does_not_leave_without_tls_unless_that_is_allowed(open_: Open) -> None:
    account = {"host": "localhost", "security": "none", "username": "ada", "password": "x"}
    with pytest.raises(InvalidAdapter, match="TLS"):
        open_("email", "smtp", account)
    with pytest.raises(InvalidAdapter, match="TLS"):
        open_("email", "smtp", account | {"allow_plain": "no"})
    open_("email", "smtp", account, {"allow_plain": True})


@pytest.mark.parametrize(
    ("helo", "said"), [("mail.acme.example", "mail.acme.example"), (None, None)]
)
async def test_ehlo_says_a_full_name_or_an_address(
    open_: Open, scripted_server: ScriptedServers, helo: str | None, said: str | None
) -> None:
    server = await scripted_server()
    await opened(open_, server, {"helo": helo}).send(message(HELLO))
    name = server.said[0].removeprefix("EHLO ")
    assert name == (said or name)
    assert name == "[127.0.0.1]" or ("." in name and not name.startswith("localhost"))


async def test_a_server_without_ehlo_is_told_helo(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server(EHLO="502 not implemented")
    assert (await opened(open_, server).send(message(HELLO))).kind == "sent"
    assert server.said[1].startswith("HELO ")


@pytest.mark.parametrize(
    ("methods", "auth", "code"),
    [
        ("CRAM-MD5", "334 PDEyMzRAZXhhbXBsZT4=", "smtp_334"),
        ("CRAM-MD5", "334 a", "smtp_334"),
        ("PLAIN", "535 5.7.8 no", "smtp_535"),
        ("LOGIN", "334 VXNlcm5hbWU6", "smtp_334"),
        ("GSSAPI", "250 ok", "login_not_offered"),
        (None, "250 ok", "login_not_offered"),
    ],
)
async def test_a_login_that_comes_to_nothing_is_the_accounts(
    open_: Open, scripted_server: ScriptedServers, methods: str | None, auth: str, code: str
) -> None:
    server = await scripted_server(AUTH=auth)
    server.replies["EHLO"] = f"250-mx\n250 AUTH {methods}" if methods else "250 mx"

    async def challenge(writer: asyncio.StreamWriter, command: str, default: str) -> bool:
        if command not in ("GREETING", "EHLO", "AUTH"):  # what answers a challenge
            default = auth
        return await type(server)._reply(server, writer, command, default)

    server._reply = challenge  # type: ignore[method-assign]
    config = {"username": "ada", "password": "sesame", "allow_plain": True}
    outcome = await opened(open_, server, config).send(message(HELLO))
    assert outcome.code == code
    assert (outcome.kind, outcome.stage) in (("refused", "login"), ("auth_error", ""))


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        ("451 4.7.1 greylisted, try again in 5 minutes", 300.0),
        ("451 4.7.1 Greylisting in action, please come back in 00:05:00", 300.0),
        ("450 4.7.1 graylisted for 300 seconds", 300.0),
        ("450 4.2.0 please retry after 2 hours", 7200.0),
        ("450 wait 30s", 30.0),
        ("451 4.7.1 greylisted", None),
        ("451 timed out after 30 seconds", None),
        ("550 5.7.1 try again in 5 minutes", None),
    ],
)
async def test_a_server_may_say_when_to_come_again(
    open_: Open, scripted_server: ScriptedServers, reply: str, seconds: float | None
) -> None:
    server = await scripted_server(RCPT=reply)
    outcome = await opened(open_, server).send(message(HELLO))
    assert (outcome.kind, outcome.retry_after) == ("refused", seconds)


async def test_a_from_of_the_messages_own_is_told_from_the_senders(
    open_: Open, scripted_server: ScriptedServers
) -> None:
    server = await scripted_server(MAIL="553 5.7.1 not owned by user")
    channel = opened(open_, server)
    own = await channel.send(message(HELLO | {"from": "Boss <boss@other.example>"}))
    assert (own.stage, own.response["stage"]) == ("sender.author", "sender")
    for payload in (HELLO, HELLO | {"from": "Ada at Acme <Hello@example.org>"}):
        assert (await channel.send(message(payload))).stage == "sender"


@pytest.mark.parametrize(
    ("step", "reply", "stage", "code"),
    [
        ("RCPT", "299 well", "recipient", "invalid_reply"),
        ("RCPT", None, "recipient", "connection_lost"),
        ("DATA", "299 well", "content", "invalid_reply"),
    ],
)
async def test_where_a_server_broke_off_is_told(
    open_: Open,
    scripted_server: ScriptedServers,
    step: str,
    reply: str | None,
    stage: str,
    code: str,
) -> None:
    server = await scripted_server(**{step: reply})
    outcome = await opened(open_, server).send(message(HELLO))
    assert (outcome.kind, outcome.stage, outcome.code) == ("unreachable", stage, code)
