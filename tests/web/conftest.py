"""The application under uvicorn on loopback, and mails with links to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from dripdrop import Vault
from dripdrop.web import app
from dripdrop.web.server import configuration
from tests.conftest import Clock
from tests.daemon.conftest import KEY, OpenWorker, endpoint, mail, open_worker, senders, servers
from tests.daemon.servers import PATIENCE, MailServer
from tests.engine import TENANT, Engine, email

__all__ = ["endpoint", "mail", "open_worker", "senders", "servers"]

BASE = "https://mail.acme.example"

Open = Callable[..., httpx.Client]


@pytest.fixture
def open_site(dsn: str, clock: Clock) -> Iterator[Open]:
    """Serve the application under the test's clock, and return a client of it."""
    with ExitStack() as stack:

        def start(
            where: str = dsn,
            vault: Callable[[], Vault] = lambda: Vault(KEY),
        ) -> httpx.Client:
            site = app(where, vault=vault, clock=lambda: clock.now)
            port = stack.enter_context(serving(site))
            return stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))

        yield start


@pytest.fixture
def site(open_site: Open) -> httpx.Client:
    """A client of the application."""
    return open_site()


@contextmanager
def serving(application: Any) -> Iterator[int]:
    """Run the application in a thread as `dripdrop web` does; give its port."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(configuration(application, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(PATIENCE), "it never came to listen"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Sent:
    """A mail that somebody got, and the way out that stands in it."""

    enrollment: Any
    content: bytes

    @property
    def headers(self) -> EmailMessage:
        """The mail, parsed."""
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def path(self) -> str:
        """The path of the URL in List-Unsubscribe."""
        url = str(self.headers["List-Unsubscribe"]).partition(">")[0].removeprefix("<")
        assert url.startswith(f"{BASE}/u/")
        return urlsplit(url).path


Reach = Callable[..., Sent]


@pytest.fixture
def reach(
    engine: Engine, senders: dict[str, Any], mail: MailServer, open_worker: OpenWorker
) -> Reach:
    """Return a function that lets a sequence run to its first mail, and returns that."""
    engine.update_tenant_settings(TENANT, unsubscribe_url=BASE)

    async def work() -> None:
        async with open_worker() as worker:
            await worker.run_until_idle()

    def run(*steps: Any, subscriber: str = "sam", **fields: Any) -> Sent:
        engine.author(*(steps or (email("welcome"),)), **fields)
        enrollment = engine.join(subscriber)
        asyncio.run(work())
        (content,) = (
            each.content for each in mail.mails if each.recipient == f"{subscriber}@example.com"
        )
        return Sent(enrollment, content)

    return run
