"""Finding the one row that the database refuses among the many that it was handed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg

T = TypeVar("T")

_NOBODYS = ("08", "25", "28", "3D", "40", "57", "ZD120")
"""How the SQLSTATE of what no row is to blame for begins.

Lost connections, read-only and aborted transactions, refused logins, missing databases, what a
plain retry mends, shutdown, a missing queue."""


def is_a_rows(error: psycopg.Error) -> bool:
    """Whether an error may be the fault of a row; without a SQLSTATE the connection was lost."""
    return error.sqlstate is not None and not error.sqlstate.startswith(_NOBODYS)


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
