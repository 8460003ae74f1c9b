"""`dripdrop bench pipeline`: how many messages a second pass through the pipeline.

Everything is real but the provider: bulk enrolment, `tick`, Liquid, the fence, recording, the next
step. The provider is a sink inside the worker. Two worker processes run every stage, as
`dripdrop run --workers 2` does. In the same run, and with as many processes, a bare pgmq loop
(send, read, delete) is measured, because only a ratio means something on a machine that is shared.

With logic it runs twice: first as above, then with conditions, a predicate and two transitions on
every step, a goal, an exit rule and a side step, while events are tracked, one for ten messages.
With policies it runs once more beside the plain one: under a send window, suppressions, a rate
limit and a daily cap, none of which stops a message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from multiprocessing.synchronize import Barrier, Event
from typing import Any, ClassVar, Literal

import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from dripdrop.bench.processes import processes
from dripdrop.bench.report import print_result
from dripdrop.bench.scratch import scratch_database, server, value
from dripdrop.channels import Adapter, ChannelSettings, Message, Outcome
from dripdrop.client import Client
from dripdrop.daemon import Settings, Worker
from dripdrop.install import install
from dripdrop.templates import Renderer

Mode = Literal["render", "sql"]

PROCESSES = 2
BATCH = 500
QUEUE = "dripdrop_bench"
MESSAGES_PER_EVENT = 10

_TEMPLATE = {
    "subject": "{{ name | capitalize }}, your {{ plan }} plan: step {{ step_key }}",
    "html": (
        "<html><body><h1>Welcome, {{ name }}!</h1>"
        "{% if plan == 'enterprise' %}<p>Your account manager will call you.</p>"
        "{% else %}<p>Upgrade whenever you like.</p>{% endif %}"
        "<ul>{% for feature in features %}<li>{{ feature }}</li>{% endfor %}</ul>"
        '<p><a href="https://app.example.com/setup?u={{ subscriber.id }}">Finish setup</a></p>'
        "</body></html>"
    ),
    "text": "Welcome, {{ name }}! Finish: https://app.example.com/setup?u={{ subscriber.id }}",
}
SINK = {"host": "localhost", "from": "Bench <bench@example.org>"}
_PAYLOAD = {"subject": "Welcome", "html": "<p>Welcome</p>" * 20, "text": "Welcome " * 20}


def main(
    dsn: str | None,
    *,
    enrollments: int,
    steps: int,
    mode: Mode,
    beside: Literal["logic", "policies"] | None,
    json: bool,
) -> int:
    """Measure on scratch databases of a given server, or of an embedded one; print the result."""
    with server(dsn) as on:
        with scratch_database(on) as database:
            result = measure(database, enrollments, steps, mode)
        if beside is not None:
            plain = result["messages_per_second"]
            with scratch_database(on) as database:
                result = measure(database, enrollments, steps, mode, **{beside: True})
            result["plain_messages_per_second"] = plain
            result[f"{beside}_ratio"] = round(result["messages_per_second"] / plain, 2)
    print_result(result, json=json)
    return 0


def measure(
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
        if policies:
            _set_policies(connection)
        enrolled_per_second = _enroll(connection, sequence(steps, logic=logic), enrollments)
        stages, events = _run_pipeline(dsn, connection, mode, enrollments if logic else 0)
        messages, seconds, tenths = _timeline(connection)
        per_stage = _per_stage(connection, messages) | stages
        on_the_path = value(connection, _SENT_ON_THE_PATH)
        out_of_place = value(connection, "select count(*) from dripdrop.ledger")
        pgmq = _run_pgmq(dsn, connection, min(messages, 100_000))
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


class Sink:
    """A provider that accepts everything at once."""

    required_credentials: ClassVar[tuple[str, ...]] = ()
    places = 1000

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Take what every channel takes."""

    async def send(self, message: Message) -> Outcome:
        """Accept the message."""
        return Outcome("sent", "accepted", provider_message_id=message.idempotency_key[:32])

    async def aclose(self) -> None:
        """Close nothing."""


def sequence(steps: int, *, logic: bool = False) -> dict[str, Any]:
    """Return a document whose steps are due at once, one after the other."""
    document: dict[str, Any] = {
        "key": "bench",
        "name": "Benchmark",
        "steps": [
            {"key": f"step_{number}", "channel": "email", "template": _TEMPLATE}
            for number in range(1, steps + 1)
        ],
    }
    if logic:
        for number, step in enumerate(document["steps"], start=1):
            step |= _logic(number, steps)
        document["steps"].append(_SIDE_STEP)
        document["goals"] = [{"event": "bought"}]
        document["exit_when"] = [{"event": "unsubscribed"}]
    return document


_SIDE_STEP = {
    "key": "finished_chapter",
    "channel": "email",
    "template": _TEMPLATE,
    "timing": {
        "type": "event",
        "trigger_event": "read_page",
        "match": {"last": True},
        "recurring": True,
    },
}


def _logic(number: int, steps: int) -> dict[str, Any]:
    """Return conditions that hold, and transitions of which the second is taken."""
    return {
        "conditions": [
            {"field_path": "plan", "operator": "in", "expected_value": ["starter", "enterprise"]},
            {"predicate": f'$.steps.step_{max(number - 1, 1)}.state != "failed"'},
        ],
        "transitions": [
            {
                "to": None,
                "conditions": [
                    {"field_path": "plan", "operator": "==", "expected_value": "cancelled"}
                ],
            },
            {
                "to": f"step_{number + 1}" if number < steps else None,
                "conditions": [{"predicate": '$.enrollment.features[*] == "alerts"'}],
            },
        ],
    }


