"""Finding the one row that the database refuses among the many that it was handed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg.errors import QueryCanceled

from dripdrop.errors import NotStarted
from dripdrop.faults import Kind, kind_of

T = TypeVar("T")

_PARTS = 2
_PARTS_OF_SLOW = 8  # each that is cut off again has taken all the time that a statement may take


def is_a_rows(error: psycopg.Error) -> bool:
    """Whether an error may be the fault of one row: what it holds, or that somebody has locked it.

    A trigger may raise whatever it likes, and take its time; a database that refuses everything for
    its own reasons refuses to be told of the row as well, and one that is away ends the session.
    """
    if error.sqlstate is None or kind_of(error) is Kind.READ_ONLY:
        return False
    return error.diag.severity_nonlocalized == "ERROR"


def is_nobodys(error: psycopg.Error) -> bool:
    """Whether a database that does not even take the note of a row's fault is itself to blame."""
    return isinstance(error, NotStarted) or kind_of(error) is not Kind.OURS


async def halved(
    batch: Sequence[T],
    call: Callable[[Sequence[T]], Awaitable[object]],
    on_single: Callable[[T, psycopg.Error], Awaitable[object]],
) -> None:
    """Call with the batch; where the database refuses, with its parts, down to the single row.

    `call` commits by itself. `on_single` is told of each row that is refused alone, and why. What
    no row is to blame for is raised, and then the rest of the batch has not been tried.
    """
    if not batch:
        return
    try:
        await call(batch)
    except psycopg.Error as error:
        if not is_a_rows(error):
            raise
        if len(batch) == 1:
            await on_single(batch[0], error)
            return
        parts = _PARTS_OF_SLOW if isinstance(error, QueryCanceled) else _PARTS
        size = -(-len(batch) // parts)
        for start in range(0, len(batch), size):
            await halved(batch[start : start + size], call, on_single)
