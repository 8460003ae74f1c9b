"""Mend what crashes leave behind, and let senders rest that bounce too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker


class Reconcile:
    """Calls `dripdrop.reconcile()` and `dripdrop.check_thresholds()`, now and then."""

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
            for rest in await database.check_thresholds():
                self.worker.log.warning(
                    "sender_rests",
                    tenant_key=rest.tenant_key,
                    adapter=rest.name,
                    reason=rest.reason,
                    rate=float(rest.rate),
                    until=rest.until.isoformat(),
                )
        if not any(counts):
            return False
        self.worker.log.warning("reconciled", **counts._asdict())
        return True
