"""Mend what crashes leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker


class Reconcile:
    """Calls `dripdrop.reconcile()`, now and then."""

    name = "reconcile"
    feeds: tuple[str, ...] = ("tick", "send")

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.interval = worker.settings.reconcile_interval

    @property
    def over(self) -> bool:
        """At once."""
        return self.worker.stopping.is_set()

    async def step(self) -> bool:
        """Look over everything that is under way."""
        async with self.worker.database() as database:
            counts = await database.reconcile(self.worker.settings.unknown_grace)
        if not any(counts):
            return False
        self.worker.log.warning("reconciled", **counts._asdict())
        return True
