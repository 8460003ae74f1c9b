"""Say who keeps messages waiting by a transaction that stays open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker


class Watch:
    """Calls `dripdrop.open_transactions()`, and warns of each transaction once."""

    name = "watch"
    feeds: tuple[str, ...] = ()

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.patience = worker.settings.patience
        self.interval = self.patience.total_seconds()
        self._known: set[tuple[object, ...]] = set()

    @property
    def over(self) -> bool:
        """At once."""
        return self.worker.stopping.is_set()

    async def step(self) -> bool:
        """Look once; there is never more to do at once."""
        async with self.worker.database() as database:
            found = await database.open_transactions(self.patience)
        for each in found:
            if (each.pid, each.since) not in self._known:
                self.worker.log.warning(
                    "open_transaction",
                    pid=each.pid,
                    role=each.role,
                    application=each.application,
                    since=each.since.isoformat(),
                    stops=each.stops,
                    tables=each.tables,
                )
        self._known = {(each.pid, each.since) for each in found}
        return False
