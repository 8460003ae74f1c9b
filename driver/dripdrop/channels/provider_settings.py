"""What `dripdrop.provider_settings()` says, asked of an account whose credentials are open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST = 1000


def faults(
    channel: str,
    provider: str,
    credentials: Mapping[str, Any],
    config: Mapping[str, Any],
    described: Iterable[Any],
    whole: bool = True,
) -> list[str]:
    """Return what keeps an account from working, by the rows that describe it.

    Names fields and never a value. A field may stand in the credentials or, unless it is secret, in
    the config; credentials win. Unless it is asked about as a whole, what is missing, or known to
    nobody, is no fault.
    """
    found = []
    rows = [row for row in described if row.kind == f"{channel}.{provider}"]
    if whole and rows:
        unknown = {*credentials, *config} - {row.field for row in rows}
        found += [f"{field} is no field of {channel}.{provider}" for field in sorted(unknown)]
    for row in rows:
        value = credentials.get(row.field)
        if value is None and not row.secret:
            value = config.get(row.field)
        if value is None or value == "":
            if row.required and whole:
                found.append(f"{row.field} is missing")
        elif not _fits(value, row):
            found.append(f"{row.field} will not do: {row.hint}")
    return found


def _fits(value: Any, row: Any) -> bool:
    if row.choices is not None:
        return value in row.choices
    if row.type == "any":
        return True
    if row.type == "boolean":
        return isinstance(value, bool)
    if row.type == "object":
        return isinstance(value, Mapping) or value is False
    kinds = str if row.type == "text" else (str, int)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    text = str(value)
    return len(text) <= _LONGEST and (
        row.pattern is None or re.fullmatch(row.pattern, text) is not None
    )
