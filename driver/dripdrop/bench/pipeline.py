"""`dripdrop bench pipeline`: how many messages a second pass through the pipeline.

Everything is real but the provider: bulk enrolment, `tick`, Liquid, the fence, recording, the next
step. The provider is a sink inside the worker. Two worker processes run every stage, as
`dripdrop run --workers 2` does. In the same run, and with as many processes, a bare pgmq loop
(send, read, delete) is measured, because only a ratio means something on a machine that is shared.

With logic it takes three turns with the plain pipeline: conditions, a predicate and two transitions
on every step, a goal, an exit rule and a side step, while events are tracked, one for ten messages.
With policies it does so under a send window, suppressions, a rate limit and a daily cap, none of
which stops a message. A rate is then the median turn's.
"""

from __future__ import annotations

import time
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg import sql

from dripdrop.bench import pgmq_loop
from dripdrop.bench.processes import processes
from dripdrop.bench.scratch import scratch_database, value
from dripdrop.bench.workers import BATCH, PROCESSES, Mode, work
from dripdrop.bench.workload import TEMPLATE, enroll, prepare, sequence
from dripdrop.install import install
from dripdrop.templates import Renderer

Beside: TypeAlias = Literal["logic", "policies"]

TURNS = 3
MESSAGES_PER_EVENT = 10


def measure(
    on: str, *, enrollments: int, steps: int, mode: Mode, beside: Beside | None = None
) -> dict[str, Any]:
    """Measure on databases of a server: the plain pipeline, or another one in turns with it."""

    def one(**kind: bool) -> dict[str, Any]:
        with scratch_database(on) as database:
            return run(database, enrollments, steps, mode, **kind)

    if beside is None:
        return one()
    plain, other = [], []
    for _ in range(TURNS):
        plain.append(one())
        other.append(one(**{beside: True}))
    middle, result = _middle(plain)["messages_per_second"], _middle(other)
    result["plain_messages_per_second"] = middle
    result[f"{beside}_ratio"] = round(result["messages_per_second"] / middle, 2)
    return result


