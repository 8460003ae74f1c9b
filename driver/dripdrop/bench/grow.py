"""`dripdrop bench grow`: wave after wave is sent, and the history grows by each.

A wave is enrolled in one transaction and is due when that commits; two workers send all of it, and
its rate is what it took from there to its last message. The anchor is the median wave: `lowest` is
the slowest wave over it, and `last_to_first` the last quarter of the waves over the first. After
each wave a bare pgmq loop says how fast the machine was then: a wave that is slow where that is
slow as well says nothing about what has grown.
"""

from __future__ import annotations

import time
from statistics import mean, median
from typing import Any

import psycopg

from dripdrop.bench import pgmq_loop
from dripdrop.bench.processes import processes
from dripdrop.bench.scratch import scratch_database, value
from dripdrop.bench.workers import BATCH, PROCESSES, Mode, work
from dripdrop.bench.workload import enroll, prepare, sequence
from dripdrop.install import install

STEPS = 3
BARE = 20 * BATCH

# Ids grow with time, so that a wave's are found by index.
_UNDER_WAY = """
    select exists (
      select from dripdrop.enrollments as e where e.id > %s and e.state = 'active'
    )
"""
_SECONDS = """
    select extract(epoch from max(x.ended_at) - %s)::float8
    from dripdrop.step_executions as x
    where x.enrollment_id > %s
"""


def measure(on: str, *, waves: int, size: int, mode: Mode) -> dict[str, Any]:
    """Measure on a database of a server; size is how many messages make a wave."""
    enrollments = -(-size // STEPS)
    with scratch_database(on) as database:
        install(database)
        with psycopg.connect(database, autocommit=True) as connection:
            prepare(connection, sequence(STEPS))
            with (
                pgmq_loop.queue(connection),
                processes(PROCESSES, work, database, mode),
            ):
                rates, bare = _waves(connection, waves, enrollments)
            sent = value(
                connection, "select count(*) from dripdrop.step_executions where state = 'sent'"
            )
    middle = median(rates)
    quarter = -(-waves // 4)
    return {
        "mode": mode,
        "waves": waves,
        "messages_per_wave": enrollments * STEPS,
        "messages": sent,
        "median_per_second": round(middle),
        "lowest_to_median": round(min(rates) / middle, 2),
        "last_to_first": round(mean(rates[-quarter:]) / mean(rates[:quarter]), 2),
        "waves_to_median": [round(rate / middle, 2) for rate in rates],
        "pgmq_to_median": [round(rate / median(bare), 2) for rate in bare],
        "processes": PROCESSES,
        "batch_size": BATCH,
    }


def _waves(
    connection: psycopg.Connection[Any], waves: int, enrollments: int
) -> tuple[list[float], list[float]]:
    """Return the rate of each wave, and of the bare loop after it."""
    rates, bare = [], []
    for number in range(waves):
        first = value(connection, "select dripdrop._uuidv7()")
        with connection.transaction():
            enroll(connection, enrollments, first=number * enrollments)
        began = value(connection, "select clock_timestamp()")
        while value(connection, _UNDER_WAY, first):
            time.sleep(0.1)
        rates.append(enrollments * STEPS / value(connection, _SECONDS, began, first))
        bare.append(_bare_rate(connection))
    return rates, bare


def _bare_rate(connection: psycopg.Connection[Any]) -> float:
    began = time.perf_counter()
    pgmq_loop.pass_through(connection, BARE)
    return BARE / (time.perf_counter() - began)
