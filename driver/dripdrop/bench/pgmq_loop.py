"""The anchor of what sends: a bare pgmq loop, made as fast as it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import psycopg

from dripdrop.bench.processes import processes
from dripdrop.bench.workers import BATCH, PROCESSES

_QUEUE = "dripdrop_bench"
_MESSAGE = '{"execution": "00000000-0000-0000-0000-000000000000", "fence": 0}'
_SEND = "select count(*) from pgmq.send_batch(%s, %s::text[]::jsonb[])"
_TAKE = """
    select count(*) from pgmq.delete(%s, array(select r.msg_id from pgmq.read(%s, 60, %s) as r))
"""


@contextmanager
def queue(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Make the queue for a while."""
    connection.execute("select pgmq.create(%s)", [_QUEUE])
    yield
    connection.execute("select pgmq.drop_queue(%s)", [_QUEUE])


def rate(dsn: str, messages: int) -> float:
    """Return messages per second of as many processes as the pipeline has."""
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        queue(connection),
        processes(PROCESSES, _loop, dsn, messages // PROCESSES) as (done, _),
    ):
        began = time.perf_counter()
        done.wait(600)
        return messages / (time.perf_counter() - began)


def _loop(dsn: str, messages: int, ready: Barrier, stop: Event) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        ready.wait()
        pass_through(connection, messages)
        ready.wait()


def pass_through(connection: psycopg.Connection[Any], messages: int) -> None:
    """Send, read and delete, a batch at a time: reading and deleting is one statement."""
    for at in range(0, messages, BATCH):
        batch = [_MESSAGE] * min(BATCH, messages - at)
        connection.execute(_SEND, [_QUEUE, batch])
        taken = connection.execute(_TAKE, [_QUEUE, _QUEUE, len(batch)]).fetchone()
        if taken is None or taken[0] == 0:
            raise RuntimeError("nothing to read in the queue")
