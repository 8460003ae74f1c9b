"""Record what became of the messages."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from dripdrop.errors import StaleFence

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker

_LINGER = 0.01  # seconds in which further outcomes join a batch


class Record:
    """Hands outcomes to `dripdrop.complete_sends()`, in batches, and keeps them until it has."""

    name = "record"
    feeds: tuple[str, ...] = ("tick", "send")

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.interval = worker.settings.interval
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    @property
    def over(self) -> bool:
        """When everything that was claimed is recorded."""
        return self.worker.stopping.is_set() and not self.worker.send.in_flight

    def add(self, channel: str, claim: Any, outcome: dict[str, Any]) -> None:
        """Take the outcome of a claim."""
        result = outcome | {"execution": str(claim.execution_id), "fence": claim.fence}
        self._waiting.append((channel, result))
        if len(self._waiting) == 1:
            self.worker.wake(self.name)

    async def step(self) -> bool:
        """Record one batch."""
        if not self._waiting:
            return False
        if len(self._waiting) < self.worker.settings.batch_size:
            await asyncio.sleep(_LINGER)
        batch = self._waiting[: self.worker.settings.batch_size]
        try:
            async with self.worker.database() as database:
                await database.complete_sends([result for _, result in batch])
        except StaleFence as error:
            # Too late, or recorded before the database's answer was lost. Either way it is over.
            stale = set(json.loads(error.diag.message_detail or "[]"))
            batch = [each for each in batch if each[1]["execution"] in stale]
            for _, result in batch:
                self.worker.log.warning(
                    "stale_outcome", execution=result["execution"], outcome=result["outcome"]
                )
        else:
            self._tell(batch)
        self._forget(batch)
        return True

    def _forget(self, done: list[tuple[str, dict[str, Any]]]) -> None:
        gone = {id(result) for _, result in done}
        self._waiting = [each for each in self._waiting if id(each[1]) not in gone]
        for channel, count in Counter(channel for channel, _ in done).items():
            self.worker.send.recorded(channel, count)

    def _tell(self, batch: list[tuple[str, dict[str, Any]]]) -> None:
        for _, result in batch:
            if result["outcome"] != "sent":
                self.worker.log.info(
                    "not_sent",
                    execution=result["execution"],
                    outcome=result["outcome"],
                    code=result["code"],
                    detail=result.get("detail", ""),
                )
        self.worker.log.info("recorded", **Counter(result["outcome"] for _, result in batch))
