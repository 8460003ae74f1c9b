"""Say who keeps messages waiting by a transaction that stays open."""

from __future__ import annotations

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.stage import Stage


class Watch(Stage):
    """Calls `dripdrop.open_transactions()`, and warns of each transaction once."""

    name = "watch"

    def __init__(self, desk: Desk) -> None:
        """Know no transaction yet."""
        super().__init__(desk)
        self.patience = desk.settings.patience
        self.interval = self.patience.total_seconds()
        self._known: set[tuple[object, ...]] = set()

    async def step(self) -> bool:
        """Look once; there is never more to do at once."""
        async with self.desk.database() as database:
            found = await database.open_transactions(self.patience)
        for each in found:
            if (each.pid, each.since) not in self._known:
                self.desk.log.warning(
                    "open_transaction",
                    pid=each.pid,
                    role=each.role,
                    application=each.application,
                    since=each.since.isoformat(),
                    state=each.state,
                    stops=each.stops,
                    tables=each.tables,
                    hint=f"Commit it, or end it with select pg_terminate_backend({each.pid}).",
                )
        self._known = {(each.pid, each.since) for each in found}
        return False
