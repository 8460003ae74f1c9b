"""One worker: its connections, the stages as loops beside each other, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson
import psycopg
import structlog
from psycopg.types.json import set_json_dumps, set_json_loads

from dripdrop.channels import Adapter, Channel, ChannelSettings, open_channel
from dripdrop.client import AsyncClient
from dripdrop.connections import Connections
from dripdrop.daemon.health import SECONDS, Health, StagesFailed
from dripdrop.daemon.hooks import FUNCTIONS, Hooks
from dripdrop.daemon.reading import read_json
from dripdrop.daemon.reconcile import Reconcile
from dripdrop.daemon.record import Record
from dripdrop.daemon.render import Render
from dripdrop.daemon.send import Send
from dripdrop.daemon.tick import Tick
from dripdrop.daemon.watch import Watch
from dripdrop.faults import Kind, kind_of
from dripdrop.templates.process import RenderProcess
from dripdrop.vault import Vault

_CONNECTIONS = 7 + FUNCTIONS  # one per stage, and those that hooks run on


@dataclass(frozen=True)
class Settings:
    """How a worker goes about it. Plain numbers are seconds or messages."""

    batch_size: int = 500
    interval: float = 1.0
    """How long a stage that found nothing waits before it looks again."""
    reconcile_interval: float = 60.0
    unknown_grace: timedelta = timedelta(minutes=15)
    patience: timedelta = timedelta(seconds=10)
    """How long a transaction may stay open that keeps messages waiting, until the log says so."""
    lease: timedelta = timedelta(minutes=2)
    in_flight: int = 1000
    """Messages per channel that are claimed and not yet recorded, at most."""
    in_flight_per_adapter: int | None = None
    """Messages being sent through one adapter, at most, where its channel has more places.

    It is also how many of that sender a worker that is killed leaves uncertain."""
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
        self._connections = Connections(dsn, _CONNECTIONS, self._configure)
        self._health = Health(self.log)
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
            Watch(self),
        )
        self._news = {stage.name: asyncio.Event() for stage in self.stages}

    async def __aenter__(self) -> Worker:
        """Do nothing yet: connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channels and the connections."""
        await self.send.aclose()
        await self.hooks.aclose()
        await self.rendering.aclose()
        await self._connections.aclose()

    @asynccontextmanager
    async def database(self, seconds: float | None = None) -> AsyncIterator[AsyncClient]:
        """Lend a client whose calls are one transaction, committed at the end of the block.

        A call may take `seconds`; else what its stage is given. `faults.Uncertain` is raised when
        what was called may have been done; after any other error it was not.
        """
        now = None if self._clock is None else self._clock()
        async with self._connections.transaction(seconds or SECONDS.get(), now) as connection:
            yield AsyncClient(connection)

    async def run(self) -> None:
        """Work until `stop` is called; then let what is being sent finish, within the grace."""
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
        """Do what is due now, and all that follows from it at once; less when it is stopped.

        A database that is away or refuses is waited for, within the grace. A stage that fails is
        left out from then on.

        Raises:
            StagesFailed: a stage failed; the others have done what there was to do.
        """
        failed: dict[str, Exception] = {}
        await self._attempt(self._reconcile, failed)
        stages = [stage for stage in self.stages if stage is not self._reconcile]
        outside = [self._news[stage.name] for stage in (self.hooks, self.record)]
        while not self.stopping.is_set():
            for news in outside:
                news.clear()
            if any([await self._attempt(stage, failed) for stage in stages]):
                continue
            if not self._is_waited_for(failed):
                break
            await self._rest(self.settings.interval, *outside)
        await self._drain()
        while any([await self._attempt(stage, failed) for stage in (self.record, self.hooks)]):
            pass
        if failed:
            raise StagesFailed(failed)

    def _is_waited_for(self, failed: Collection[str]) -> bool:
        """Whether something outside will come back to a stage that works."""
        return any(
            stage.in_flight and record.name not in failed
            for stage, record in ((self.send, self.record), (self.hooks, self.hooks))
        )

    async def _attempt(self, stage: Stage, failed: dict[str, Exception]) -> bool:
        """Do one step of a stage, again where waiting helps; remember what did not help."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self.settings.grace
        while stage.name not in failed:
            try:
                with self._health.watching(stage.name):
                    return await stage.step()
            except Exception as error:
                wait = self._health.failed(stage.name, error)
                if kind_of(error) is Kind.OURS or loop.time() + wait > give_up:
                    failed[stage.name] = error
                else:
                    await self._rest(wait, self.stopping)
        return False

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

        Whatever it raises is logged, and it goes on after a pause; the other stages go on anyway.
        """
        while not stage.over:
            self._news[stage.name].clear()
            try:
                with self._health.watching(stage.name):
                    busy = await stage.step()
            except Exception as error:
                wait = self._health.failed(stage.name, error)
                if self.stopping.is_set():
                    await asyncio.sleep(min(wait, 0.5))
                else:
                    await self._rest(wait, self.stopping, self._health.back)
                continue
            if busy:
                self.wake(*stage.feeds)
            else:
                await self._rest(stage.interval, self._news[stage.name])

    def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Read and write jsonb with orjson: batches are large. No value ends more than its row.

        What the engine warns of, circuits that open and rows that are held, goes into the log.
        """
        set_json_dumps(orjson.dumps, connection)
        set_json_loads(read_json, connection)
        connection.add_notice_handler(self._warned)

    def _warned(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            said = {"detail": diagnostic.message_detail, "hint": diagnostic.message_hint}
            self.log.warning(
                diagnostic.message_primary, **{key: value for key, value in said.items() if value}
            )

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
