"""What a message costs is counted, and is not a third more than `benchmarks/cost.json` says.

`make bench-check` counts, on an embedded server of its own; `make bench-check RECORD=1` writes down
what it has counted. Counts do not depend on how fast the machine is: how often an index is looked
into, how many versions of rows are written and how many of them also into indexes, and bytes of
WAL, without images of whole pages. A message is counted from the moment it is due until it is
recorded as sent and the next one is planned.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import psycopg

from dripdrop.bench.scratch import scratch_database, server
from dripdrop.bench.workers import pass_through
from dripdrop.bench.workload import enroll, prepare, sequence
from dripdrop.client import Client
from dripdrop.install import install
from scripts.sources import ROOT

Counts: TypeAlias = dict[str, float]
Costs: TypeAlias = dict[str, Counts]

RECORD = ROOT / "benchmarks" / "cost.json"
STEPS = 3

_STEADY = ("autovacuum = off", "full_page_writes = off")
_COUNTS = """
    with tables as (
      select
        sum(n_tup_ins + n_tup_upd) as versions,
        sum(n_tup_ins + n_tup_upd - n_tup_hot_upd) as indexed,
        sum(n_tup_ins + n_tup_upd) filter (where relname = 'step_executions') as of_executions
      from pg_stat_user_tables
      where schemaname in ('dripdrop', 'pgmq')
    )
    select
      (
        select sum(idx_scan)
        from pg_stat_user_indexes
        where schemaname in ('dripdrop', 'pgmq')
      )::float8 as index_scans,
      versions::float8 as row_versions,
      indexed::float8 as row_versions_with_index_entries,
      of_executions::float8 as row_versions_of_the_execution,
      (pg_current_wal_insert_lsn() - '0/0')::float8 as wal_bytes
    from tables
"""


def main(arguments: list[str]) -> int:
    """Count, and compare or record; return 1 if something costs a third more than it may."""
    with server(None) as on, psycopg.connect(on, autocommit=True) as connection:
        for setting in _STEADY:
            connection.execute(f"alter system set {setting}".encode())
        connection.execute("select pg_reload_conf()")
        costs = count(on, 2000)
    if arguments == ["--record"]:
        RECORD.write_text(json.dumps(costs, indent=2) + "\n")
        return 0
    recorded: Costs = json.loads(RECORD.read_text())
    for work, counts in costs.items():
        for name, counted in counts.items():
            print(f"{work:12} {name:32} {counted:9.1f}  recorded {recorded[work][name]:9.1f}")
    over = exceeded(costs, recorded)
    for each in over:
        print(f"{each} costs a third more than was recorded", file=sys.stderr)
    return 1 if over else 0


def count(on: str, number: int) -> Costs:
    """Return what an enrolment costs, by itself and in bulk, and a message on its way."""
    with scratch_database(on) as database:
        install(database)
        with psycopg.connect(database, autocommit=True) as connection:
            prepare(connection, sequence(STEPS))
            client = Client(connection)

            def enroll_each() -> None:
                for each in range(number // 10):
                    client.enroll(None, "bench", "User", f"single-{each}", {"email": "a@b.example"})

            def send() -> None:
                while pass_through(client):
                    pass

            costs = {
                "enroll": _counted(connection, enroll_each, number // 10),
                "enroll_many": _counted(connection, lambda: enroll(connection, number), number),
            }
            connection.execute("analyze")
            messages = (number + number // 10) * STEPS
            return costs | {"message": _counted(connection, send, messages)}


def exceeded(costs: Costs, recorded: Costs) -> list[str]:
    """Return the names of what costs a third more than was recorded."""
    return [
        f"{work}: {name}"
        for work, counts in costs.items()
        for name, counted in counts.items()
        if counted > recorded[work][name] * 4 / 3
    ]


def _counted(connection: psycopg.Connection[Any], work: Callable[[], None], number: int) -> Counts:
    before = _counts(connection)
    work()
    after = _counts(connection)
    return {name: round((after[name] - before[name]) / number, 2) for name in after}


def _counts(connection: psycopg.Connection[Any]) -> Counts:
    connection.execute("select pg_stat_force_next_flush()")
    cursor = connection.execute(_COUNTS.encode())
    (row,) = cursor.fetchall()
    return {column.name: value for column, value in zip(cursor.description or (), row, strict=True)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
