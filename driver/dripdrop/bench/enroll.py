"""`dripdrop bench enroll`: how many are enrolled a second, one by one, by eight at once, in bulk.

Each is measured in turns with its anchor, bare inserts into the same tables with all their indexes
and constraints; a rate is the median turn's. One `enroll()` is compared with the insert of the row
that it returns (`_row`), and with the inserts of both rows that it writes, the enrolment and its
first message (`_rows`); `enroll_many()` with one statement that inserts both for all.

* `single`: one client, a hundred calls to a transaction, so that commits weigh little.
* `clients`: eight at once, each call in a transaction of its own.
* `bulk`: five thousand to a call and a transaction.
* `busy`: twenty times a thousand in one transaction beside two workers that send what is due;
  `busy_growth` is the time of the last five over that of the first five.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import psycopg

from dripdrop.bench.processes import processes
from dripdrop.bench.scratch import scratch_database
from dripdrop.bench.turns import in_turns, rates_of
from dripdrop.bench.workers import PROCESSES, work
from dripdrop.bench.workload import prepare, sequence
from dripdrop.install import install

CLIENTS = 8
CALLS = 104
BULK = 5000
THOUSAND = 1000
THOUSANDS = 20
WAITING = 20_000

_ENROLL = "select * from dripdrop.enroll(null, 'bench', 'User', %s, %s::jsonb)"
_ENROLL_MANY = "select count(*) from dripdrop.enroll_many(null, 'bench', %s::jsonb)"
_INSERT_ENROLLMENT = """
    insert into dripdrop.enrollments (
      sequence_id, sequence_version_id, subscriber_type, subscriber_id, effective_mode, data
    )
    values (%s, %s, 'User', %s, 'lifecycle', %s::jsonb)
    returning *
"""
_INSERT_EXECUTION = """
    insert into dripdrop.step_executions (enrollment_id, step_id, channel, scheduled_for, due_at)
    values (%s, %s, 'email', now(), now())
"""
_INSERT_MANY = """
    with enrolled as (
      insert into dripdrop.enrollments (
        sequence_id, sequence_version_id, subscriber_type, subscriber_id, effective_mode, data
      )
      select %s, %s, 'User', s.subscriber_id, 'lifecycle', s.data
      from jsonb_to_recordset(%s::jsonb) as s (subscriber_id text, data jsonb)
      returning id
    )
    insert into dripdrop.step_executions (enrollment_id, step_id, channel, scheduled_for, due_at)
    select e.id, %s, 'email', now(), now()
    from enrolled as e
"""
_TARGET = """
    select v.sequence_id, v.id as version_id, s.id as step_id
    from dripdrop.sequence_versions as v
    join dripdrop.steps as s on s.sequence_version_id = v.id and s.position = 1
"""


class Subscriber(NamedTuple):
    """Somebody to enrol, with data as JSON."""

    id: str
    data: str


Lot: TypeAlias = list[Subscriber]


class Session:
    """One connection, and the ways through it that are compared."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Look up what enroll() does: the sequence, its version and its first step."""
        self.connection = connection
        (row,) = connection.execute(_TARGET).fetchall()
        self.sequence, self.version, self.step = row

    def enroll(self, lot: Lot) -> None:
        """Call enroll() for each."""
        for subscriber in lot:
            self.connection.execute(_ENROLL, subscriber).fetchone()

    def insert_row(self, lot: Lot) -> None:
        """Insert the enrolment of each."""
        for subscriber in lot:
            self._insert(subscriber)

    def insert_rows(self, lot: Lot) -> None:
        """Insert the enrolment of each, and its first message."""
        for subscriber in lot:
            enrollment = self._insert(subscriber)
            self.connection.execute(_INSERT_EXECUTION, [enrollment, self.step])

    def enroll_many(self, lot: Lot) -> None:
        """Call enroll_many() once."""
        self.connection.execute(_ENROLL_MANY, [_list(lot)])

    def insert_many(self, lot: Lot) -> None:
        """Insert both rows of all by one statement."""
        self.connection.execute(_INSERT_MANY, [self.sequence, self.version, _list(lot), self.step])

    def _insert(self, subscriber: Subscriber) -> Any:
        (row,) = self.connection.execute(
            _INSERT_ENROLLMENT, [self.sequence, self.version, *subscriber]
        ).fetchall()
        return row[0]


Way: TypeAlias = Callable[[Session, Lot], None]
Run: TypeAlias = Callable[[Way, Lot], None]

ONE_BY_ONE: dict[str, Way] = {
    "": Session.enroll,
    "_row": Session.insert_row,
    "_rows": Session.insert_rows,
}
IN_BULK: dict[str, Way] = {"": Session.enroll_many, "_rows": Session.insert_many}


def measure(on: str, *, turns: int) -> dict[str, Any]:
    """Measure on databases of a server."""
    with scratch_database(on) as database:
        result = measure_alone(database, turns)
    with scratch_database(on) as database:
        return result | measure_busy(database)


def measure_alone(dsn: str, turns: int) -> dict[str, Any]:
    """Return enrolments per second, and ratios, for a database with nothing in it yet."""
    install(dsn)
    people = _people()
    with ExitStack() as stack:
        connections = [stack.enter_context(_connect(dsn)) for _ in range(CLIENTS)]
        prepare(connections[0], sequence(3))
        sessions = [Session(connection) for connection in connections]
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))

        def by_one(way: Way, lot: Lot) -> None:
            with sessions[0].connection.transaction():
                way(sessions[0], lot)

        def by_all(way: Way, lot: Lot) -> None:
            list(pool.map(way, sessions, [lot[number::CLIENTS] for number in range(CLIENTS)]))

        def rates(name: str, run: Run, ways: dict[str, Way], turns: int, size: int) -> Any:
            through = {way: partial(run, each) for way, each in ways.items()}
            return rates_of(name, size, in_turns(turns, through, _lots(people, size)))

        return {
            "turns": turns,
            "clients": CLIENTS,
            **rates("single", by_one, ONE_BY_ONE, turns, CALLS),
            **rates("clients", by_all, ONE_BY_ONE, turns, CALLS),
            **rates("bulk", by_one, IN_BULK, turns // 4 + 1, BULK),
        }


def measure_busy(dsn: str) -> dict[str, Any]:
    """Return the rates of one transaction beside two workers, and how it slows down."""
    install(dsn)
    people = _people()
    with _connect(dsn) as connection:
        prepare(connection, sequence(3))
        session = Session(connection)
        for _ in range(WAITING // BULK):
            session.enroll_many(list(islice(people, BULK)))
        with (
            processes(PROCESSES, work, dsn, "sql"),
            connection.transaction(),
        ):
            through = {way: partial(each, session) for way, each in IN_BULK.items()}
            busy = in_turns(THOUSANDS, through, _lots(people, THOUSAND))
    return {
        **rates_of("busy", THOUSAND, busy),
        "busy_growth": round(median(busy[""][-5:]) / median(busy[""][:5]), 2),
    }


def _connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True)


def _people() -> Iterator[Subscriber]:
    for number in count():
        data = {
            "email": f"user{number}@example.com",
            "name": f"user {number}",
            "plan": "starter",
            "features": ["reports", "alerts", "exports"],
        }
        yield Subscriber(str(number), json_module.dumps(data))


def _lots(people: Iterator[Subscriber], size: int) -> Iterator[Lot]:
    while True:
        yield list(islice(people, size))


def _list(lot: Lot) -> str:
    each = (f'{{"subscriber_id": "{id}", "data": {data}}}' for id, data in lot)
    return f"[{', '.join(each)}]"
