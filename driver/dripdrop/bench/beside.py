"""The rate of sending while something else goes on, window by window, and before and after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
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


def measure_beside(
    on: str,
    name: str,
    goes_on: Callable[[str], AbstractContextManager[None]],
    prepare_more: Callable[[psycopg.Connection[Any]], None] = lambda connection: None,
    *,
    seconds: float,
    windows: int,
    enrollments: int,
    mode: Mode,
) -> dict[str, Any]:
    """Measure on a database of a server while `goes_on(dsn)` is entered, for so many seconds."""
    with scratch_database(on) as database:
        install(database)
        with psycopg.connect(database, autocommit=True) as connection:
            prepare(connection, sequence(STEPS))
            prepare_more(connection)
            enroll(connection, enrollments)
            half, window = -(-windows // 2), seconds / windows
            with processes(PROCESSES, work, database, mode):
                began = [_let_pass(connection, half * window)]
                with goes_on(database):
                    began.append(_let_pass(connection, seconds))
                began.append(_let_pass(connection, half * window))
            if not value(connection, _WAITING):
                raise RuntimeError("everything was sent before the end: enrol more")
            before, during, after = (
                _rates(connection, at, window, number)
                for at, number in zip(began, (half, windows, half), strict=True)
            )
    without = mean(before + after)
    third = -(-windows // 3)
    return {
        "mode": mode,
        "seconds": seconds,
        "window_seconds": round(seconds / windows, 2),
        f"{name}_per_second": round(mean(during)),
        "without_per_second": round(without),
        "ratio_to_without": round(mean(during) / without, 3),
        "last_third_to_first": round(mean(during[-third:]) / mean(during[:third]), 2),
        "before_windows_per_second": _rounded(before),
        f"{name}_windows_per_second": _rounded(during),
        "after_windows_per_second": _rounded(after),
        "processes": PROCESSES,
        "batch_size": BATCH,
    }


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
