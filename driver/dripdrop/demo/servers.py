"""The other ends: a mail server and a webhook endpoint, on this machine, both real."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import partial
from pathlib import Path

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook

_TOLERANCE = timedelta(minutes=5)  # Standard Webhooks 1.0, "Verifying webhook authenticity"


class MailServer:
    """Keeps what it takes by SMTP (RFC 5321) as .eml files, and refuses addresses it has not got.

    Attributes:
        port: where it listens on the loopback interface, while it is `running`.
        delivered: the step and the address of every message, in the order of arrival.
    """

    def __init__(self, folder: Path, unknown: Collection[str]) -> None:
        """Keep messages in `folder`, none for the `unknown` addresses."""
        self.port = 0
        self.delivered: list[tuple[str, str]] = []
        self._folder = folder
        self._unknown = unknown

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MailServer]:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(SMTP, self, loop=loop), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient or refuse it: 5.1.1 is a mailbox that does not exist (RFC 3463)."""
        if address in self._unknown:
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep a message."""
        assert isinstance(envelope.original_content, bytes)
        step = message_from_bytes(envelope.original_content)["X-Step"]
        for address in envelope.rcpt_tos:
            self.delivered.append((step, address))
            file = self._folder / f"{len(self.delivered):03}-{step}-{address}.eml"
            file.write_bytes(envelope.original_content)
        return "250 2.0.0 OK"


class Endpoint:
    """Takes webhooks that are signed as Standard Webhooks 1.0 says.

    Attributes:
        url: where to post, while it is `running`.
        accepted: the step and the user's id of every webhook, in the order of arrival.
        refused: how many came with a wrong signature or at a wrong time.
    """

    def __init__(self, secret: str, clock: Callable[[], datetime]) -> None:
        """Expect signatures made with `secret`, at about the time that `clock` tells."""
        self.url = ""
        self.accepted: list[tuple[str, str]] = []
        self.refused = 0
        self._webhook = Webhook(secret)
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Endpoint]:
        """Listen on a free port."""
        application = web.Application()
        application.add_routes([web.post("/webhooks", self._receive)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks"
            yield self
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        if not self._is_authentic(request, await request.text()):
            self.refused += 1
            return web.Response(status=401)
        body = await request.json()
        self.accepted.append((body["step"], body["user"]))
        return web.Response(status=204)

    def _is_authentic(self, request: web.Request, content: str) -> bool:
        """Say what `Webhook.verify` would, which knows no other clock than the machine's."""
        sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        signature = self._webhook.sign(request.headers["webhook-id"], sent_at, content)
        return abs(self._clock() - sent_at) <= _TOLERANCE and hmac.compare_digest(
            signature, request.headers["webhook-signature"]
        )
