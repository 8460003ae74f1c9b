"""How the commands print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dripdrop.documents import Fault

stdout = Console()

_EXCERPT = 100
"""How much of a line of a file is shown."""


def say(text: str) -> None:
    """Print a line as it is."""
    stdout.out(text, highlight=False)


def print_rows(rows: Sequence[Any], columns: Sequence[str] | None = None) -> None:
    """Print named tuples as a table: the named columns, or all."""
    columns = columns or rows[0]._fields
    print_table(columns, [[getattr(row, column) for column in columns] for row in rows])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table: as wide as the terminal; without a terminal, one line per row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        whole = any(isinstance(row[place], datetime) for row in rows)
        table.add_column(column, no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    if stdout.is_terminal:
        stdout.print(table)
        return
    plain = StringIO()
    Console(file=plain, width=100_000).print(table)
    for line in plain.getvalue().splitlines():
        print(line.rstrip())


def cell(value: Any) -> str:
    """Return a value as a table shows it: times to the second in UTC, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return str(value)


def print_json(record: Mapping[str, Any]) -> None:
    """Print one line of JSON: times in UTC, other values as JSON or text."""
    print(json.dumps(record, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)


def print_fault(fault: Fault, console: Console = stdout) -> None:
    """Print what is wrong with a file as compilers do, with the line and what is meant in it."""
    what = ": ".join(each for each in (fault.where, fault.path, fault.message) if each)
    _print_line(console, what, "bold")
    if fault.source.strip():
        source, column = _excerpt(fault.source, fault.place.column - 1)
        margin = f"{fault.place.line:>5} | "
        _print_line(console, margin + source)
        width = min(fault.place.width, max(len(source) - column, 1))
        before = " " * cell_len(source[:column])
        marks = "^" * max(cell_len(source[column : column + width]), 1)
        _print_line(console, f"{'':>5} | {before}{marks}", "red")
    if fault.hint:
        _print_line(console, f"hint: {fault.hint}")


def _print_line(console: Console, text: str, style: str | None = None) -> None:
    console.out(text, style=style, highlight=False)


def _excerpt(line: str, column: int) -> tuple[str, int]:
    """Return what is around a column of a line, and which column it is there."""
    line = line.replace("\t", " ").rstrip()
    start = max(0, column - _EXCERPT // 2) if len(line) > _EXCERPT else 0
    part = line[start : start + _EXCERPT]
    before, after = ("…" if start else ""), ("…" if start + _EXCERPT < len(line) else "")
    return before + part + after, column - start + len(before)
