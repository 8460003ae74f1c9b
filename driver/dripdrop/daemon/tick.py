"""Decide what is due."""

from __future__ import annotations

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.render import Render
from dripdrop.daemon.stage import Stage


class Tick(Stage):
    """Calls `dripdrop.claim_due()`, and hands to `Render` what it has leased.

    As long as that has enough to do, what is to be rendered goes to the queue, for everybody.
    """

    name = "tick"
    feeds = ("render",)

    def __init__(self, desk: Desk, render: Render) -> None:
        """Hand on to a stage that renders."""
        super().__init__(desk)
        self._render = render

    async def step(self) -> bool:
        """Decide one batch."""
        has_room = await self._render.has_room()
        size = self.desk.settings.batch_size
        claims = []
        async with self.desk.database() as database:
            decided = await (database.claim_due(size) if has_room else database.tick(size))
            counts = decided._asdict()
            if leased := counts.pop("leased", None):
                claims = await database.leased_renders(leased)
            if not any(counts.values()):
                # What comes due, or has room again, is looked at when it does.
                self.interval = min(await database.next_due(), self.desk.settings.interval)
                return False
        self._render.take(claims)
        if decided.asked:
            self.desk.wake("hooks")
        self.desk.log.debug("ticked", **counts)
        return True
