"""An endpoint to call, hooks that call it, and functions of an application."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from dripdrop import Vault
from dripdrop.channels import ChannelSettings
from dripdrop.daemon import Settings, Worker
from dripdrop.hooks import HookCaller
from dripdrop.vault import to_text
from tests.conftest import Clock
from tests.daemon.servers import PATIENCE, Observed
from tests.engine import TENANT, Engine, email

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRET = "sesame-7316"
OPEN = ChannelSettings(allow_http=True, allow_private=True)
GUARDED = ChannelSettings(allow_http=True)

SCORED = email("welcome", template={"subject": "Hello", "text": "Your score: {{ score }}"})
"""A step whose words name a hook."""


class Request:
    """What the endpoint was sent."""

    def __init__(self, request: web.Request, body: str) -> None:
        self.method = request.method
        self.target = request.raw_path
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.body = body
        self.at = time.monotonic()


class Endpoint(Observed):
    """An HTTP endpoint that answers with the next of `answers`, else with `answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.requests: list[Request] = []
        self.answers: list[tuple[int, str]] = []
        self.answer = (200, '{"score": 85}')
        self.headers: dict[str, str] = {}
        self.silent = False

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Listen no more, and leave those who wait without an answer."""
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.text()
        with self.change():
            self.requests.append(Request(request, body))
        if self.silent:
            await asyncio.sleep(PATIENCE)
        status, text = self.answers.pop(0) if self.answers else self.answer
        return web.Response(status=status, text=text, headers=self.headers)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """The endpoint, in a thread of its own."""
    endpoint = Endpoint()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(endpoint.start(), loop).result(PATIENCE)
    yield endpoint
    asyncio.run_coroutine_threadsafe(endpoint.close(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def sealed(fields: dict[str, Any], key: str = "score", under: str = KEY) -> str:
    """Return what `dripdrop seal hook:onboarding:KEY` prints."""
    return to_text(Vault(under).seal(fields, TENANT, f"hook:onboarding:{key}"))


def described(url: str, **fields: Any) -> dict[str, Any]:
    """Return an HTTP hook as `claim_hooks` hands it out."""
    return {
        "key": "score",
        "method": "POST",
        "url": url,
        "headers": {},
        "body_template": None,
        "auth_type": "none",
        "auth_config": None,
        "timeout_ms": 5000,
        "retry_count": 0,
        "tenant_key": TENANT,
        "seal_name": "hook:onboarding:score",
    } | fields


async def called(
    hook: dict[str, Any],
    variables: dict[str, Any] | None = None,
    settings: ChannelSettings = OPEN,
) -> dict[str, Any]:
    """Call a hook once; return the answer."""
    caller = HookCaller(settings, lambda: Vault(KEY))
    try:
        return await caller.call(hook, variables or {})
    finally:
        await caller.aclose()


@pytest.fixture
def hooked(engine: Engine) -> Engine:
    """The engine with the sequence to join, whose one step names the hook `score`."""
    engine.author(SCORED)
    return engine


def sequence_of(engine: Engine) -> UUID:
    """Return the id of the sequence."""
    found: UUID = engine.rows("select id from dripdrop.sequences")[0].id
    return found


def add_hook(engine: Engine, key: str = "score", **fields: Any) -> Any:
    """Add an HTTP hook to the sequence."""
    fields = {"url": "https://api.example.com/leads", "response_path": "score"} | fields
    return engine.create_http_hook(TENANT, sequence_of(engine), key, **fields)


def add_function(
    engine: Engine,
    body: str = "select to_jsonb(85)",
    key: str = "score",
    options: str = "security definer",
    **fields: Any,
) -> Any:
    """Make a function of the application and register it."""
    engine.connection.execute("create schema if not exists app")
    engine.connection.execute("grant usage on schema app to dripdrop_hooks")
    engine.connection.execute(
        f"create or replace function app.{key}(enrollment dripdrop.enrollments, context jsonb)"
        f" returns jsonb language sql {options} as $$ {body} $$".encode()
    )
    function = f"app.{key}(dripdrop.enrollments,jsonb)"
    return engine.create_hook(fields.pop("tenant_key", TENANT), key, function, **fields)


def waiting(engine: Engine, subscriber_id: str = "sam", **fields: Any) -> Any:
    """Enrol somebody and let the tick ask the hooks; return the execution."""
    enrollment = engine.join(subscriber_id, **fields)
    engine.tick()
    return engine.last(enrollment.id)


def answer(engine: Engine, claim: Any, **values: Any) -> int:
    """Hand in the answers of one claimed execution; return how many were taken."""
    result = {
        "execution": str(claim.execution_id),
        "fence": claim.fence,
        "message": claim.message_id,
        "values": values,
    }
    return int(engine.complete_hooks([result]))


OpenWorker = Callable[..., Worker]


@pytest.fixture
def open_worker(dsn: str, clock: Clock) -> OpenWorker:
    """Make workers under the test's clock."""

    def make(channels: ChannelSettings = OPEN, **settings: Any) -> Worker:
        settings = {"channels": channels} | settings
        return Worker(dsn, Settings(**settings), vault=lambda: Vault(KEY), clock=lambda: clock.now)

    return make