def _set_policies(connection: psycopg.Connection[Any]) -> None:
    """Switch on what every message has to pass, and passes."""
    client = Client(connection)
    sink = client.create_channel_adapter(
        None, "sink", "email", "smtp", config=SINK, is_default=True
    )
    client.set_adapter_limits(
        None, sink.id, rate_limits={"adapter": "1000000/m"}, daily_cap=1_000_000_000
    )
    client.update_tenant_settings(None, send_window={"start": "00:00", "end": "24:00"})
    client.suppress_many(
        None,
        [{"channel": "email", "recipient": f"other{n}@example.org"} for n in range(10_000)],
    )


_SENT_ON_THE_PATH = """
    select count(*)
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id and not s.recurring
    where x.state = 'sent'
"""


def _enroll(
    connection: psycopg.Connection[Any], sequence: dict[str, Any], enrollments: int
) -> float:
    client = Client(connection)
    if client.get_default_adapter(None, "email") is None:
        client.create_channel_adapter(None, "sink", "email", "smtp", config=SINK, is_default=True)
    client.apply(None, sequence)
    began = time.perf_counter()
    connection.execute(
        """
        select count(*)
        from generate_series(0, %(enrollments)s - 1, 5000) as chunk
        cross join lateral dripdrop.enroll_many(null, 'bench', (
          select jsonb_agg(jsonb_build_object(
            'subscriber_id', number::text,
            'data', jsonb_build_object(
              'email', 'user' || number || '@example.com',
              'name', 'user ' || number,
              'plan', case when number %% 3 = 0 then 'enterprise' else 'starter' end,
              'features', array['reports', 'alerts', 'exports']
            )
          ))
          from generate_series(chunk, least(chunk + 4999, %(enrollments)s - 1)) as number
        ))
        """,
        {"enrollments": enrollments},
    )
    return enrollments / (time.perf_counter() - began)


def _run_pipeline(
    dsn: str, connection: psycopg.Connection[Any], mode: Mode, readers: int
) -> tuple[dict[str, int], int]:
    """Let the processes work until nobody is active any more, while readers read pages.

    Return the renderer's own rate, and how many events there were.
    """
    events = 0
    with processes(PROCESSES, work, dsn, mode) as stop:
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
    renderer.learn("template", _TEMPLATE)
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


def work(dsn: str, mode: Mode, ready: Barrier, stop: Event) -> None:
    """Run every stage in this process from `ready` to `stop`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if mode == "sql":
        _work_sql(dsn, ready, stop)
    else:
        asyncio.run(_work_rendering(dsn, ready, stop))


async def _work_rendering(dsn: str, ready: Barrier, stop: Event) -> None:
    window = 2 * BATCH
    settings = Settings(
        batch_size=BATCH, interval=0.05, in_flight=window, in_flight_per_adapter=window
    )
    async with Worker(dsn, settings, open_channel=Sink) as worker:
        ready.wait()
        task = asyncio.create_task(worker.run())
        while not stop.is_set() and not task.done():
            await asyncio.sleep(0.05)
        worker.stop()
        await task


def _work_sql(dsn: str, ready: Barrier, stop: Event) -> None:
    """Claim and complete as a worker does, with payloads that are ready."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        client = Client(connection)
        ready.wait()
        while not stop.is_set():
            if not any([_pass_due(client), _pass_queued(client), _pass_sends(client)]):
                stop.wait(0.01)


def _pass_due(client: Client) -> bool:
    """Decide what is due, and hand over at once what is to be sent."""
    decided = client.claim_due(BATCH)
    if decided.leased:
        claims = client.claim_rendered(
            _rendered(client.leased_renders(decided.leased)), "email", BATCH
        )
        _complete(client, claims)
    return any(decided)


def _pass_queued(client: Client) -> bool:
    claims = client.claim_renders(BATCH)
    if claims:
        client.complete_renders(_rendered(claims))
    return bool(claims)


def _pass_sends(client: Client) -> bool:
    claims = client.claim_sends("email", BATCH)
    if claims:
        _complete(client, claims)
    return bool(claims)


def _rendered(claims: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "payload": _PAYLOAD,
        }
        for claim in claims
    ]


def _complete(client: Client, claims: list[Any]) -> None:
    client.complete_sends(
        [
            {"execution": str(claim.execution_id), "fence": claim.fence, "outcome": "sent"}
            for claim in claims
        ]
    )


def _run_pgmq(dsn: str, connection: psycopg.Connection[Any], messages: int) -> float:
    """Return the rate of send, read, delete with nothing around it."""
    connection.execute("select pgmq.create(%s)", [QUEUE])
    with processes(PROCESSES, _loop_pgmq, dsn, messages // PROCESSES):
        began = time.perf_counter()
    return messages / (time.perf_counter() - began)


def _loop_pgmq(dsn: str, messages: int, ready: Barrier, stop: Event) -> None:
    batch = [Jsonb({"execution": "0" * 36, "fence": 0})] * BATCH
    with psycopg.connect(dsn, autocommit=True) as connection:
        ready.wait()
        for _ in range(messages // BATCH):
            connection.execute(
                "select count(*) from pgmq.send_batch(%s, %s::jsonb[])", [QUEUE, batch]
            )
            read = connection.execute(
                "select array_agg(msg_id) from pgmq.read(%s, 60, %s)", [QUEUE, BATCH]
            ).fetchone()
            connection.execute(
                "select count(*) from pgmq.delete(%s, %s)", [QUEUE, (read or [[]])[0]]
            )


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
