"""How the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

stdout = Console()
stderr = Console(stderr=True)


def print_rows(rows: Sequence[Any], columns: Sequence[str] | None = None) -> None:
    """Print named tuples as a table: the named columns, or all."""
    columns = columns or rows[0]._fields
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(cell(getattr(row, column))) for column in columns))
    stdout.print(table)


def cell(value: Any) -> str:
    """Return a value as a table shows it: times to the second in UTC, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return str(value)
