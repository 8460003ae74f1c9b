"""prune() deletes what retention no longer keeps, and nothing that is under way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument
from tests.conftest import Clock
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine, after, email


def left(engine: Engine, table: str) -> int:
    """Return how many rows a table has."""
    (row,) = engine.rows(f"select count(*) as n from dripdrop.{table}")
    return int(row.n)


def deleted(engine: Engine, rows: int = 5000) -> dict[str, int]:
    """Prune once; return what was deleted."""
    return {row.kind: row.deleted for row in engine.prune(rows)}


def keep(engine: Engine, tenant: str | None = None, **retention: str | None) -> None:
    engine.update_tenant_settings(tenant, retention=retention)


@pytest.fixture
def past(engine: Engine, clock: Clock) -> Engine:
    """Two people whose journeys ended a hundred days ago, and one whose has just ended."""
    engine.author(email("welcome"))
    for name in ("one", "two"):
        engine.track_event(TENANT, "seen", subscriber_type="User", subscriber_id=name)
        engine.join(name)
    while engine.deliver("failed", code="http_422"):
        pass
    clock.advance(days=100)
    engine.join("new")
    engine.deliver()
    return engine


def test_without_a_word_everything_is_kept(past: Engine) -> None:
    assert past.prune() == []
    assert left(past, "enrollments") == 3


def test_journeys_that_ended_long_ago_go_with_their_messages(past: Engine) -> None:
    keep(past, enrollments="90 days")
    assert deleted(past) == {"enrollments": 2}
    assert (left(past, "enrollments"), left(past, "step_executions")) == (1, 1)
    assert past.ledger() == []


def test_what_is_under_way_is_not_touched(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), email("tip", timing=after(1, "days")))
    engine.join("open")
    engine.pause_enrollment(TENANT, engine.join("paused").id)
    cancelled = engine.join("claimed")
    engine.tick()
    engine.render()
    assert len(engine.claim_sends("email")) == 2
    engine.unenroll(TENANT, cancelled.id)
    engine.track_event(TENANT, "seen", subscriber_type="User", subscriber_id="open")
    clock.advance(days=400)
    keep(engine, enrollments="1 day", events="1 day", message_reports="1 day")
    assert set(deleted(engine).values()) == {0}
    assert left(engine, "enrollments") == 3


def test_events_and_reports_go_by_their_own_time(past: Engine) -> None:
    keep(past, events="90 days", message_reports="90 days")
    assert deleted(past) == {"events": 2, "message_reports": 2}
    assert left(past, "enrollments") == 3


def test_events_of_somebody_under_way_stay(past: Engine) -> None:
    past.author(email("welcome", timing=after(30, "days")), key="second")
    past.enroll(TENANT, "second", "User", "one", data={"email": "one@example.com"})
    keep(past, events="90 days")
    assert deleted(past) == {"events": 1}


def test_a_tenant_keeps_what_it_says(past: Engine) -> None:
    keep(past, enrollments="90 days", events="90 days")
    keep(past, TENANT, enrollments=None, events="200 days")
    assert deleted(past) == {"enrollments": 0, "events": 0}
    keep(past, TENANT, events="200 days")
    assert deleted(past) | deleted(past) == {"enrollments": 2, "events": 0}


def test_a_page_is_looked_at_at_a_time_and_the_end_is_the_beginning(past: Engine) -> None:
    keep(past, enrollments="90 days")
    looks = [(row.looked_at, row.deleted) for _ in range(5) for row in past.prune(1)]
    assert looks == [(1, 1), (1, 1), (0, 0), (0, 0), (0, 0)]


def test_counters_that_count_no_more_go(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"))
    engine.set_frequency_cap(None, "often", 5, timedelta(days=30))
    engine.join()
    engine.deliver()
    keep(engine, counters="1 day")
    clock.advance(days=29)
    assert deleted(engine) == {"counters": 0}
    clock.advance(days=2)
    assert deleted(engine) | deleted(engine) == {"counters": 1}


def test_the_last_word_on_consent_stays(engine: Engine, clock: Clock) -> None:
    engine.create_topic(TENANT, "news", "News")
    for state in ("unsubscribed", "subscribed", "unsubscribed"):
        engine.set_subscription(TENANT, "User", "sam", "news", state, "settings")
        engine.suppress(TENANT, "email", "sam@example.com", source=state)
        clock.advance(days=1)
    clock.advance(days=400)
    keep(engine, consent="1 year")
    deleted(engine)
    assert left(engine, "consent_records") == 1
    (last,) = engine.rows("select state from dripdrop.consent_records")
    assert last.state == "unsubscribed"
    assert left(engine, "suppression_history") == 1


def test_reconcile_prunes(past: Engine) -> None:
    keep(past, enrollments="90 days")
    past.reconcile()
    assert left(past, "enrollments") == 1


def test_a_row_that_cannot_be_deleted_keeps_nothing_else(past: Engine) -> None:
    past.connection.execute("""
        create function public.refuse() returns trigger language plpgsql as $$
        begin raise exception 'never'; end $$;
        create trigger refuse before delete on dripdrop.enrollments
        for each row execute function public.refuse();
    """)
    keep(past, enrollments="90 days", events="90 days")
    assert deleted(past) == {"enrollments": 0, "events": 2}


@pytest.mark.parametrize(
    "retention",
    [{"events": "soon"}, {"nothing": "1 day"}, {"events": 90}, [], {"events": "-1 day"}],
)
def test_a_retention_that_says_nothing_is_refused(engine: Engine, retention: Any) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        engine.rows(
            "select dripdrop.update_tenant_settings(null, retention => %s)", Jsonb(retention)
        )
    assert refusal.value.diag.message_hint


def test_two_at_once_do_not_wait_for_each_other(past: Engine, other: Engine) -> None:
    keep(past, enrollments="90 days")
    past.prune(1)
    other.rows("select set_config('lock_timeout', '2s', false)")
    with past.connection.transaction():
        past.prune(1)
        assert other.prune(1) == []


def test_the_command_goes_to_the_end_of_each_table(past: Engine, dsn: str) -> None:
    assert "nothing says how long" in dripdrop("prune", "--dsn", dsn).stdout
    keep(past, enrollments="1 day", events="1 day")
    result = dripdrop("prune", "--dsn", dsn)
    assert result.returncode == 0
    assert result.stdout.split() == ["table", "deleted", "enrollments", "3", "events", "2"]
