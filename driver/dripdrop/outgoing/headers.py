"""Headers that somebody else wrote, checked before they go on any wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dripdrop.outgoing.reach import Unsendable

_FIELD_NAME = re.compile(r"[!-9;-~]{1,200}")  # RFC 5322 section 2.2, and no longer than a line
_LINE_BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def checked_headers(headers: Any) -> dict[str, str]:
    """Return the headers as text, or raise `Unsendable` if one could forge another."""
    if not isinstance(headers, Mapping):
        raise Unsendable("invalid_header", "headers must be an object")
    checked = {}
    for name, value in headers.items():
        if not _FIELD_NAME.fullmatch(name):
            raise Unsendable("invalid_header", "a header name has characters it may not have")
        checked[name] = text = str(value)
        if _LINE_BREAKING.search(text):
            one_line(text, f'header "{name}"')
    return checked


def one_line(text: str, what: str) -> str:
    """Return `text`, or raise `Unsendable` if it has a line break or control character."""
    if _LINE_BREAKING.search(text):
        raise Unsendable("invalid_header", f"{what} has a line break or control character")
    return text
