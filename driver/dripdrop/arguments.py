"""What Python holds and Postgres does not, refused before anything is sent.

A text of Postgres has no NUL and no half of a surrogate pair, and JSON (RFC 8259) has neither
infinity nor not-a-number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from secrets import token_hex
from typing import Any
from uuid import UUID

from dripdrop.errors import InvalidArgument

_DEPTH = 100

_MARK = f"{token_hex(16)}:"
"""What a Decimal begins with until its quotes are taken away: json writes floats only."""

_NUMBER = re.compile(f'"{_MARK}([^"]*)"')


def checked_text(text: str, name: str) -> str:
    """Return a text that the database can hold.

    Raises:
        InvalidArgument: it holds NUL or half of a surrogate pair.
    """
    if not text.isascii() or "\0" in text:
        fault = _text_fault(text)
        if fault:
            raise InvalidArgument(f'at "{name}": {fault}')
    return text


def as_id(value: Any) -> Any:
    """Return an id of the application's as the text that it is kept as."""
    return str(value) if isinstance(value, int | UUID) and not isinstance(value, bool) else value


def written_json(value: Any, name: str) -> bytes:
    """Return a document as JSON that the database can hold.

    A Decimal is written as the number that it is, a date, a time or both in the form of ISO 8601,
    a UUID as text.

    Raises:
        InvalidArgument: a text holds NUL or half of a surrogate pair, or a number is not finite;
            the message names the place.
        TypeError: a value is none that JSON knows.
    """
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)
        text = _NUMBER.sub(r"\1", written).encode() if _MARK in written else written.encode()
    except (ValueError, RecursionError):
        place, fault = next(_faults(value, name), (name, "cannot be written as JSON"))
        raise InvalidArgument(f'at "{place}": {fault}') from None
    if b"\\u0000" in text:
        for place, fault in _faults(value, name):
            raise InvalidArgument(f'at "{place}": {fault}')
    return text


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        if _is_beyond(value):
            raise ValueError(value)
        return f"{_MARK}{value}"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON knows")


def _is_beyond(number: Decimal) -> bool:
    return not number.is_finite() or abs(number.adjusted()) > 308


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "a text holds NUL (U+0000), which Postgres does not store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text holds half of a surrogate pair, which is no character"
    return None


def _faults(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Walk through a value that is known to be at fault."""
    fault = None
    if isinstance(value, str):
        fault = _text_fault(value)
    elif isinstance(value, float) and not math.isfinite(value):
        fault = f"{value} is no number of JSON"
    elif isinstance(value, Decimal) and _is_beyond(value):
        fault = f"{value} is no number that a double holds"
    elif isinstance(value, int) and value.bit_length() > 1024:
        fault = "a number is beyond what a double holds"
    elif depth > _DEPTH:
        fault = "nested too deeply"
    if fault:
        yield place, fault
    elif isinstance(value, Mapping):
        for key, each in value.items():
            name = str(key).encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
            yield from _faults(key, f"{place}.{name[:100]}", depth + 1)
            yield from _faults(each, f"{place}.{name[:100]}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _faults(each, f"{place}[{number}]", depth + 1)