def _middle(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of the median rate."""
    return sorted(results, key=itemgetter("messages_per_second"))[len(results) // 2]


def run(
    dsn: str,
    enrollments: int,
    steps: int,
    mode: Mode,
    *,
    logic: bool = False,
    policies: bool = False,
) -> dict[str, Any]:
    """Return rates in messages per second, and ratios, for a database with nothing in it yet."""
    install(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _track_functions(connection)
        prepare(connection, sequence(steps, logic=logic), policies=policies)
        began = time.perf_counter()
        enroll(connection, enrollments)
        enrolled_per_second = enrollments / (time.perf_counter() - began)
        stages, events = _run_pipeline(dsn, connection, mode, enrollments if logic else 0)
        messages, seconds, tenths = _timeline(connection)
        per_stage = _per_stage(connection, messages) | stages
        on_the_path = value(connection, _SENT_ON_THE_PATH)
        out_of_place = value(connection, "select count(*) from dripdrop.ledger")
    pgmq = pgmq_loop.rate(dsn, min(messages, 100_000))
    if on_the_path != enrollments * steps or out_of_place:
        raise RuntimeError(f"{on_the_path} messages sent, {out_of_place} rows out of place")
    return {
        "mode": mode,
        "logic": logic,
        "policies": policies,
        "enrollments": enrollments,
        "steps": steps,
        "messages": messages,
        "events": events,
        "seconds": round(seconds, 2),
        "messages_per_second": round(messages / seconds),
        "last_tenth_to_first": round(tenths[-1] / tenths[0], 2),
        "tenths_per_second": [round(rate) for rate in tenths],
        "enrollments_per_second": round(enrolled_per_second),
        "stages_per_second": per_stage,
        "pgmq_per_second": round(pgmq),
        "ratio_to_pgmq": round(messages / seconds / pgmq, 3),
        "processes": PROCESSES,
        "batch_size": BATCH,
    }


_SENT_ON_THE_PATH = """
    select count(*)
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id and not s.recurring
    where x.state = 'sent'
"""


def _run_pipeline(
    dsn: str, connection: psycopg.Connection[Any], mode: Mode, readers: int
) -> tuple[dict[str, int], int]:
    """Let the processes work until nobody is active any more, while readers read pages.

    Return the renderer's own rate, and how many events there were.
    """
    events = 0
    with processes(PROCESSES, work, dsn, mode) as (_, stop):
        connection.execute("create table dripdrop_bench_began as select clock_timestamp() as at")
        while value(
            connection, "select exists (select from dripdrop.enrollments where state = 'active')"
        ):
            if readers and value(connection, _SENT) >= (events + BATCH) * MESSAGES_PER_EVENT:
                _track(connection, events, readers)
                events += BATCH
            else:
                time.sleep(0.2)
        stop.set()
    if mode == "sql":
        return {}, events
    return {"render": _rendering_rate()}, events


# The statistics know without a look at the rows: a step that is planned follows one that was sent.
_SENT = """
    select x.n_tup_ins - e.n_tup_ins
    from pg_stat_user_tables as x, pg_stat_user_tables as e
    where x.relid = 'dripdrop.step_executions'::regclass
      and e.relid = 'dripdrop.enrollments'::regclass
"""


def _track(connection: psycopg.Connection[Any], after: int, readers: int) -> None:
    """Track a batch of events, spread over all readers; every tenth is a chapter's last page."""
    connection.execute(
        """
        select count(*)
        from dripdrop.track_events(null, (
          select jsonb_agg(jsonb_build_object(
            'event_key', 'read_page',
            'subscriber_id', (number * 7919 %% %(readers)s)::text,
            'event_id', 'page-' || number,
            'event_data', jsonb_build_object('page', number, 'last', number %% 10 = 0)
          ))
          from generate_series(%(after)s::bigint + 1, %(after)s::bigint + %(batch)s) as number
        ))
        """,
        {"after": after, "batch": BATCH, "readers": readers},
    )


def _rendering_rate() -> int:
    renderer = Renderer()
    renderer.learn("template", TEMPLATE)
    variables = {
        "name": "user 1",
        "plan": "enterprise",
        "features": ["reports", "alerts", "exports"],
        "subscriber": {"id": "1"},
        "step_key": "step_1",
    }
    count = 2000
    began = time.perf_counter()
    for _ in range(count):
        renderer.render("template", variables)
    return round(count / (time.perf_counter() - began))


def _timeline(connection: psycopg.Connection[Any]) -> tuple[int, float, list[float]]:
    """Return how many messages were sent, in how many seconds, and the rate of each tenth."""
    rows = connection.execute(
        """
        with sent as (
          select ended_at, ntile(10) over (order by ended_at) as tenth
          from dripdrop.step_executions
          where state = 'sent'
        )
        select
          tenth,
          count(*),
          extract(epoch from max(ended_at) - (select at from dripdrop_bench_began))
        from sent
        group by tenth
        order by tenth
        """
    ).fetchall()
    rates = []
    before = 0.0
    for _, count, until in rows:
        rates.append(count / max(float(until) - before, 0.001))
        before = float(until)
    return sum(row[1] for row in rows), before, rates


def _track_functions(connection: psycopg.Connection[Any]) -> None:
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("alter database {} set track_functions = 'pl'").format(database))


def _per_stage(connection: psycopg.Connection[Any], messages: int) -> dict[str, int]:
    """Return messages per second of each SQL stage, by the time the server spent in it."""
    rows = connection.execute(
        """
        select funcname, total_time
        from pg_stat_user_functions
        where schemaname = 'dripdrop'
          and funcname in (
            'tick', 'claim_due', 'claim_renders', 'leased_renders', 'complete_renders',
            'claim_rendered', 'claim_sends', 'complete_sends'
          )
        order by funcname
        """
    ).fetchall()
    return {name: round(messages / (total / 1000)) for name, total in rows}
