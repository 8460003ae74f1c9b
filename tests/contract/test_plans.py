"""What runs often never reads a big table from end to end, however long the history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.conftest import Clock, Databases
from tests.engine import TENANT, Engine, after, email, onboarding

pytestmark = pytest.mark.slow

PAST = 40_000
"""Enrolments of the past, with two executions, two records of them and an event each."""

BIG = [
    "enrollments",
    "step_executions",
    "message_reports",
    "suppressions",
    "subscriptions",
    "events",
]

PAID = {"type": "event", "trigger_event": "paid"}
BRANCHED = [
    email(
        "asked",
        conditions=[{"event": "seen"}, {"predicate": '$.steps.asked.state != "sent"'}],
        transitions=[{"to": "waiting", "conditions": [{"event": "seen", "within": "1 day"}]}],
    ),
    email("waiting", timing=PAID | {"since": "enrollment"}),
    email("beside", timing=PAID | {"recurring": True}),
]
"""Steps that ask what happened, for people who are under way."""


@pytest.fixture(scope="module")
def history(databases: Databases, template: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with a long history and a batch of people under way."""
    name = databases.create(template)
    connection = psycopg.connect(databases.dsn(name), autocommit=True, row_factory=namedtuple_row)
    Clock(connection)
    engine = Engine(connection)
    engine.create_topic(TENANT, "news", "News")
    engine.author(email("welcome", config={"topic": "news"}), email("tip", timing=after(3, "days")))
    engine.author(*BRANCHED, key="branched", goals=[{"event": "bought"}], reentry="after_exit")
    fill(engine, PAST)
    connection.execute("analyze")
    engine.track_events(TENANT, happened("seen"))
    engine.enroll_many(TENANT, "onboarding", people("now", 300))
    yield connection
    connection.close()
    databases.drop(name)


def fill(engine: Engine, past: int) -> None:
    """Write so many enrolments of the past, and all that hangs on them."""
    with engine.unguarded():
        engine.connection.execute(
            """
            insert into dripdrop.enrollments (
              tenant_key, sequence_id, sequence_version_id, subscriber_type, subscriber_id, state,
              exit_reason, effective_mode, data
            )
            select
              v.tenant_key, v.sequence_id, v.id, 'User', 'past-' || n, 'completed', 'completed',
              'lifecycle', jsonb_build_object('email', n || '@example.com')
            from dripdrop.sequence_versions as v
            join dripdrop.sequences as q on q.id = v.sequence_id and q.key = 'onboarding'
            cross join generate_series(1, %s) as n
            """,
            [past],
        )
        engine.connection.execute("""
            insert into dripdrop.step_executions (
              tenant_key, enrollment_id, step_id, channel, state, reason, scheduled_for, recipient,
              ended_at
            )
            select
              e.tenant_key, e.id, s.id, s.channel, 'sent', 'sent', e.started_at,
              e.data ->> 'email', e.started_at
            from dripdrop.enrollments as e
            join dripdrop.steps as s on s.sequence_version_id = e.sequence_version_id
            where e.state = 'completed'
        """)
        engine.connection.execute("""
            insert into dripdrop.events (
              tenant_key, subscriber_type, subscriber_id, event_key, event_id
            )
            select e.tenant_key, e.subscriber_type, e.subscriber_id, 'seen', e.subscriber_id
            from dripdrop.enrollments as e
            where e.state = 'completed'
        """)
        engine.connection.execute("""
            insert into dripdrop.message_reports (
              tenant_key, step_execution_id, channel, provider, event_type
            )
            select x.tenant_key, x.id, x.channel, 'smtp', 'sent'
            from dripdrop.step_executions as x
            where x.state = 'sent'
        """)
        engine.connection.execute("""
            insert into dripdrop.suppressions (
              tenant_key, channel, recipient, recipient_normalized, reason
            )
            select
              e.tenant_key, 'email', e.data ->> 'email', 'was-' || (e.data ->> 'email'), 'bounce'
            from dripdrop.enrollments as e
            where e.state = 'completed'
        """)
        engine.connection.execute("""
            insert into dripdrop.subscriptions (
              tenant_key, topic_id, subscriber_type, subscriber_id, state, source, at
            )
            select e.tenant_key, t.id, e.subscriber_type, e.subscriber_id, 'subscribed', 'x', now()
            from dripdrop.enrollments as e
            cross join dripdrop.topics as t
            where e.state = 'completed'
        """)


def people(prefix: str, number: int) -> list[dict[str, Any]]:
    """Return subscribers."""
    return [
        {"subscriber_id": f"{prefix}-{n}", "data": {"email": f"{prefix}-{n}@example.com"}}
        for n in range(number)
    ]


def happened(event_key: str) -> list[dict[str, Any]]:
    """Return an event for each of those who are under way."""
    return [{"event_key": event_key, "subscriber_id": f"now-{n}"} for n in range(300)]


