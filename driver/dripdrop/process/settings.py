"""What a process takes from the environment."""

from __future__ import annotations

import os

from dripdrop.dsn import understood

DSN_VARIABLES = ("DRIPDROP_DSN", "DATABASE_URL")
"""Where a connection string is looked for, in order, when none is given."""


class MissingSetting(Exception):
    """A setting was neither given nor found in the environment; the text names the variables."""


def resolve_dsn(given: str | None = None) -> str:
    """Return the connection string that was given, else the environment's.

    Raises:
        MissingSetting: there is neither.
        InvalidDsn: it is malformed.
    """
    for dsn in (given, *(os.environ.get(name) for name in DSN_VARIABLES)):
        if dsn:
            return understood(dsn)
    raise MissingSetting(f"no database: give --dsn, or set {' or '.join(DSN_VARIABLES)}")
