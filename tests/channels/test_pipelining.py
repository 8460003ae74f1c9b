"""MAIL, RCPT and DATA leave together where the server offers PIPELINING; content after 354 only."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from dripdrop.channels import Channel, ChannelSettings, Handover, Outcome

from .conftest import Open, message

pytestmark = pytest.mark.anyio

HELLO = {"subject": "Hello", "text": "Hello Ada"}
OFFER = "250-mx.example.com\r\n250 PIPELINING"
WELL = ("250 ok", "250 ok", "354 go on")
_END = b"\r\n.\r\n"


@dataclass
class Server:
    """Answers each group of commands with the next of `groups`, whatever the group was.

    A group is what arrives up to DATA, or one command; its answers are lines, None cuts the
    connection and "" says nothing more. `heard` holds what it heard, group by group; `after` what
    came behind a group that did not go well.
    """

    port: int = 0
    offer: str = OFFER
    groups: list[tuple[str | None, ...]] = field(default_factory=list)
    queued: str = "250 queued"
    careless: bool = False
    heard: list[list[str]] = field(default_factory=list)
    after: list[bytes] = field(default_factory=list)
    accepted: list[bytes] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            writer.write(b"220 mx\r\n")
            await reader.readline()
            writer.write(f"{self.offer}\r\n".encode())
            while await self._message(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        group = await self._group(reader)
        if not group or group[0] == "QUIT":
            return False
        self.heard.append(group)
        await self.go_on.wait()
        answers = self.groups.pop(0) if self.groups else self._well(group)
        said = "".join(f"{answer}\r\n" for answer in answers if answer)
        writer.write(said.encode())
        await writer.drain()
        if None in answers:
            writer.transport.close()
            return False
        if "" in answers:
            await asyncio.Event().wait()
        if group[-1] != "DATA" or answers[-1] is None or not answers[-1].startswith("354"):
            return True
        content = await reader.readuntil(b".\r\n")
        if content == b".\r\n":
            self.after.append(content)
        else:
            if not content.endswith(_END):
                content += await reader.readuntil(_END)
            self.accepted.append(content)
        writer.write(f"{self.queued}\r\n".encode())
        return True

    async def _group(self, reader: asyncio.StreamReader) -> list[str]:
        if self.careless:  # takes one command of what comes, and loses the rest
            line, _, _ = (await reader.read(4096)).partition(b"\r\n")
            return [line.decode()] if line else []
        group: list[str] = []
        while line := await reader.readline():
            group.append(line.decode().strip())
            if "PIPELINING" not in self.offer or group[-1] in ("DATA", "QUIT"):
                break
        return group

    def _well(self, group: list[str]) -> tuple[str | None, ...]:
        return tuple("354 go on" if command == "DATA" else "250 ok" for command in group)


Servers = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serving(anyio_backend: str) -> AsyncIterator[Servers]:
    """Start servers that answer groups of commands as they are told to."""
    started: list[tuple[asyncio.Server, set[asyncio.Task[None]]]] = []

    async def start(
        *groups: tuple[str | None, ...], offer: str = OFFER, tls: ssl.SSLContext | None = None
    ) -> Server:
        server = Server(groups=list(groups), offer=offer)
        server.go_on.set()
        tasks: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(server.serve(reader, writer)))

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        server.port = listening.sockets[0].getsockname()[1]
        started.append((listening, tasks))
        return server

    yield start
    for listening, tasks in started:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def opened(open_: Open, server: Server, timeout: float = 5.0) -> Channel:
    account = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    settings = ChannelSettings(timeout=timeout)
    return open_("email", "smtp", account, {"from": "hello@example.org"}, settings)


def told(outcome: Outcome) -> tuple[str, str, str]:
    return (outcome.kind, outcome.code, outcome.stage)


async def test_the_three_leave_together_and_the_content_waits_for_354(
    open_: Open, serving: Servers
) -> None:
    server = await serving()
    server.go_on.clear()
    handover = Handover()
    sending = asyncio.create_task(opened(open_, server).send(message(HELLO, handover=handover)))
    async with asyncio.timeout(5):
        while not server.heard:
            await asyncio.sleep(0)
    assert not handover.begun
    server.go_on.set()
    assert (await sending).kind == "sent"
    assert server.heard == [["MAIL FROM:<hello@example.org>", "RCPT TO:<ada@example.com>", "DATA"]]
    assert len(server.accepted) == 1


async def test_they_leave_together_through_tls(
    open_: Open, serving: Servers, certificate: ssl.SSLContext
) -> None:
    server = await serving(WELL, ("250 ok", "550 5.1.1 no such user", "354 go on"), tls=certificate)
    account = {"host": "localhost", "port": server.port, "security": "tls"}
    channel = open_("email", "smtp", account, {"from": "hello@example.org"})
    kinds = [(await channel.send(message(HELLO))).kind for _ in range(3)]
    assert kinds == ["sent", "refused", "sent"]
    assert [len(group) for group in server.heard] == [3, 3, 4]
    assert (server.connections, server.after) == (1, [b".\r\n"])


async def test_nothing_leaves_together_where_it_is_not_offered(
    open_: Open, serving: Servers
) -> None:
    server = await serving(offer="250 mx.example.com")
    channel = opened(open_, server)
    for _ in range(2):
        assert (await channel.send(message(HELLO))).kind == "sent"
    commands = [["MAIL FROM:<hello@example.org>"], ["RCPT TO:<ada@example.com>"], ["DATA"]]
    assert server.heard == commands * 2, "and nothing is reset between messages"


async def test_nothing_is_reset_unless_a_transaction_was_broken_off(
    open_: Open, serving: Servers
) -> None:
    server = await serving(WELL, WELL, ("250 ok", "550 5.1.1 no such user", "503 nobody"))
    channel = opened(open_, server)
    kinds = [(await channel.send(message(HELLO))).kind for _ in range(5)]
    assert kinds == ["sent", "sent", "refused", "sent", "sent"]
    assert [group[0] == "RSET" for group in server.heard] == [False, False, False, True, False]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answers", "stage", "code"),
    [
        (("550 5.7.1 who are you", "503 need MAIL", "503 need RCPT"), "sender", "smtp_550"),
        (("451 4.3.0 later", "503 need MAIL", "503 need RCPT"), "sender", "smtp_451"),
        (("250 ok", "550 5.1.1 no such user", "554 nobody"), "recipient", "smtp_550"),
        (("250 ok", "450 4.2.0 greylisted", "503 nobody"), "recipient", "smtp_450"),
        (("250 ok", "251 elsewhere", "451 4.3.2 not now"), "content", "smtp_451"),
    ],
)
async def test_a_refusal_is_of_the_first_that_was_refused(
    open_: Open, serving: Servers, answers: tuple[str, ...], stage: str, code: str
) -> None:
    server = await serving(answers)
    channel = opened(open_, server)
    handover = Handover()
    outcome = await channel.send(message(HELLO, handover=handover))
    assert told(outcome) == ("refused", code, stage)
    assert outcome.detail == answers[("sender", "recipient", "content").index(stage)][4:]
    assert not handover.begun
    assert (server.accepted, server.after) == ([], [])
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answers", "stage"),
    [
        (("250 ok", "550 5.1.1 no such user", "354 go on"), "recipient"),
        (("550 5.7.1 who are you", "503 need MAIL", "354 go on"), "sender"),
    ],
)
async def test_who_wants_content_for_nobody_gets_a_single_dot(
    open_: Open, serving: Servers, answers: tuple[str, ...], stage: str
) -> None:
    server = await serving(answers)
    server.queued = "554 5.5.1 no valid recipients"
    channel = opened(open_, server)
    handover = Handover()
    outcome = await channel.send(message(HELLO, handover=handover))
    assert told(outcome) == ("refused", "smtp_550", stage)
    assert (server.accepted, server.after, handover.begun) == ([], [b".\r\n"], False)
    server.queued = "250 queued"
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert server.connections == 1


async def test_a_recipient_without_a_sender_gets_no_empty_mail(
    open_: Open, serving: Servers
) -> None:
    server = await serving(("550 5.7.1 who are you", "250 ok", "354 go on"))
    channel = opened(open_, server)
    outcome = await channel.send(message(HELLO))
    assert told(outcome) == ("refused", "smtp_550", "sender")
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert server.after == []
    assert (server.connections, len(server.accepted)) == (2, 1)


@pytest.mark.parametrize(
    ("answers", "code", "stage"),
    [
        ((None,), "connection_lost", "sender"),
        (("250 ok", None), "connection_lost", "recipient"),
        (("250 ok", "250 ok", None), "connection_lost", "content"),
        (("",), "timeout", "sender"),
        (("250 ok", ""), "timeout", "recipient"),
        (("250 ok", "250 ok", ""), "timeout", "content"),
        (("250 ok", "354 go on", ""), "invalid_reply", "recipient"),
        (("250 ok", "250 ok", "250 ok", "354 go on"), "invalid_reply", "content"),
        (("250 ok", "250 ok", "354 go on", "250 queued"), "invalid_reply", "content"),
        (("250 ok", "250 ok", "354 go on", "25"), "invalid_reply", "content"),
        (("250 ok", "250 ok", "hello"), "invalid_reply", "content"),
        (("2" * 40_000,), "invalid_reply", "sender"),
        (("250-ok\r\n" * 8_000 + "250 ok",), "invalid_reply", "sender"),
    ],
)
async def test_a_server_that_does_not_keep_step_is_away_and_gets_no_content(
    open_: Open, serving: Servers, answers: tuple[str | None, ...], code: str, stage: str
) -> None:
    server = await serving(answers)
    handover = Handover()
    outcome = await opened(open_, server, 0.3).send(message(HELLO, handover=handover))
    assert told(outcome) == ("unreachable", code, stage)
    assert (handover.begun, server.accepted) == (False, [])


async def test_a_server_that_loses_what_comes_together_is_talked_to_one_by_one(
    open_: Open, serving: Servers
) -> None:
    server = await serving()
    server.careless = True
    channel = opened(open_, server, 0.3)
    assert told(await channel.send(message(HELLO))) == ("unreachable", "timeout", "recipient")
    assert (await channel.send(message(HELLO))).kind == "sent"
    assert [group[0][:4] for group in server.heard] == ["MAIL", "MAIL", "RCPT", "DATA"]


async def test_a_connection_lost_while_the_slot_is_waited_for_has_had_no_content(
    open_: Open, serving: Servers
) -> None:
    server = await serving(("250 ok", "250 ok", "354 go on"))
    loop = asyncio.get_running_loop()
    handover = Handover(leave_from=loop.time() + 0.3)
    sending = asyncio.create_task(opened(open_, server).send(message(HELLO, handover=handover)))
    async with asyncio.timeout(5):
        while not server.heard:
            await asyncio.sleep(0)
    loop.call_later(0.1, server.writers[-1].transport.abort)
    outcome = await sending
    assert told(outcome) == ("unreachable", "connection_lost", "content")
    assert not handover.begun


async def test_a_reply_too_many_to_the_content_is_not_taken_for_the_next_messages(
    open_: Open, serving: Servers
) -> None:
    server = await serving()
    server.queued = "250 queued\r\n250 and again"
    channel = opened(open_, server)
    assert (await channel.send(message(HELLO))).kind == "sent"
    await asyncio.sleep(0)
    server.queued = "250 queued"
    server.groups = [("250 ok", "550 5.1.1 no such user", "503 nobody")]
    assert told(await channel.send(message(HELLO))) == ("refused", "smtp_550", "recipient")
    assert server.connections == 2


REPLIES = ("250 ok", "354 go on", "421 bye", "450 later", "550 no", "999 what", None)


@pytest.mark.slow
async def test_no_answers_make_content_leave_but_the_right_ones(
    open_: Open, serving: Servers
) -> None:
    server = await serving()
    for answers in itertools.product(REPLIES, repeat=3):
        server.groups = [answers]
        channel = opened(open_, server, 0.2)
        handover = Handover()
        outcome = await channel.send(message(HELLO, handover=handover))
        await channel.aclose()
        right = answers == ("250 ok", "250 ok", "354 go on")
        assert handover.begun == right, answers
        assert (outcome.kind in ("sent", "maybe_sent")) == right, answers
        assert outcome.kind in ("sent", "refused", "unreachable"), answers
        assert len(server.accepted) == right, answers
        server.accepted.clear()