def scans(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return how often this transaction has read each big table from end to end."""
    rows = connection.execute(
        """
        select relname, seq_scan
        from pg_stat_xact_user_tables
        where schemaname = 'dripdrop' and relname = any (%s)
        """,
        [BIG],
    )
    return {row.relname: row.seq_scan for row in rows}


PREPARE = {
    "claim_renders": ["tick"],
    "complete_renders": ["tick", "claim_renders"],
    "claim_sends": ["tick", "claim_renders", "complete_renders"],
    "complete_sends": ["tick", "claim_renders", "complete_renders", "claim_sends"],
    "leased_renders": ["claim_due"],
    "claim_rendered": ["claim_due", "leased_renders"],
}


class Run:
    """The pipeline, one call at a time, keeping what the next call needs."""

    def __init__(self, engine: Engine, outcome: str) -> None:
        self.engine = engine
        self.outcome = outcome
        self.leased: list[Any] = []
        self.claims: list[Any] = []

    def tick(self) -> int:
        return int(self.engine.tick().queued)

    def claim_due(self) -> int:
        self.leased = self.engine.claim_due().leased
        return len(self.leased)

    def leased_renders(self) -> int:
        self.claims = self.engine.leased_renders(self.leased)
        return len(self.claims)

    def claim_rendered(self) -> int:
        self.claims = self.engine.claim_rendered(self.rendered(), "email")
        return len(self.claims)

    def claim_renders(self) -> int:
        self.claims = self.engine.claim_renders()
        return len(self.claims)

    def complete_renders(self) -> int:
        return int(self.engine.complete_renders(self.rendered()))

    def rendered(self) -> list[dict[str, Any]]:
        """Return what a renderer hands in."""
        return [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "payload": {"subject": "Hello", "text": "Hello"},
            }
            for claim in self.claims
        ]

    def claim_sends(self) -> int:
        self.claims = self.engine.claim_sends("email", batch_size=500)
        return len(self.claims)

    def complete_sends(self) -> int:
        self.engine.record(self.claims, self.outcome, hard=True)
        return len(self.claims)


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        ("tick", ""),
        ("claim_renders", ""),
        ("complete_renders", ""),
        ("claim_sends", ""),
        ("claim_due", ""),
        ("leased_renders", ""),
        ("claim_rendered", ""),
        *(
            ("complete_sends", outcome)
            for outcome in ("sent", "retry", "failed", "bounced", "rate_limited", "maybe_sent")
        ),
    ],
)
def test_the_pipeline_reads_by_index(
    history: psycopg.Connection[Any], call: str, outcome: str
) -> None:
    run = Run(Engine(history), outcome)
    with history.transaction(force_rollback=True):
        for earlier in PREPARE.get(call, []):
            getattr(run, earlier)()
        before = scans(history)
        assert getattr(run, call)() == 300
        assert scans(history) == before


STATEMENTS = {
    "reconcile": "select * from dripdrop.reconcile()",
    "enroll": """
        select dripdrop.enroll('acme', 'onboarding', 'User', 'new', '{"email": "new@example.com"}')
    """,
    "enroll again": """
        select dripdrop.enroll('acme', 'onboarding', 'User', 'now-1', '{"email": "a@example.com"}')
    """,
    "get_enrollment": "select dripdrop.get_enrollment('acme', 'onboarding', 'User', 'past-7')",
    "list_active_enrollments": "select dripdrop.list_active_enrollments('acme', 'onboarding')",
    "list_enrollments": "select dripdrop.list_enrollments('acme', 'User', 'past-7')",
    "list_enrollments of a sequence": """
        select dripdrop.list_enrollments('acme', sequence => 'onboarding', page_size => 10)
    """,
    "list_messages": "select dripdrop.list_messages('acme', 'User', 'past-7')",
    "list_messages of a sequence": """
        select dripdrop.list_messages('acme', sequence => 'onboarding', page_size => 10)
    """,
    "update_enrollment": """select dripdrop.update_enrollment('acme', %s, '{"name": "Eve"}')""",
    "update_subscriber": """
        select dripdrop.update_subscriber('acme', 'User', 'now-1', '{"name": "Eve"}')
    """,
    "unenroll_subscriber": "select dripdrop.unenroll_subscriber('acme', 'User', 'now-1')",
    "export_subscriber": "select dripdrop.export_subscriber('acme', 'User', 'past-7')",
    "erase_subscriber": "select dripdrop.erase_subscriber('acme', 'User', 'past-7')",
    "pause_enrollment": "select dripdrop.pause_enrollment('acme', %s)",
    "unenroll": "select dripdrop.unenroll('acme', %s)",
    "explain": "select dripdrop.explain('acme', %s)",
    "track_event": "select dripdrop.track_event('acme', 'paid', enrollment_id => %s)",
    "track_event of a subscriber": """
        select dripdrop.track_event('acme', 'paid', subscriber_id => 'now-1', event_id => 'x')
    """,
    "suppress": "select dripdrop.suppress('acme', 'email', '7@example.com')",
    "check_thresholds": "select * from dripdrop.check_thresholds()",
    "suppress globally": "select dripdrop.suppress(null, 'email', '7@example.com')",
    "suppress a domain": "select dripdrop.suppress('acme', 'email', '@example.com')",
    "suppress_many": """
        select dripdrop.suppress_many('acme', jsonb_agg(jsonb_build_object(
          'channel', 'email', 'recipient', n || '@example.com'
        )))
        from generate_series(1, 100) as n
    """,
    "unsuppress": "select dripdrop.unsuppress('acme', 'email', 'was-7@example.com', 'kim', 'x')",
    "is_suppressed": "select dripdrop.is_suppressed('acme', 'email', '7@example.com')",
    "list_suppressions": "select dripdrop.list_suppressions('acme', 'was-7@example.com')",
    "set_subscription": """
        select dripdrop.set_subscription('acme', 'User', 'past-7', 'news', 'unsubscribed', 'x')
    """,
    "get_subscriptions": "select dripdrop.get_subscriptions('acme', 'User', 'past-7')",
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_call_about_one_person_reads_by_index(
    history: psycopg.Connection[Any], name: str
) -> None:
    row = history.execute(
        "select id from dripdrop.enrollments where subscriber_id = 'now-1'"
    ).fetchone()
    assert row is not None
    statement = STATEMENTS[name].replace("%s", f"'{row.id}'")
    with history.transaction(force_rollback=True):
        before = scans(history)
        history.execute(statement.encode())
        assert scans(history) == before


def test_enrolling_many_reads_by_index(history: psycopg.Connection[Any]) -> None:
    engine = Engine(history)
    with history.transaction(force_rollback=True):
        before = scans(history)
        assert len(engine.enroll_many(TENANT, "onboarding", people("more", 500))) == 500
        assert scans(history) == before


def test_what_happened_is_found_by_index(history: psycopg.Connection[Any]) -> None:
    run = Run(Engine(history), "sent")
    with history.transaction(force_rollback=True):
        before = scans(history)
        run.engine.enroll_many(TENANT, "branched", people("now", 300))
        for call in (*PREPARE["complete_sends"], "complete_sends") * 2:
            getattr(run, call)()
        run.engine.reconcile()
        run.engine.track_events(TENANT, happened("paid"))
        assert run.tick() + run.tick() == 600
        run.engine.track_events(TENANT, happened("bought"))
        assert scans(history) == before
        (row,) = run.engine.rows(
            "select count(*) from dripdrop.enrollments where exit_reason = 'goal'"
        )
        assert row.count == 300


@pytest.mark.parametrize("tenant", [TENANT, None])
def test_tracking_what_is_known_reads_by_index(
    history: psycopg.Connection[Any], tenant: str | None
) -> None:
    engine = Engine(history)
    with history.transaction(force_rollback=True):
        known = [event | {"event_id": f"paid-{n}"} for n, event in enumerate(happened("paid"))]
        before = scans(history)
        assert engine.track_events(tenant, known) == engine.track_events(tenant, known)
        assert scans(history) == before


def test_resending_what_is_unknown_reads_by_index(history: psycopg.Connection[Any]) -> None:
    run = Run(Engine(history), "maybe_sent")
    with history.transaction(force_rollback=True):
        for call in (*PREPARE["complete_sends"], "complete_sends"):
            getattr(run, call)()
        before = scans(history)
        row = history.execute("select * from dripdrop.reconcile('0 seconds')").fetchone()
        assert row is not None and row.presumed_sent == 300
        assert scans(history) == before


def test_putting_back_lost_pointers_reads_by_index(history: psycopg.Connection[Any]) -> None:
    with history.transaction(force_rollback=True):
        Run(Engine(history), "").tick()
        history.execute("truncate pgmq.q_dripdrop_render")
        before = scans(history)
        row = history.execute("select * from dripdrop.reconcile()").fetchone()
        assert row is not None and row.repointed == 300
        assert scans(history) == before


def test_looking_for_what_is_under_way_reads_nothing_that_waits(
    history: psycopg.Connection[Any],
) -> None:
    engine = Engine(history)
    with history.transaction(force_rollback=True):
        with engine.unguarded():
            engine.connection.execute("""
                insert into dripdrop.step_executions (
                  tenant_key, enrollment_id, step_id, occurrence, channel, waits_for, awaited_event,
                  scheduled_for, inserted_at
                )
                select
                  x.tenant_key, x.enrollment_id, x.step_id, 1, x.channel, 'event', 'paid', now(),
                  x.scheduled_for - interval '1 day'
                from dripdrop.step_executions as x
                where x.ended_at is not null
                limit 5000
            """)
        before = read(history)
        history.execute("select * from dripdrop.reconcile()")
        assert read(history)["step_executions"] - before["step_executions"] < 1000


def test_a_scan_would_be_noticed(history: psycopg.Connection[Any]) -> None:
    with history.transaction(force_rollback=True):
        before = scans(history)
        history.execute("select count(*) from dripdrop.step_executions where response is not null")
        assert scans(history) != before


# Statistics of a time when there was one of everything


FEW = 40
"""Rows of one table that a call may read for each person it is about."""


@pytest.fixture
def outdated(history: psycopg.Connection[Any], databases: Databases) -> Iterator[Engine]:
    """A session that plans by statistics by which every value is rare."""
    with psycopg.connect(
        databases.dsn(history.info.dbname), autocommit=True, row_factory=namedtuple_row
    ) as connection:
        Clock(connection)
        with connection.transaction(force_rollback=True):
            connection.execute("set local allow_system_table_mods = on")
            connection.execute("""
                update pg_statistic set stadistinct = -1
                where starelid in (
                  select oid from pg_class where relnamespace = 'dripdrop'::regnamespace
                )
            """)
            connection.execute("""
                update pg_class set reltuples = 1, relpages = 1
                where relnamespace = 'dripdrop'::regnamespace
                  and relkind in ('r', 'i') and relpages > 0
            """)
            yield Engine(connection)


def read(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return how many rows of each big table this transaction has read."""
    rows = connection.execute(
        """
        select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as rows
        from pg_stat_xact_user_tables
        where schemaname = 'dripdrop' and relname = any (%s)
        """,
        [BIG],
    )
    return {row.relname: row.rows for row in rows}


@contextmanager
def reading_little(connection: psycopg.Connection[Any], people: int) -> Iterator[None]:
    """Expect that of no table more is read than the people it is about account for."""
    before = read(connection)
    yield
    much = {name: rows - before.get(name, 0) for name, rows in read(connection).items()}
    assert {name: rows for name, rows in much.items() if rows > FEW * people} == {}


@pytest.mark.parametrize("key", ["onboarding", "branched"])
def test_enrolling_many_reads_little_whatever_the_statistics_say(
    outdated: Engine, key: str
) -> None:
    for number in range(3):
        with reading_little(outdated.connection, 300):
            outdated.enroll_many(TENANT, key, people(f"more-{number}", 300))


@pytest.mark.parametrize("last", ["claim_sends", "claim_rendered"])
def test_the_pipeline_reads_little_whatever_the_statistics_say(outdated: Engine, last: str) -> None:
    run = Run(outdated, "sent")
    for call in (*PREPARE[last], last, "complete_sends"):
        with reading_little(outdated.connection, 300):
            assert getattr(run, call)() == 300


def test_events_read_little_whatever_the_statistics_say(outdated: Engine) -> None:
    for key in ("paid", "bought"):
        with reading_little(outdated.connection, 300):
            outdated.track_events(TENANT, happened(key))


def test_suppressing_many_reads_little_whatever_the_statistics_say(outdated: Engine) -> None:
    for prefix in ("was-", ""):
        entries = [
            {"channel": "email", "recipient": f"{prefix}{n}@example.com"} for n in range(300)
        ]
        with reading_little(outdated.connection, 300):
            assert len(outdated.suppress_many(TENANT, entries)) == 300


def test_migrating_reads_little_whatever_the_statistics_say(outdated: Engine) -> None:
    before = outdated.get_active_sequence_version(TENANT, sequence(outdated, "branched"))
    outdated.enroll_many(TENANT, "branched", people("now", 300))
    changed = [{**BRANCHED[0], "name": "Asked"}, *BRANCHED[1:]]
    after_it = outdated.apply(
        TENANT,
        onboarding(*changed, key="branched", exit_when=[{"event": "bought"}], reentry="after_exit"),
    )
    with reading_little(outdated.connection, 300):
        outdated.migrate_enrollments(TENANT, "branched", before.version, after_it.version)


def sequence(engine: Engine, key: str) -> Any:
    """Return the id of a sequence."""
    return engine.rows("select id from dripdrop.sequences where key = %s", key)[0].id


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_call_about_one_person_reads_little_whatever_the_statistics_say(
    outdated: Engine, name: str
) -> None:
    (row,) = outdated.rows("select id from dripdrop.enrollments where subscriber_id = 'now-1'")
    people = 300 if name in ("reconcile", "list_active_enrollments", "suppress_many") else 10
    with reading_little(outdated.connection, people):
        outdated.connection.execute(STATEMENTS[name].replace("%s", f"'{row.id}'").encode())
