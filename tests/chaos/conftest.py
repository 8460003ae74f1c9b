"""Senders at servers that misbehave, and crowds of people to send to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar
from uuid import UUID

import pytest

from tests.chaos.relay import Relay, Server
from tests.daemon.conftest import WEBHOOK_SECRET, sealed
from tests.engine import TENANT, Engine, email, onboarding

AnyServer = TypeVar("AnyServer", bound=Server)

Serve = Callable[[AnyServer], AnyServer]


class Senders:
    """The engine with senders at real servers, each with a sequence of one message."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(self, server: Server, key: str = "onboarding", **limits: Any) -> UUID:
        """Add a sender and the sequence `key` that is sent through it; return the sender's id."""
        is_mail = isinstance(server, Relay)
        channel, provider = ("email", "smtp") if is_mail else ("webhook", "default")
        credentials = sealed(server.account | {"secret": WEBHOOK_SECRET}, key)
        adapter = self.engine.create_channel_adapter(TENANT, key, channel, provider, credentials)
        if limits:
            self.engine.set_adapter_limits(TENANT, adapter.id, **limits)
        step = (
            email(key)
            if is_mail
            else {"key": key, "channel": channel, "template": {"body": {"to": "{{ name }}"}}}
        )
        step["config"] = {"channel_adapter_rotation": [key]}
        self.engine.apply(TENANT, onboarding(step) | {"key": key})
        return UUID(str(adapter.id))

    def crowd(self, count: int, key: str = "onboarding", first: int = 0) -> None:
        """Enrol so many people."""
        people = [
            {
                "subscriber_id": f"{key}{number}",
                "data": {"email": f"{key}{number}@example.com", "name": f"{key}{number}"},
            }
            for number in range(first, first + count)
        ]
        assert len(self.engine.enroll_many(TENANT, key, people)) == count

    def states(self) -> dict[str, int]:
        """Return how many executions are in which state."""
        rows = self.engine.rows(
            "select state, count(*) as n from dripdrop.step_executions group by state"
        )
        return {row.state: row.n for row in rows}


@pytest.fixture
def senders(engine: Engine) -> Senders:
    """Senders, and crowds."""
    return Senders(engine)


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    """Run servers until the test ends."""
    with ExitStack() as stack:

        def run(server: AnyServer) -> AnyServer:
            stack.enter_context(server.running())
            return server

        yield run
