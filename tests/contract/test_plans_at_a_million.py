"""No hot function reads more because a million rows lie there that no statistics know of.

The statistics are those of a time when everything was about to be sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.conftest import Clock, Databases
from tests.contract.test_plans import (
    BIG,
    BRANCHED,
    Run,
    fill,
    happened,
    people,
    reading_little,
    scans,
    sequence,
)
from tests.engine import TENANT, Engine, after, email
from tests.hooks.conftest import SCORED

pytestmark = pytest.mark.slow

MILLION = 1_000_000
PEOPLE = 300


@pytest.fixture(scope="module")
def million(databases: Databases, template: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with a million messages of the past and a few to come."""
    name = databases.create(template)
    connection = psycopg.connect(databases.dsn(name), autocommit=True, row_factory=namedtuple_row)
    Clock(connection)
    make_million(Engine(connection))
    yield connection
    connection.close()
    databases.drop(name)


def make_million(engine: Engine) -> None:
    """Let the statistics know of a few people, and add a million messages."""
    engine.create_topic(TENANT, "news", "News")
    engine.author(email("welcome", config={"topic": "news"}), email("tip", timing=after(3, "days")))
    engine.author(*BRANCHED, key="branched", goals=[{"event": "bought"}], reentry="after_exit")
    engine.author(SCORED, key="scored")
    engine.create_http_hook(
        TENANT, sequence(engine, "scored"), "score", "https://api.example.com/", response_path="x"
    )
    for table in BIG:
        engine.connection.execute(
            f"alter table dripdrop.{table} set (autovacuum_enabled = false)".encode()
        )
    engine.enroll_many(TENANT, "onboarding", people("now", PEOPLE))
    engine.connection.execute("analyze")
    fill(engine, MILLION // 2)


@contextmanager
def by_index(engine: Engine, number: int) -> Iterator[None]:
    """Expect that nothing is read from end to end, and little of anything for so many people."""
    before = scans(engine.connection)
    with reading_little(engine.connection, number):
        yield
    assert scans(engine.connection) == before


def test_there_are_a_million_and_the_statistics_do_not_know(
    million: psycopg.Connection[Any],
) -> None:
    (row,) = million.execute("""
        select (select count(*) from dripdrop.step_executions), c.reltuples
        from pg_class as c
        where c.oid = 'dripdrop.step_executions'::regclass
    """).fetchall()
    assert row.count == MILLION + PEOPLE
    assert row.reltuples == PEOPLE


@pytest.mark.parametrize(
    "calls",
    [
        ("claim_due", "leased_renders", "claim_rendered", "complete_sends"),
        ("tick", "claim_renders", "complete_renders", "claim_sends", "complete_sends"),
    ],
)
def test_the_pipeline(million: psycopg.Connection[Any], calls: tuple[str, ...]) -> None:
    run = Run(Engine(million), "sent")
    with million.transaction(force_rollback=True):
        for call in calls:
            with by_index(run.engine, PEOPLE):
                assert getattr(run, call)() == PEOPLE


def test_hooks(million: psycopg.Connection[Any]) -> None:
    engine = Engine(million)
    with million.transaction(force_rollback=True):
        engine.enroll_many(TENANT, "scored", people("scored", PEOPLE))
        with by_index(engine, 2 * PEOPLE):
            assert engine.tick(batch_size=1000).asked == PEOPLE
        with by_index(engine, PEOPLE):
            claims = engine.claim_hooks(PEOPLE)
        assert claims
        results = [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "values": {"score": {"value": 85}},
            }
            for claim in claims
        ]
        with by_index(engine, PEOPLE):
            assert engine.complete_hooks(results) == len(claims)


@pytest.mark.parametrize("key", ["onboarding", "branched"])
def test_enrolment(million: psycopg.Connection[Any], key: str) -> None:
    engine = Engine(million)
    with million.transaction(force_rollback=True):
        for number in range(3):
            with by_index(engine, 1):
                engine.enroll(TENANT, key, "User", f"one-{number}", {"email": "a@b.example"})
        with by_index(engine, PEOPLE):
            assert len(engine.enroll_many(TENANT, key, people("more", PEOPLE))) == PEOPLE


def test_events(million: psycopg.Connection[Any]) -> None:
    engine = Engine(million)
    with million.transaction(force_rollback=True):
        engine.enroll_many(TENANT, "branched", people("now", PEOPLE))
        with by_index(engine, 1):
            engine.track_event(TENANT, "paid", subscriber_id="now-1", event_id="paid-1")
        for key in ("seen", "bought"):
            with by_index(engine, PEOPLE):
                engine.track_events(TENANT, happened(key))


def test_reconcile(million: psycopg.Connection[Any]) -> None:
    run = Run(Engine(million), "maybe_sent")
    with million.transaction(force_rollback=True):
        for call in ("claim_due", "leased_renders", "claim_rendered", "complete_sends"):
            getattr(run, call)()
        with by_index(run.engine, PEOPLE):
            assert run.engine.reconcile(timedelta(0)).presumed_sent == PEOPLE
