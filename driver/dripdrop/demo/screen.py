"""What the demo shows while it runs: a table that changes on a terminal, else a line per day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table


def steps_table(rows: Sequence[Any], title: str | None = None) -> Table:
    """Return rows of (step, channel, sent, skipped, failed, to come) as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("step", "channel"):
        table.add_column(column)
    for column in ("sent", "skipped", "failed", "to come"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*map(str, row))
    return table


class Screen:
    """A console, with the clock and the steps kept in view while it is entered."""

    def __init__(self, console: Console) -> None:
        """Show nothing yet."""
        self.console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )
        self._day: date | None = None
        self._line = self._last_line = ""

    def __enter__(self) -> Self:
        """Begin the view."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the view; the lines stay."""
        if self._live:
            self._live.stop()
        self._end_day()

    def say(self, text: str, at: datetime | None = None) -> None:
        """Print a line, after the time at which it happened."""
        if at:
            self._turn_to(at.date())
            text = f"{at:%a %d %b %H:%M}  {text}"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, at: datetime, rows: Sequence[Any]) -> None:
        """Show the clock and the steps as they now are."""
        if self._live:
            self._live.update(steps_table(rows, title=f"\n{at:%A %d %B %Y  %H:%M}"), refresh=True)
            return
        self._turn_to(at.date())
        sent, skipped, failed, to_come = (sum(row[i] for row in rows) for i in range(2, 6))
        self._line = f"{sent} sent, {skipped} skipped, {failed} failed, {to_come} to come"

    def _turn_to(self, day: date) -> None:
        if day != self._day:
            self._end_day()
            self._day = day

    def _end_day(self) -> None:
        """Print what the day has brought, if anything."""
        if self._day and self._line != self._last_line:
            self.say(f"{self._day:%a %d %b}  ends   {self._line}")
            self._last_line = self._line
