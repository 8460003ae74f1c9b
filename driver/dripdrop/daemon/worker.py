"""One worker: a connection pool, the stages as loops beside each other, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson
import psycopg
import structlog
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from dripdrop.channels import Adapter, Channel, ChannelSettings, open_channel
from dripdrop.client import AsyncClient
from dripdrop.daemon.hooks import FUNCTIONS, Hooks
from dripdrop.daemon.reading import read_json
from dripdrop.daemon.reconcile import Reconcile
from dripdrop.daemon.record import Record
from dripdrop.daemon.render import Render
from dripdrop.daemon.send import Send
from dripdrop.daemon.tick import Tick
from dripdrop.templates.process import RenderProcess
from dripdrop.vault import Vault

_UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
_LONGEST_WAIT = 30.0
_CONNECTIONS = 6 + FUNCTIONS  # one per stage, and those that hooks run on


@dataclass(frozen=True)
class Settings:
    """How a worker goes about it. Plain numbers are seconds or messages."""

    batch_size: int = 500
    interval: float = 1.0
    """How long a stage that found nothing waits before it looks again."""
    reconcile_interval: float = 60.0
    unknown_grace: timedelta = timedelta(minutes=15)
    lease: timedelta = timedelta(minutes=2)
    in_flight: int = 40
    """Messages per channel that are claimed and not yet recorded, at most.

    It is also how many a worker that is killed leaves uncertain."""
    in_flight_per_adapter: int = 20
    """Messages being sent through one adapter, unless its config says max_in_flight."""
    hooks_in_flight: int = 40
    """Executions whose hooks are being called, at most."""
    grace: float = 20.0
    """How long what is being sent may take once the worker was told to stop."""
    channels: ChannelSettings = field(default_factory=ChannelSettings.from_environment)


class Stage(Protocol):
    """A part of the pipeline that is repeated."""

    name: str
    interval: float
    """How many seconds it waits when it found nothing to do."""
    feeds: tuple[str, ...]
    """The stages that may have something to do once this one had."""

    async def step(self) -> bool:
        """Do one batch, and say whether there was anything to do."""

    @property
    def over(self) -> bool:
        """Whether the stage has come to its end, now that the worker stops."""


class Worker:
    """Runs every stage against one database until it is told to stop.

    `clock` replaces the database's clock, for demonstrations and tests: every call runs under
    `dripdrop.now`. `open_channel` replaces how channels are made. The vault is asked for when an
    adapter with sealed credentials is first met.
    """

    def __init__(
        self,
        dsn: str,
        settings: Settings | None = None,
        *,
        vault: Callable[[], Vault] = Vault.from_environment,
        clock: Callable[[], datetime] | None = None,
        open_channel: Callable[[Adapter, ChannelSettings], Channel] = open_channel,
    ) -> None:
        """Prepare without connecting."""
        self.settings = settings or Settings()
        self.vault = vault
        self.open_channel = open_channel
        self.log = structlog.get_logger("dripdrop")
        self.stopping = asyncio.Event()
        self._clock = clock
        self._pool = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=_CONNECTIONS,
            open=False,
            timeout=10,
            kwargs={"autocommit": True, "application_name": "dripdrop"},
            configure=_configure,
        )
        self.rendering = RenderProcess()
        self.record = Record(self)
        self.send = Send(self)
        self.hooks = Hooks(self)
        self._reconcile = Reconcile(self)
        self.stages: tuple[Stage, ...] = (
            Tick(self),
            self.hooks,
            Render(self),
            self.send,
            self.record,
            self._reconcile,
        )
        self._news = {stage.name: asyncio.Event() for stage in self.stages}

    async def __aenter__(self) -> Worker:
        """Open the connection pool."""
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channels and the pool."""
        await self.send.aclose()
        await self.hooks.aclose()
        await self.rendering.aclose()
        await self._pool.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[AsyncClient]:
        """Lend a client: each call commits by itself, or with the others under the clock."""
        async with self._pool.connection() as connection:
            client = AsyncClient(connection)
            if self._clock is None:
                yield client
                return
            async with connection.transaction():
                now = self._clock().isoformat()
                await connection.execute("select set_config('dripdrop.now', %s, true)", [now])
                yield client

    async def run(self) -> None:
        """Work until `stop` is called; then let what is being sent finish, within the grace.

        Raises what a stage raised; that ends the worker in the same orderly way.
        """
        loops = [asyncio.create_task(self._repeat(stage)) for stage in self.stages]
        for loop in loops:
            loop.add_done_callback(lambda _: self.stop())
        await self.stopping.wait()
        self.log.info("stopping", in_flight=self.send.in_flight)
        await self._drain()
        _, late = await asyncio.wait(loops, timeout=self.settings.grace)
        for loop in late:
            loop.cancel()
            self.log.error("not_recorded", in_flight=self.send.in_flight)
        for ended in await asyncio.gather(*loops, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def run_until_idle(self) -> None:
        """Do what is due now, and all that follows from it at once; less when it is stopped."""
        await self._reconcile.step()
        stages = [stage for stage in self.stages if stage is not self._reconcile]
        outside = [self._news[stage.name] for stage in (self.hooks, self.record)]
        while not self.stopping.is_set():
            for news in outside:
                news.clear()
            if any([await stage.step() for stage in stages]):
                continue
            if not (self.send.in_flight or self.hooks.in_flight):
                return
            await self._rest(self.settings.interval, *outside)
        await self._drain()
        while await self.record.step() or await self.hooks.step():
            pass

    def stop(self) -> None:
        """Claim nothing more, and come to an end."""
        self.stopping.set()
        self.wake(*self._news)

    def wake(self, *stages: str) -> None:
        """Tell stages that wait that there may be something to do."""
        for name in stages:
            self._news[name].set()

    async def _repeat(self, stage: Stage) -> None:
        """Repeat a stage until it is over: at once while there is work, else after a wait.

        A database that is away is waited for: what was claimed is recorded when it is back.
        """
        failures = 0
        while not stage.over:
            self._news[stage.name].clear()
            try:
                busy = await stage.step()
            except _UNREACHABLE as error:
                failures += 1
                wait = min(0.1 * 2**failures, _LONGEST_WAIT)
                self.log.warning(
                    "database_unreachable", stage=stage.name, error=type(error).__name__, wait=wait
                )
                await self._pool.check()  # one lost connection is seldom the only one
                await self._rest(wait, self.stopping)
                continue
            failures = 0
            if busy:
                self.wake(*stage.feeds)
            else:
                await self._rest(stage.interval, self._news[stage.name])

    async def _drain(self) -> None:
        """Let what is under way outside the database finish, within the grace."""
        await asyncio.gather(
            self.send.drain(self.settings.grace), self.hooks.drain(self.settings.grace)
        )

    async def _rest(self, seconds: float, *until: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in until]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Read and write jsonb with orjson: batches are large. No value ends more than its row."""
    set_json_dumps(orjson.dumps, connection)
    set_json_loads(read_json, connection)
