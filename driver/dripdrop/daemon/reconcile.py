"""Mend what crashes leave behind, and let senders rest that bounce too much."""

from __future__ import annotations

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.stage import Stage


class Reconcile(Stage):
    """Calls `dripdrop.reconcile()` and `dripdrop.check_thresholds()`, now and then."""

    name = "reconcile"
    feeds = ("tick", "send")

    def __init__(self, desk: Desk) -> None:
        """Look over everything less often than the other stages look for work."""
        super().__init__(desk)
        self.interval = desk.settings.reconcile_interval

    async def step(self) -> bool:
        """Look over everything that is under way."""
        async with self.desk.database() as database:
            counts = await database.reconcile(self.desk.settings.unknown_grace)
        async with self.desk.database() as database:
            for rest in await database.check_thresholds():
                self.desk.log.warning(
                    "sender_rests",
                    tenant_key=rest.tenant_key,
                    adapter=rest.name,
                    reason=rest.reason,
                    rate=float(rest.rate),
                    until=rest.until.isoformat(),
                )
        if not any(counts):
            return False
        self.desk.log.warning("reconciled", **counts._asdict())
        return True
