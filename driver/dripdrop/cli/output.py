"""How the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

stdout = Console()
stderr = Console(stderr=True)


def print_rows(rows: Sequence[Any]) -> None:
    """Print named tuples as a table, a column per field."""
    table = Table(*rows[0]._fields)
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    stdout.print(table)
