"""Decide what is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker


class Tick:
    """Calls `dripdrop.tick()`."""

    name = "tick"
    feeds: tuple[str, ...] = ("hooks", "render")

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.interval = worker.settings.interval

    @property
    def over(self) -> bool:
        """At once."""
        return self.worker.stopping.is_set()

    async def step(self) -> bool:
        """Decide one batch."""
        async with self.worker.database() as database:
            counts = await database.tick(self.worker.settings.batch_size)
            if not any(counts):
                # What comes due, or has room again, is looked at when it does.
                self.interval = min(await database.next_due(), self.worker.settings.interval)
                return False
        self.worker.log.debug("ticked", **counts._asdict())
        return True
