"""Reading jsonb so that no value ends more than its own row.

Postgres holds numbers that no double does, and nests deeper than any parser here. One such value
must not cost the rows that were claimed with it: it is read as `Unreadable`, and whoever uses the
row asks `unreadable()` first and fails that one with the code ``unreadable``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

CODE = "unreadable"
"""The code of a message whose row cannot be read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a jsonb value that Python cannot hold."""

    reason: str


def read_json(document: str | bytes) -> Any:
    """Return what jsonb says, or `Unreadable` with the parser's words, which hold no values."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as error:
        return Unreadable(f"{error.msg} at character {error.pos}")


def unreadable(row: Any) -> str | None:
    """Return which column of a row could not be read, and why; None when all could."""
    for place, value in enumerate(row):
        if isinstance(value, Unreadable):
            return f"{row._fields[place]}: {value.reason}"
    return None
