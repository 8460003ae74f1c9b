"""How far this process may reach, and what must not leave it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Reach:
    """How this process may reach the outside. Times are in seconds."""

    allow_http: bool = False
    allow_private: bool = False
    connect_timeout: float = 5.0
    timeout: float = 30.0

    @classmethod
    def from_environment(cls) -> Self:
        """Read `DRIPDROP_ALLOW_HTTP` and `DRIPDROP_ALLOW_PRIVATE`; "1" or "true" allows."""
        return cls(
            allow_http=_is_set("DRIPDROP_ALLOW_HTTP"),
            allow_private=_is_set("DRIPDROP_ALLOW_PRIVATE"),
        )


class Unsendable(Exception):
    """A message or request must not leave as it is. `code` is short and stable."""

    def __init__(self, code: str, detail: str) -> None:
        """Take the code and a detail, which holds nothing of what would have left."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in {"1", "true"}
