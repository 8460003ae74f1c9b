"""`dripdrop bench held`: sending while another session holds a snapshot, window by window.

What was sent under a snapshot leaves dead rows that nothing may clean up: an open transaction of an
application, a backup, a replica's query. Two workers send at their full rate: for half of the time
without it, which is the anchor, then all of the time with it, then for half of the time without it
again. Flat is what does not fall from the first third of the windows with it to the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from dripdrop.bench.beside import measure_beside
from dripdrop.bench.workers import Mode


def measure(
    on: str, *, seconds: float, windows: int, enrollments: int, mode: Mode
) -> dict[str, Any]:
    """Measure on a database of a server; the snapshot is held for so many seconds."""
    return measure_beside(
        on,
        "held",
        _snapshot,
        seconds=seconds,
        windows=windows,
        enrollments=enrollments,
        mode=mode,
    )


@contextmanager
def _snapshot(dsn: str) -> Iterator[None]:
    """Hold what another session sees now."""
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select from dripdrop.step_executions limit 1")
        yield
