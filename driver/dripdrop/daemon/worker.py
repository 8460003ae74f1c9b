"""One worker: its connections, the stages as loops beside each other, and an orderly end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

from dripdrop.channels import open_channel
from dripdrop.client import AsyncClient
from dripdrop.daemon.desk import Desk
from dripdrop.daemon.health import Health, StagesFailed
from dripdrop.daemon.hooks import FUNCTIONS, Hooks
from dripdrop.daemon.presence import Presence
from dripdrop.daemon.reconcile import Reconcile
from dripdrop.daemon.record import Record
from dripdrop.daemon.render import Render
from dripdrop.daemon.send import Send
from dripdrop.daemon.sender import OpenChannel
from dripdrop.daemon.settings import Settings
from dripdrop.daemon.stage import Stage
from dripdrop.daemon.tick import Tick
from dripdrop.daemon.watch import Watch
from dripdrop.errors import OtherVersion
from dripdrop.faults import Kind, kind_of
from dripdrop.templates.process import RenderProcess
from dripdrop.vault import Vault

_CONNECTIONS = 8 + FUNCTIONS  # one per stage, and those that hooks run on
_RECONCILED = 8  # times at most, at the beginning of `run_until_idle`


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
        open_channel: OpenChannel = open_channel,
    ) -> None:
        """Prepare without connecting."""
        self._settings = settings or Settings()
        self._desk = desk = Desk(dsn, _CONNECTIONS, self._settings, vault, clock)
        self.log = desk.log
        self._health = Health(desk.log)
        self._outdated: OtherVersion | None = None
        self.rendering = RenderProcess()
        self._record = Record(desk)
        self._send = Send(desk, self._record, open_channel)
        self.hooks = Hooks(desk, self.rendering)
        self._reconcile = Reconcile(desk)
        self._presence = Presence(desk, self._doing)
        render = Render(desk, self.rendering, self._send.take_rendered)
        self.stages: tuple[Stage, ...] = (
            Tick(desk, render),
            self.hooks,
            render,
            self._send,
            self._record,
            self._reconcile,
            Watch(desk),
            self._presence,
        )

    async def __aenter__(self) -> Worker:
        """Do nothing yet: connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channels and the connections."""
        await self._send.aclose()
        await self.hooks.aclose()
        await self.rendering.aclose()
        await self._presence.aclose()
        await self._desk.aclose()

    def _doing(self) -> dict[str, Any]:
        """Return what `dripdrop.note_worker()` is told."""
        return {"in_flight": self._send.in_flight, "failing": self._health.failing}

    def database(self) -> AbstractAsyncContextManager[AsyncClient]:
        """Lend a client as the stages use it, see `Desk.database`."""
        return self._desk.database()

    async def run(self) -> None:
        """Work until `stop` is called; then let what is being sent finish, within the grace.

        Raises:
            OtherVersion: the schema has become another version's; what was held is recorded.
        """
        loops = [asyncio.create_task(self._repeat(stage)) for stage in self.stages]
        for loop in loops:
            loop.add_done_callback(lambda _: self.stop())
        await self._desk.stopping.wait()
        self.log.info("stopping", in_flight=self._record.in_flight)
        await self._drain()
        _, late = await asyncio.wait(loops, timeout=self._settings.grace)
        for loop in late:
            loop.cancel()
            self.log.error("not_recorded", in_flight=self._record.in_flight)
        for ended in await asyncio.gather(*loops, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        if self._outdated is not None:
            raise self._outdated

    async def run_until_idle(self) -> None:
        """Do what is due now, and all that follows from it at once; less when it is stopped.

        A database that is away or refuses is waited for, within the grace. A stage that fails is
        left out from then on.

        Raises:
            OtherVersion: as `run`.
            StagesFailed: a stage failed; the others have done what there was to do.
        """
        failed: dict[str, Exception] = {}
        for _ in range(_RECONCILED):
            if not await self._attempt(self._reconcile, failed):
                break
        stages = [stage for stage in self.stages if stage is not self._reconcile]
        outside = [self._desk.news[stage.name] for stage in (self.hooks, self._record)]
        while not self._desk.stopping.is_set():
            for news in outside:
                news.clear()
            if any([await self._attempt(stage, failed) for stage in stages]):
                continue
            if not self._is_waited_for(failed):
                break
            await self._rest(self._settings.interval, *outside)
        await self._drain()
        while any([await self._attempt(stage, failed) for stage in (self._record, self.hooks)]):
            pass
        if self._outdated is not None:
            raise self._outdated
        if failed:
            raise StagesFailed(failed)

    async def _step(self, stage: Stage) -> bool:
        """Do one step; one that has used up its time, because of some row, has left others."""
        began = time.monotonic()
        with self._health.watching(stage.name) as limit:
            busy = await stage.step()
        return busy or time.monotonic() - began >= limit

    def _is_waited_for(self, failed: Collection[str]) -> bool:
        """Whether something outside will come back to a stage that works."""
        stages = (self._record, self.hooks)
        return any(stage.in_flight and stage.name not in failed for stage in stages)

    async def _attempt(self, stage: Stage, failed: dict[str, Exception]) -> bool:
        """Do one step of a stage, again where waiting helps; remember what did not help."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._settings.grace
        while stage.name not in failed:
            try:
                return await self._step(stage)
            except OtherVersion as error:
                self._stop_as_outdated(error)
                return False
            except Exception as error:
                wait = self._health.failed(stage.name, error)
                if kind_of(error) is Kind.OURS or loop.time() + wait > give_up:
                    failed[stage.name] = error
                else:
                    await self._rest(wait, self._desk.stopping)
        return False

    def stop(self) -> None:
        """Claim nothing more, and come to an end."""
        self._desk.stop()

    def _stop_as_outdated(self, error: OtherVersion) -> None:
        """Stop because the schema is of another version now: whatever is claimed is refused."""
        if self._outdated is None:
            self._outdated = error
            said = error.diag
            self.log.error("version_mismatch", detail=said.message_primary, hint=said.message_hint)
        self.stop()

    async def _repeat(self, stage: Stage) -> None:
        """Repeat a stage until it is over: at once while there is work, else after a wait.

        Whatever it raises is logged, and it goes on after a pause; the other stages go on anyway.
        """
        while not stage.over:
            self._desk.news[stage.name].clear()
            try:
                busy = await self._step(stage)
            except OtherVersion as error:
                self._stop_as_outdated(error)
                continue
            except Exception as error:
                wait = self._health.failed(stage.name, error)
                if self._desk.stopping.is_set():
                    await asyncio.sleep(min(wait, 0.5))
                else:
                    await self._rest(wait, self._desk.stopping, self._health.back)
                continue
            if busy:
                self._desk.wake(*stage.feeds)
            else:
                await self._rest(stage.interval, self._desk.news[stage.name])

    async def _drain(self) -> None:
        """Let what is under way outside the database finish, within the grace."""
        await asyncio.gather(
            self._send.drain(self._settings.grace), self.hooks.drain(self._settings.grace)
        )

    async def _rest(self, seconds: float, *until: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in until]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
