"""Record what became of the messages."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.halve import halved, is_nobodys
from dripdrop.daemon.stage import Stage
from dripdrop.errors import StaleFence
from dripdrop.faults import Kind, kind_of

_LINGER = 0.01  # seconds in which further outcomes join a batch


class _Outcome(NamedTuple):
    """What became of an execution, and whom to tell once it is recorded."""

    execution: UUID
    result: dict[str, Any]
    recorded: Callable[[], None]


class Record(Stage):
    """Hands outcomes to `dripdrop.complete_sends()`, in batches, and keeps them until it has."""

    name = "record"
    feeds = ("tick", "send")

    def __init__(self, desk: Desk) -> None:
        """Wait for outcomes."""
        super().__init__(desk)
        self.claimed: Counter[str] = Counter()
        """How many messages of each channel are claimed and not yet recorded."""
        self._waiting: list[_Outcome] = []

    @property
    def over(self) -> bool:
        """When everything that was claimed is recorded."""
        return super().over and not self.in_flight

    @property
    def in_flight(self) -> int:
        """How many messages are claimed and not yet recorded."""
        return self.claimed.total()

    @property
    def answered(self) -> list[UUID]:
        """The messages that are sent and not yet recorded as such: they take no place any more."""
        return [each.execution for each in self._waiting if each.result["outcome"] == "sent"]

    def add(self, claim: Any, outcome: dict[str, Any], recorded: Callable[[], None]) -> None:
        """Take the outcome of a claim, and whom to tell once it is recorded."""
        result = outcome | {"execution": str(claim.execution_id), "fence": claim.fence}
        self._waiting.append(_Outcome(claim.execution_id, result, recorded))
        if len(self._waiting) == 1:
            self.desk.wake(self.name)

    async def step(self) -> bool:
        """Record one batch."""
        if not self._waiting:
            return False
        if len(self._waiting) < self.desk.settings.batch_size:
            await asyncio.sleep(_LINGER)
        batch = self._waiting[: self.desk.settings.batch_size]
        await halved(batch, self._hand_in, self._give_up)
        return True

    async def _hand_in(self, batch: Sequence[_Outcome]) -> None:
        try:
            async with self.desk.database() as database:
                await database.complete_sends([each.result for each in batch])
        except StaleFence as error:
            # Too late, or recorded before the database's answer was lost. Either way it is over.
            stale = _stale(error)
            lost = [each for each in batch if str(each.execution) in stale]
            if not lost:
                raise
            for each in lost:
                self.desk.log.warning(
                    "stale_outcome", execution=str(each.execution), outcome=each.result["outcome"]
                )
            self._forget(lost)
        else:
            self._tell(batch)
            self._forget(batch)

    async def _give_up(self, each: _Outcome, error: psycopg.Error) -> None:
        """Have a later tick record an outcome that the database does not take now.

        A database that refuses everything, a full disk, will take it when there is room again.
        """
        if kind_of(error) is Kind.REFUSING:
            raise error
        self.desk.log.error("not_recorded", execution=str(each.execution), sqlstate=error.sqlstate)
        try:
            async with self.desk.database() as database:
                await database.note_fault(
                    each.execution,
                    self.name,
                    str(error.sqlstate),
                    str(error.diag.message_primary),
                    each.result,
                )
        except psycopg.Error as again:
            if is_nobodys(again):
                raise
            self.desk.log.error("not_kept", execution=str(each.execution), sqlstate=again.sqlstate)
        self._forget([each])

    def _forget(self, done: Sequence[_Outcome]) -> None:
        gone = {id(each) for each in done}  # an execution may have been claimed again meanwhile
        self._waiting = [each for each in self._waiting if id(each) not in gone]
        for each in done:
            each.recorded()

    def _tell(self, batch: Sequence[_Outcome]) -> None:
        for execution, result, _ in batch:
            if result["outcome"] != "sent":
                self.desk.log.info(
                    "not_sent",
                    execution=str(execution),
                    outcome=result["outcome"],
                    code=result["code"],
                    detail=result.get("detail", ""),
                )
        self.desk.log.info("recorded", **Counter(each.result["outcome"] for each in batch))


def _stale(error: StaleFence) -> set[str]:
    """Return the executions whose claims were lost; none where somebody else raised the error."""
    try:
        return set(json.loads(error.diag.message_detail or ""))
    except (ValueError, TypeError):
        return set()
