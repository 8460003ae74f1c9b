"""`dripdrop bench prune`: sending while a million rows that are no longer to be kept are deleted.

They are enrolments that ended long ago, each with its message and two events. They are pruned page
by page as `dripdrop prune` does it, which leaves the machine to others for nine tenths of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import psycopg

from dripdrop.bench.beside import measure_beside
from dripdrop.bench.workers import Mode
from dripdrop.client import Client

REST = 9
"""How many times as long as a page took it rests after it; so does `dripdrop prune`."""

_HISTORY = """
    with ended as (
      insert into dripdrop.enrollments (
        sequence_id, sequence_version_id, subscriber_type, subscriber_id, state, exit_reason,
        inserted_at, started_at, completed_at
      )
      select
        v.sequence_id, v.id, 'Past', n::text, 'completed', 'completed', p.at, p.at, p.at
      from generate_series(1, %(rows)s / 4) as n
      cross join dripdrop.sequence_versions as v
      cross join (select now() - interval '1000 days' as at) as p
      returning id, subscriber_id, sequence_version_id, completed_at
    ),
    sent as (
      insert into dripdrop.step_executions (
        enrollment_id, step_id, channel, state, reason, scheduled_for, inserted_at, ended_at
      )
      select e.id, s.id, s.channel, 'sent', 'sent', e.completed_at, e.completed_at, e.completed_at
      from ended as e
      join dripdrop.steps as s on s.sequence_version_id = e.sequence_version_id and s.position = 1
    )
    insert into dripdrop.events (
      subscriber_type, subscriber_id, event_key, occurred_at, inserted_at
    )
    select 'Past', e.subscriber_id, 'seen', e.completed_at, e.completed_at
    from ended as e
    cross join generate_series(1, 2) as n
"""

_RETENTION = {"enrollments": "900 days", "events": "900 days"}


def measure(
    on: str, *, rows: int, seconds: float, windows: int, enrollments: int, mode: Mode
) -> dict[str, Any]:
    """Measure on a database of a server; pages are pruned for so many seconds."""
    pruned: list[int] = []

    @contextmanager
    def pruning(dsn: str) -> Iterator[None]:
        ended = Event()
        thread = Thread(target=_prune, args=(dsn, ended, pruned))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    result = measure_beside(
        on,
        "pruning",
        pruning,
        lambda connection: _add_history(connection, rows),
        seconds=seconds,
        windows=windows,
        enrollments=enrollments,
        mode=mode,
    )
    return result | {"rows": rows, "rows_pruned": sum(pruned)}


def _add_history(connection: psycopg.Connection[Any], rows: int) -> None:
    """Add rows that ended long ago, before anybody else's: pages begin with them."""
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(_HISTORY, {"rows": rows})
    Client(connection).update_tenant_settings(None, retention=_RETENTION)


def _prune(dsn: str, ended: Event, pruned: list[int]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        client = Client(connection)
        while not ended.is_set():
            began = time.monotonic()
            pages = client.prune()
            # With an enrolment goes its message.
            pruned.append(sum(p.deleted * (1 + (p.kind == "enrollments")) for p in pages))
            ended.wait(REST * (time.monotonic() - began))
