"""An application's transaction that stays open holds up what it is about, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email, onboarding

OTHERS = 40
IMPORT = [{"channel": "email", "recipient": f"{n}@import.example"} for n in range(20_000)]


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """A tenant whose sequence is about a topic, and another tenant that has the same."""
    for tenant in (TENANT, "other"):
        engine.create_topic(tenant, "news", "News")
        engine.create_channel_adapter(tenant, "email", "email", "smtp", is_default=True)
        engine.apply(tenant, onboarding(email("welcome", config={"topic": "news"})))
    return engine


@pytest.fixture
def third(dsn: str, clock: Clock) -> Iterator[Engine]:
    """A third connection to the same database, at the same time."""
    with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection:
        clock.connections = (*clock.connections, connection)
        clock.set(clock.now)
        yield Engine(connection)


def everybody(engine: Engine) -> set[str]:
    """Enrol many people of both tenants; return their addresses."""
    joined: set[str] = set()
    for tenant in (TENANT, "other"):
        addresses = [f"{n}@{tenant}.example.com" for n in range(OTHERS)]
        people = [
            {"subscriber_id": f"{n}", "data": {"email": address}}
            for n, address in enumerate(addresses)
        ]
        assert len(engine.enroll_many(tenant, "onboarding", people)) == OTHERS
        joined.update(addresses)
    return joined


def sent(engine: Engine) -> set[str]:
    """Let everything due go; return to whom."""
    return {claim.recipient for claim in engine.deliver()}


STOPS: dict[str, Any] = {
    "a recipient": lambda e: e.suppress(TENANT, "email", "7@acme.example.com"),
    "a recipient, of all tenants": lambda e: e.suppress(None, "email", "7@acme.example.com"),
    "an opt-out": lambda e: e.set_subscription(TENANT, "User", "7", "news", "unsubscribed", "form"),
}


@pytest.mark.slow
@pytest.mark.parametrize("stop", STOPS)
def test_an_open_stop_of_a_person_holds_up_that_person(
    journey: Engine, other: Engine, stop: str
) -> None:
    people = everybody(journey)
    with other.connection.transaction():
        STOPS[stop](other)
        assert sent(journey) == people - {"7@acme.example.com"}
        assert sent(journey) == set()
    assert sent(journey) == set()
    assert journey.ledger() == []


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_of_a_person_that_is_rolled_back_never_was(
    journey: Engine, other: Engine, stop: str
) -> None:
    people = everybody(journey)
    with other.connection.transaction(force_rollback=True):
        STOPS[stop](other)
        sent(journey)
    assert sent(journey) == {"7@acme.example.com"}
    assert len(people) == 2 * OTHERS


SWITCHES: dict[str, Any] = {
    "a domain": lambda e: e.suppress(TENANT, "email", "@acme.example.com"),
    "a domain, of all tenants": lambda e: e.suppress(None, "email", "@acme.example.com"),
    "the tenant": lambda e: e.pause_sending(TENANT),
    "a sequence": lambda e: e.pause_sending(TENANT, "sequence", "onboarding"),
    "a channel": lambda e: e.pause_sending(TENANT, "channel", "email"),
    "an adapter": lambda e: e.pause_sending(TENANT, "adapter", "email"),
    "a sender": lambda e: e.pause_adapter(TENANT, e.get_default_adapter(TENANT, "email").id),
    "a switch": lambda e: e.connection.execute(
        "update dripdrop.sequences set active = false where tenant_key = 'acme'"
    ),
    "a step's switch": lambda e: e.connection.execute(
        "update dripdrop.steps set active = false where tenant_key = 'acme'"
    ),
    "a sender's switch": lambda e: e.update_channel_adapter(
        TENANT, e.get_default_adapter(TENANT, "email").id, active=False
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("stop", SWITCHES)
def test_an_open_stop_of_a_tenant_holds_up_no_other_tenant(
    journey: Engine, other: Engine, stop: str
) -> None:
    people = everybody(journey)
    with other.connection.transaction():
        SWITCHES[stop](other)
        assert sent(journey) == {person for person in people if "@other." in person}
        assert sent(journey) == set()
    assert sent(journey) == set()


def test_an_open_pause_of_everything_holds_up_everything(journey: Engine, other: Engine) -> None:
    people = everybody(journey)
    with other.connection.transaction(force_rollback=True):
        other.pause_sending(None, "everything")
        assert sent(journey) == set()
    assert sent(journey) == people


@pytest.mark.slow
@pytest.mark.parametrize("tenant", [TENANT, None])
def test_an_open_import_of_suppressions_holds_up_nobody_else(
    journey: Engine, other: Engine, tenant: str | None
) -> None:
    people = everybody(journey)
    with other.connection.transaction():
        assert len(other.suppress_many(tenant, IMPORT)) == len(IMPORT)
        assert sent(journey) == people
        (locks,) = other.rows("select count(*) from pg_locks where locktype = 'advisory'")
        assert locks.count <= 100
    (kept,) = journey.rows("select count(*) from dripdrop.suppressions")
    assert kept.count == len(IMPORT)


@pytest.mark.slow
def test_an_import_one_by_one_takes_no_more_locks(journey: Engine, other: Engine) -> None:
    with other.connection.transaction():
        for entry in IMPORT[:150]:
            other.suppress(TENANT, entry["channel"], entry["recipient"])
        (locks,) = other.rows("select count(*) from pg_locks where locktype = 'advisory'")
        assert locks.count == 100


@pytest.mark.slow
def test_what_leaves_while_an_import_is_open_has_left_before_it(
    journey: Engine, other: Engine
) -> None:
    entries = [*IMPORT[:200], {"channel": "email", "recipient": "7@acme.example.com"}]
    everybody(journey)
    with ThreadPoolExecutor() as pool:
        with journey.connection.transaction():
            journey.tick()
            journey.render()
            assert len(journey.claim_sends("email")) == 2 * OTHERS
            importing = pool.submit(other.suppress_many, TENANT, entries)
            journey.wait_until_blocked(other.connection)
            (seen,) = journey.rows("select count(*) from dripdrop.suppressions")
            assert seen.count == 0
        importing.result(20)
    (kept,) = journey.rows("select count(*) from dripdrop.suppressions")
    assert kept.count == len(entries)


@pytest.mark.slow
def test_while_a_stop_waits_for_a_claim_the_others_go_on(
    journey: Engine, other: Engine, third: Engine
) -> None:
    everybody(journey)
    journey.tick()
    journey.render()
    with ThreadPoolExecutor() as pool:
        with journey.connection.transaction():
            (mine,) = journey.claim_sends("email", batch_size=1)
            tenant = mine.tenant_key
            pausing = pool.submit(other.pause_sending, tenant)
            journey.wait_until_blocked(other.connection)
            theirs = third.claim_sends("email")
            assert {claim.tenant_key for claim in theirs} == {TENANT, "other"} - {tenant}
            # A claim that is under way has a pointer of each tenant in hand.
            assert len(theirs) == OTHERS - 1
        pausing.result(20)


@pytest.mark.parametrize("reason", ["manual", "complaint"])
def test_of_two_suppressions_at_once_the_worse_reason_stays(
    journey: Engine, other: Engine, reason: str
) -> None:
    later = "complaint" if reason == "manual" else "manual"
    with ThreadPoolExecutor() as pool:
        with journey.connection.transaction():
            journey.suppress(TENANT, "email", "sam@example.com", reason)
            second = pool.submit(other.suppress, TENANT, "email", "sam@example.com", later)
            journey.wait_until_blocked(other.connection)
        assert second.result(20).reason == "complaint"
    history = journey.rows("select action, reason from dripdrop.suppression_history order by id")
    assert (history[0].action, history[0].reason) == ("suppressed", reason)
    assert [(h.action, h.reason) for h in history[1:]] == (
        [("changed", "complaint")] if reason == "manual" else []
    )


@pytest.mark.slow
def test_an_open_suppression_keeps_no_other_from_being_written(
    journey: Engine, other: Engine
) -> None:
    other.connection.execute("set lock_timeout = '1s'")
    with journey.connection.transaction():
        journey.suppress_many(TENANT, IMPORT[:5000])
        for address in ("sam@example.com", "kim@example.com", "@d.example"):
            other.suppress(TENANT, "email", address)
        other.suppress("other", "email", IMPORT[0]["recipient"])


@pytest.mark.slow
def test_an_opt_out_is_later_than_what_left_while_it_was_open(
    journey: Engine, other: Engine, clock: Clock
) -> None:
    sam = journey.enroll(TENANT, "onboarding", "User", "1", {"email": "1@example.com"})
    with other.connection.transaction():
        for n in range(100):
            other.suppress(TENANT, "email", f"{n}@elsewhere.example")
        other.set_subscription(TENANT, "User", "1", "news", "unsubscribed", "form")
        clock.connections = (journey.connection,)
        clock.advance(minutes=1)
        assert len(journey.deliver()) == 1
    claimed_at = journey.last(sam.id).claimed_at
    (kept,) = journey.rows("select at from dripdrop.subscriptions")
    (noted,) = journey.rows("select at from dripdrop.consent_records")
    assert kept.at == noted.at > claimed_at


@pytest.mark.slow
def test_resuming_one_tenant_locks_nothing_of_another(journey: Engine, other: Engine) -> None:
    everybody(journey)
    for tenant in (TENANT, "other"):
        journey.pause_sending(tenant)
    journey.tick()
    with journey.unguarded():
        journey.connection.execute("delete from dripdrop.sending_pauses where tenant_key = 'other'")
    with other.connection.transaction():
        other.resume_sending(TENANT)
        journey.reconcile()
        assert {person for person in sent(journey) if "@acme." in person} == set()
        (left,) = journey.rows("select count(*) from dripdrop.ledger")
        (done,) = journey.rows(
            "select count(*) from dripdrop.step_executions"
            " where tenant_key = 'other' and state = 'sent'"
        )
        assert (left.count, done.count) == (0, OTHERS)


def test_thresholds_pass_over_a_sender_that_somebody_is_changing(
    journey: Engine, other: Engine
) -> None:
    adapter = journey.get_default_adapter(TENANT, "email")
    other.connection.execute("set lock_timeout = '1s'")
    with journey.connection.transaction():
        journey.update_channel_adapter(TENANT, adapter.id, config={"host": "mx.example.com"})
        assert other.check_thresholds() == []


@pytest.mark.slow
def test_an_open_change_of_limits_holds_up_nobody(journey: Engine, other: Engine) -> None:
    adapter = journey.get_default_adapter(TENANT, "email")
    journey.set_adapter_limits(TENANT, adapter.id, rate_limits={"adapter": "10/h"})
    everybody(journey)
    assert len(sent(journey)) == OTHERS + 10
    journey.connection.execute("set lock_timeout = '1s'")
    with other.connection.transaction():
        other.set_adapter_limits(TENANT, adapter.id, rate_limits={"adapter": "1000/h"})
        other.set_frequency_cap(TENANT, "week", 5, timedelta(days=7))
        journey.enroll(TENANT, "onboarding", "User", "late", {"email": "late@example.com"})
        assert journey.tick().deferred == 1
        assert sent(journey) == set()
    journey.tick()
    assert len(sent(journey)) == OTHERS - 10 + 1


@pytest.mark.slow
def test_a_bounce_waits_for_nobody_who_suppresses_the_same_address(
    journey: Engine, other: Engine, clock: Clock
) -> None:
    everybody(journey)
    journey.connection.execute("set statement_timeout = '20s'")
    claims = journey.claim()
    mine = "7@acme.example.com"
    with other.connection.transaction(force_rollback=True):
        other.suppress(TENANT, "email", mine)
        journey.record(claims, "bounced", hard=True)
        (kept,) = journey.rows("select count(*) from dripdrop.suppressions")
        assert kept.count == 2 * OTHERS - 1
    clock.advance(minutes=30)
    journey.tick()
    assert [row.reason for row in journey.list_suppressions(TENANT, mine)] == ["bounce"]
    assert journey.ledger() == []
