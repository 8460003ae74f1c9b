"""Servers to send to, senders that reach them, and workers under the test's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from dripdrop import Vault
from dripdrop.channels import ChannelSettings
from dripdrop.daemon import Settings, Worker
from dripdrop.vault import to_text
from tests.conftest import Clock
from tests.daemon.servers import Endpoint, MailServer, serving
from tests.engine import TENANT, Engine, email

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
PASSWORD = "sesame-7316"
WEBHOOK_SECRET = "whsec_c2VzYW1lLTczMTY="

NOTIFY = {"key": "notify", "channel": "webhook", "template": {"body": {"name": "{{ name }}"}}}
"""A step that is a webhook."""

OpenWorker = Callable[..., Worker]


@pytest.fixture
def servers() -> Iterator[tuple[MailServer, Endpoint]]:
    """A mail server and an HTTP endpoint."""
    with serving() as both:
        yield both


@pytest.fixture
def mail(servers: tuple[MailServer, Endpoint]) -> MailServer:
    """The mail server."""
    return servers[0]


@pytest.fixture
def endpoint(servers: tuple[MailServer, Endpoint]) -> Endpoint:
    """The HTTP endpoint."""
    return servers[1]


def smtp(port: int) -> dict[str, Any]:
    """Return the credentials of an account at a mail server on this machine."""
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "from": "Acme <hello@acme.example>",
        "password": PASSWORD,
    }


def sealed(credentials: dict[str, Any], name: str = "email", key: str = KEY) -> str:
    """Return what `dripdrop seal` prints for a sender of the tenant."""
    return to_text(Vault(key).seal(credentials, TENANT, name))


@pytest.fixture
def senders(engine: Engine, mail: MailServer, endpoint: Endpoint) -> dict[str, UUID]:
    """The default senders by channel; their credentials are sealed."""
    webhook = {"secret": WEBHOOK_SECRET, "url": endpoint.url}
    credentials = {"email": ("smtp", smtp(mail.port)), "webhook": ("default", webhook)}
    return {
        channel: engine.create_channel_adapter(
            TENANT, channel, channel, provider, sealed(each, channel), is_default=True
        ).id
        for channel, (provider, each) in credentials.items()
    }


@pytest.fixture
def mailing(engine: Engine, senders: dict[str, UUID]) -> Engine:
    """The engine with a sequence to join that is one email, at once."""
    engine.author(email("welcome"))
    return engine


@pytest.fixture
def open_worker(dsn: str, clock: Clock) -> OpenWorker:
    """Make workers under the test's clock."""
    direct = dsn

    def make(
        vault: Callable[[], Vault] = lambda: Vault(KEY), dsn: str = direct, **settings: Any
    ) -> Worker:
        channels = ChannelSettings(allow_http=True, allow_private=True)
        return Worker(
            dsn, Settings(channels=channels, **settings), vault=vault, clock=lambda: clock.now
        )

    return make
