"""A mail server and an HTTP endpoint on loopback, in a thread of their own; and waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from functools import partial
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

PATIENCE = 30.0
"""Seconds after which what a test waits for is taken not to come."""


def wait_for(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds: for what only asking can tell, such as a query.

    Asking without a break would take the processor from what is waited for.
    """
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it never came to that"
        time.sleep(0.01)


@dataclass(frozen=True)
class Mail:
    """What the mail server has taken."""

    recipient: str
    subject: str
    message_id: str
    content: bytes


class Observed:
    """Something that happens in another thread, and can be waited for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Return as soon as the condition holds."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), "it never came to that"

    @contextmanager
    def change(self) -> Iterator[None]:
        """Change what others wait for."""
        with self._changed:
            yield
            self._changed.notify_all()


class MailServer(Observed):
    """Takes every mail, counts what is under way, and calls `on_event` at each of its moments.

    The moments are EHLO, MAIL, RCPT, CONTENT (the mail has arrived, and counts) and REPLY (the
    answer to it is on its way). While it is held it keeps the replies to contents back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.mails: list[Mail] = []
        self.under_way = 0
        self.most_under_way = 0
        self.refusals: dict[str, str] = {}
        self.on_event: Callable[[str], None] = lambda event: None
        self._free = asyncio.Event()
        self._free.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen on a free port."""
        self._loop = loop
        self._server = await loop.create_server(partial(SMTP, self, loop=loop), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Call something in the server's thread after so many seconds."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.call_later, delay, call)

    def hold(self) -> None:
        """Keep replies back from now on."""
        self._free.clear()

    def release(self) -> None:
        """Give the replies that were kept back."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._free.set)

    def subjects(self, recipient: str) -> list[str]:
        """Return the subjects of the mails that somebody got, in order."""
        return [mail.subject for mail in self.mails if mail.recipient == recipient]

    def repeated(self) -> list[tuple[str, str]]:
        """Return recipient and subject of what somebody got more than once."""
        counts = Counter((mail.recipient, mail.subject) for mail in self.mails)
        return [each for each, count in counts.items() if count > 1]

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, lines: list[str]
    ) -> list[str]:
        self.on_event("EHLO")
        session.host_name = hostname
        return lines

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.on_event("MAIL")
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.on_event("RCPT")
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        with self.change():
            self.mails += [
                Mail(recipient, message["Subject"], message["Message-ID"], content)
                for recipient in envelope.rcpt_tos
            ]
            self.under_way += 1
            self.most_under_way = max(self.under_way, self.most_under_way)
        self.on_event("CONTENT")
        await self._free.wait()
        with self.change():
            self.under_way -= 1
        self.on_event("REPLY")
        return "250 OK"


class Endpoint(Observed):
    """An HTTP endpoint that answers with the next of `answers`, else 204, after `away` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.answers: list[web.Response] = []
        self.away = 0.0
        self.under_way = 0
        self.most_under_way = 0

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def close(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.json()
        with self.change():
            self.requests.append((headers, body))
            self.under_way += 1
            self.most_under_way = max(self.under_way, self.most_under_way)
        await asyncio.sleep(self.away)
        self.under_way -= 1
        return self.answers.pop(0) if self.answers else web.Response(status=204)


@contextmanager
def serving() -> Iterator[tuple[MailServer, Endpoint]]:
    """Run both servers in a thread."""
    mail, endpoint = MailServer(), Endpoint()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> None:
        await mail.start(loop)
        await endpoint.start()

    async def stop() -> None:
        mail.close()
        await endpoint.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
        yield mail, endpoint
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
