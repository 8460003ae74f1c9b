"""Finding the one row that the database refuses among the many that it was handed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg

from dripdrop.errors import NotStarted, PgmqMissing
from dripdrop.faults import Kind, kind_of

T = TypeVar("T")


def is_a_rows(error: psycopg.Error) -> bool:
    """Whether an error may be the fault of one row: what it holds, or that somebody has locked it.

    A trigger may raise whatever it likes; a database that refuses everything for its own reasons
    refuses to be told of the row as well.
    """
    if error.sqlstate is None or isinstance(error, NotStarted | PgmqMissing):
        return False
    return kind_of(error) in (Kind.OURS, Kind.REFUSING) or error.sqlstate == "55P03"


async def halved(
    batch: Sequence[T],
    call: Callable[[Sequence[T]], Awaitable[object]],
    on_single: Callable[[T, psycopg.Error], Awaitable[object]],
) -> None:
    """Call with the batch; where the database refuses, with its halves, down to the single row.

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
        middle = len(batch) // 2
        await halved(batch[:middle], call, on_single)
        await halved(batch[middle:], call, on_single)
