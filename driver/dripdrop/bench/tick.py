"""`dripdrop bench tick`: how many due messages one session decides a second, and an idle tick.

A turn decides five batches of 500 by `tick()`, and as many by `claim_due()`, which leases what it
decides to its caller. It takes turns with its anchor, a bare UPDATE that takes as many slim rows in
the order in which they are due: a lock, a new version, an index entry less. A rate is the median
turn's. All of it is measured plain, and again with policies: under a send window, suppressions, a
rate limit and a daily cap, none of which stops a message.

The idle tick looks for work where there is none: many messages come due in a month, and many
senders have sent what they may for a day and have a line. Its anchor is a bare look into the index
of what is due. Both are the median of many calls, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from statistics import median
from typing import Any

import psycopg

from dripdrop.bench.scratch import scratch_database, value
from dripdrop.bench.turns import in_turns, rates_of
from dripdrop.bench.workers import BATCH, pass_through
from dripdrop.bench.workload import SINK, enroll, prepare, sequence
from dripdrop.client import Client
from dripdrop.install import install

LOT = 5 * BATCH
CALLS = 200

_SLIM = """
    create table dripdrop_bench_slim as
    select number as id, 'scheduled' as state, 0 as fence, now() as due_at
    from generate_series(1, %s::int) as number
"""
_SLIM_KEYS = """
    alter table dripdrop_bench_slim add primary key (id);
    create index on dripdrop_bench_slim (due_at) where due_at is not null;
    analyze dripdrop_bench_slim
"""
_UPDATE = """
    update dripdrop_bench_slim as s
    set state = 'queued', fence = s.fence + 1, due_at = null
    where s.id = any (array(
      select d.id
      from dripdrop_bench_slim as d
      where d.due_at <= now()
      order by d.due_at
      limit %s
      for no key update skip locked
    ))
"""
_LOOK = """
    select x.id
    from dripdrop.step_executions as x
    where x.due_at <= now() and x.waits_for is distinct from 'limit'
    order by x.due_at
    limit %s
    for no key update skip locked
"""


def measure(on: str, *, turns: int, asleep: int, senders: int) -> dict[str, Any]:
    """Measure on databases of a server."""
    result: dict[str, Any] = {"turns": turns, "batch_size": BATCH}
    for name in ("plain", "policies"):
        with scratch_database(on) as database:
            result |= _decided(database, name, turns, policies=name == "policies")
    with scratch_database(on) as database:
        return result | _idle(database, asleep, senders)


def _decided(dsn: str, name: str, turns: int, *, policies: bool) -> dict[str, Any]:
    """Return messages per second, due to decided, for a database with nothing in it yet."""
    install(dsn)
    lots = turns + 1
    with psycopg.connect(dsn, autocommit=True) as connection:
        prepare(connection, sequence(3), policies=policies)
        # A tick that takes too long leaves its messages out: there are some to spare.
        enroll(connection, (2 * lots + 1) * LOT)
        connection.execute(_SLIM, [lots * LOT])
        connection.execute(_SLIM_KEYS)
        connection.execute("analyze")
        client = Client(connection)
        ways: dict[str, Callable[[int], None]] = {
            "": _until(lambda size: client.tick(size).queued),
            "_update": _until(lambda size: connection.execute(_UPDATE, [size]).rowcount),
            "_leased": _until(lambda size: len(client.claim_due(size).leased or ())),
        }
        return rates_of(name, LOT, in_turns(turns, ways, repeat(LOT)))


def _until(decide: Callable[[int], int]) -> Callable[[int], None]:
    """Return what decides, a batch at a time, until so many are decided."""

    def run(number: int) -> None:
        while number > 0:
            if not (decided := decide(min(number, BATCH))):
                raise RuntimeError(f"{number} messages were not decided")
            number -= decided

    return run


def _idle(dsn: str, asleep: int, senders: int) -> dict[str, Any]:
    """Return how long a tick takes that finds nothing."""
    install(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(senders):
            _use_up(Client(connection), f"tenant-{number}")
        client = Client(connection)
        while pass_through(client):
            pass
        in_line = value(
            connection, "select count(*) from dripdrop.counters where room_at is not null"
        )
        document = sequence(1)
        document["steps"][0]["timing"] = "in 30 days"
        prepare(connection, document)
        enroll(connection, asleep)
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
        times: dict[str, list[float]] = in_turns(
            CALLS,
            {
                "idle": lambda _: client.tick(BATCH),
                "idle_look": lambda _: connection.execute(_LOOK, [BATCH]).fetchall(),
            },
            repeat(0),
        )
    return {
        "asleep": asleep,
        "senders_with_a_line": in_line,
        **{f"{name}_ms": round(median(each) * 1000, 3) for name, each in times.items()},
        "idle_slowest_ms": round(max(times["idle"]) * 1000, 3),
    }


def _use_up(client: Client, tenant: str) -> None:
    """Make a tenant's sender that may send one message a day, and three people to write to."""
    sink = client.create_channel_adapter(
        tenant, "sink", "email", "smtp", config=SINK, is_default=True
    )
    client.set_adapter_limits(tenant, sink.id, rate_limits={"adapter": "1/d"})
    client.apply(tenant, sequence(1))
    client.enroll_many(
        tenant,
        "bench",
        [{"subscriber_id": str(n), "data": {"email": f"user{n}@example.com"}} for n in range(3)],
    )
