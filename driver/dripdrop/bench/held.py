"""`dripdrop bench held`: sending while another session holds a snapshot, window by window.

What was sent under a snapshot leaves dead rows that nothing may clean up: an open transaction of an
application, a backup, a replica's query. Two workers send at their full rate: for half of the time
without it, which is the anchor, then all of the time with it, then for half of the time without it
again. Flat is what does not fall from the first third of the windows with it to the last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from statistics import mean
from typing import Any

import psycopg

from dripdrop.bench.processes import processes
from dripdrop.bench.scratch import scratch_database, value
from dripdrop.bench.workers import BATCH, PROCESSES, Mode, work
from dripdrop.bench.workload import enroll, prepare, sequence
from dripdrop.install import install

STEPS = 100
"""So many messages each, one after the other: there is always enough to send."""

_SENT = """
    select floor(extract(epoch from x.ended_at - %(began)s) / %(window)s)::int as number, count(*)
    from dripdrop.step_executions as x
    where x.state = 'sent' and x.ended_at >= %(began)s
    group by number
"""
_WAITING = "select exists (select from dripdrop.step_executions where due_at <= now())"


def measure(
    on: str, *, seconds: float, windows: int, enrollments: int, mode: Mode
) -> dict[str, Any]:
    """Measure on a database of a server; the snapshot is held for so many seconds."""
    with scratch_database(on) as database:
        install(database)
        with psycopg.connect(database, autocommit=True) as connection:
            prepare(connection, sequence(STEPS))
            enroll(connection, enrollments)
            half, window = -(-windows // 2), seconds / windows
            with processes(PROCESSES, work, database, mode):
                began = [_let_pass(connection, half * window)]
                with _snapshot(database):
                    began.append(_let_pass(connection, seconds))
                began.append(_let_pass(connection, half * window))
            if not value(connection, _WAITING):
                raise RuntimeError("everything was sent before the end: enrol more")
            before, held, after = (
                _rates(connection, at, window, number)
                for at, number in zip(began, (half, windows, half), strict=True)
            )
    without = mean(before + after)
    third = -(-windows // 3)
    return {
        "mode": mode,
        "seconds": seconds,
        "window_seconds": round(seconds / windows, 2),
        "held_per_second": round(mean(held)),
        "without_per_second": round(without),
        "ratio_to_without": round(mean(held) / without, 3),
        "last_third_to_first": round(mean(held[-third:]) / mean(held[:third]), 2),
        "before_windows_per_second": _rounded(before),
        "held_windows_per_second": _rounded(held),
        "after_windows_per_second": _rounded(after),
        "processes": PROCESSES,
        "batch_size": BATCH,
    }


@contextmanager
def _snapshot(dsn: str) -> Iterator[None]:
    """Hold what another session sees now."""
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select from dripdrop.step_executions limit 1")
        yield


def _let_pass(connection: psycopg.Connection[Any], seconds: float) -> datetime:
    """Let the workers work for so long; return when that began."""
    began: datetime = value(connection, "select clock_timestamp()")
    time.sleep(seconds)
    return began


def _rates(
    connection: psycopg.Connection[Any], began: datetime, window: float, number: int
) -> list[float]:
    """Return the rate of so many windows, each of so many seconds."""
    rows = connection.execute(_SENT, {"began": began, "window": window}).fetchall()
    sent = dict(rows)
    return [sent.get(each, 0) / window for each in range(number)]


def _rounded(rates: Sequence[float]) -> list[int]:
    return [round(rate) for rate in rates]
