"""Whose fault it is that a call to the database failed, by SQLSTATE: the only such table.

============  =============================================  =========================
kind          SQLSTATE                                       what helps
============  =============================================  =========================
`GONE`        08, 28, 3D000, 57P01 to 57P05, 25P03, 25P04,   waiting for it
              no SQLSTATE: the connection is lost
`BUSY`        40, 55P03, 55006, 57014                        the same again, soon
`REFUSING`    53, 58                                         an operator: disk, limits
`READ_ONLY`   25006 where the server does not let us write   waiting for a primary
`OURS`        all else, and whatever Python raises           nothing that waits
============  =============================================  =========================
"""

from __future__ import annotations

import traceback
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from dripdrop.errors import NotStarted, PgmqMissing

_PACKAGE = Path(__file__).parent
_PASSING = {"client.py", "statements.py", "connections.py"}
"""Files through which every call passes."""
_TEXT_CHARACTERS = 300


class Kind(StrEnum):
    """What a failed call says about the database."""

    GONE = "gone"
    BUSY = "busy"
    REFUSING = "refusing"
    READ_ONLY = "read_only"
    OURS = "ours"


_BY_STATE = {
    **dict.fromkeys(
        ("3D000", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"), Kind.GONE
    ),
    **dict.fromkeys(("55P03", "55006", "57014"), Kind.BUSY),
    "25006": Kind.READ_ONLY,
}
_BY_CLASS = {
    "08": Kind.GONE,
    "28": Kind.GONE,
    "40": Kind.BUSY,
    "53": Kind.REFUSING,
    "58": Kind.REFUSING,
}


class Unanswered(psycopg.OperationalError):
    """The database did not answer in time. The connection is closed; nothing was committed."""


class Uncertain(psycopg.OperationalError):
    """The answer to a commit was lost: what was called is done, or is not. All other errors mean
    that it is not.
    """


class RaisedReadOnly(ReadOnlySqlTransaction):
    """25006 where the server lets us write: somebody's trigger raised it, and it is a row's."""


def kind_of(error: BaseException) -> Kind:
    """Return the kind of a failed call."""
    if not isinstance(error, psycopg.Error) or isinstance(error, RaisedReadOnly):
        return Kind.OURS
    state = error.sqlstate
    if state is not None:
        return _BY_STATE.get(state) or _BY_CLASS.get(state[:2], Kind.OURS)
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return Kind.GONE if lost else Kind.OURS


def described(error: BaseException) -> dict[str, Any]:
    """Return what a log says of an error: its class, SQLSTATE and hint, and where; no value.

    The text is told only where it cannot hold data: of a lost connection, or a missing queue.
    """
    told: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, psycopg.Error):
        if error.sqlstate:
            told["sqlstate"] = error.sqlstate
        if error.sqlstate is None and kind_of(error) is Kind.GONE:
            told["detail"] = " ".join(str(error).split())[:_TEXT_CHARACTERS]
        if isinstance(error, NotStarted | PgmqMissing):
            told["detail"] = error.diag.message_primary
        if error.diag.message_hint:
            told["hint"] = error.diag.message_hint
    if kind_of(error) is Kind.OURS:
        told["at"] = _place(error)
    return told


def _place(error: BaseException) -> str:
    """Return the file, line and function of ours in which an error came up."""
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
        and Path(frame.filename).name not in _PASSING
    ]
    if not ours:
        return ""
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"
