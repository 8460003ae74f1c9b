"""Decide what is due."""

from __future__ import annotations

from dripdrop.daemon.stage import Stage


class Tick(Stage):
    """Calls `dripdrop.tick()`."""

    name = "tick"
    feeds = ("hooks", "render")

    async def step(self) -> bool:
        """Decide one batch."""
        async with self.desk.database() as database:
            counts = await database.tick(self.desk.settings.batch_size)
            if not any(counts):
                # What comes due, or has room again, is looked at when it does.
                self.interval = min(await database.next_due(), self.desk.settings.interval)
                return False
        self.desk.log.debug("ticked", **counts._asdict())
        return True
