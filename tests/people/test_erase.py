"""Showing somebody all that is kept of them, and forgetting it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from dripdrop.errors import InvalidArgument, StaleFence
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

ADDRESS = "sam.sample@example.com"
DATA = {"email": ADDRESS, "name": "Samantha"}


def live(engine: Engine) -> Any:
    """Let somebody leave a trace wherever one can."""
    engine.create_topic(TENANT, "news", "News")
    engine.set_frequency_cap(TENANT, "week", 100, timedelta(days=7))
    engine.author(
        email("welcome", config={"topic": "news", "rate_limits": {"recipient": "100/h"}}),
        email("tip", timing=after(3, "days")),
        reentry="always",
    )
    sam = engine.join("42", data=DATA, metadata={"referrer": ADDRESS})
    engine.track_event(TENANT, "visited", {"by": ADDRESS}, sam.id, event_id=f"{ADDRESS}-1")
    engine.deliver(provider_message_id=f"<{ADDRESS}>", response={"text": ADDRESS})
    engine.update_enrollment(TENANT, sam.id, {"name": "Sam"})
    engine.set_subscription(TENANT, "User", "42", "news", "subscribed", "signup")
    engine.suppress(TENANT, "email", ADDRESS, "complaint", "desk", {"said": ADDRESS})
    return sam


def test_one_document_has_all_of_somebody(engine: Engine, clock: Clock) -> None:
    live(engine)
    engine.join("another")
    document = engine.export_subscriber(TENANT, "User", 42)
    (enrollment,) = document["enrollments"]
    assert enrollment["data"] == {"email": ADDRESS, "name": "Sam"}
    sent, planned = enrollment["messages"]
    assert (sent["step"], sent["recipient"]) == ("welcome", ADDRESS)
    assert sent["content"] == {"subject": "Hello", "text": "Hello"}
    assert (planned["step"], planned["state"]) == ("tip", "scheduled")
    assert [event["event_key"] for event in document["events"]] == ["visited", "enrollment_updated"]
    assert [s["state"] for s in document["subscriptions"]] == ["subscribed"]
    assert [s["reason"] for s in document["suppressions"]] == ["complaint"]
    assert "another" not in str(document)


def test_nobody_is_an_empty_document(engine: Engine) -> None:
    document = engine.export_subscriber(TENANT, "User", "42")
    for part in ("enrollments", "events", "subscriptions", "suppressions"):
        assert document[part] == []


def test_nothing_of_somebody_is_left_to_read(engine: Engine) -> None:
    live(engine)
    counts = engine.erase_subscriber(TENANT, "User", 42)
    assert counts == {
        "enrollments": 1,
        "messages": 2,
        "events": 2,
        "consent_records": 1,
        "suppressions": 1,
    }
    for table, contents in engine.contents().items():
        for trace in (ADDRESS, "Samantha", "Sam", "User:42", ",42,"):
            assert trace not in contents, table
    assert engine.ledger() == []
    assert set(engine.erase_subscriber(TENANT, "User", 42).values()) == {0}


def test_nothing_of_others_is_touched(engine: Engine) -> None:
    live(engine)
    engine.create_topic("other", "news", "News")
    engine.set_subscription("other", "User", "42", "news", "subscribed", "signup")
    engine.suppress("other", "email", ADDRESS)
    eve = engine.join("eve")
    engine.track_event("other", "visited", subscriber_id="42")
    others = engine.export_subscriber("other", "User", "42")
    before = engine.export_subscriber(TENANT, "User", "eve")
    engine.erase_subscriber(TENANT, "User", "42")
    assert engine.export_subscriber("other", "User", "42") == others
    assert engine.export_subscriber(TENANT, "User", "eve") == before
    assert engine.is_suppressed("other", "email", ADDRESS)
    assert engine.enrollment(eve.id) == eve


def test_an_erased_address_stays_suppressed(engine: Engine) -> None:
    live(engine)
    engine.erase_subscriber(TENANT, "User", "42")
    assert engine.is_suppressed(TENANT, "email", ADDRESS.upper())
    (suppression,) = engine.list_suppressions(TENANT, ADDRESS)
    assert (suppression.reason, suppression.source) == ("complaint", "desk")
    assert suppression.recipient.startswith("erased:")
    again = engine.join("43", data=DATA)
    assert engine.deliver() == []
    assert engine.executions(again.id)[0].reason == "suppressed"
    engine.unsuppress(TENANT, "email", ADDRESS, "kim", "asked for it")
    assert not engine.is_suppressed(TENANT, "email", ADDRESS)


def test_an_address_that_is_erased_twice_has_one_suppression(engine: Engine) -> None:
    live(engine)
    engine.erase_subscriber(TENANT, "User", "42")
    engine.join("43", data=DATA)
    engine.suppress(TENANT, "email", ADDRESS, "manual")
    engine.erase_subscriber(TENANT, "User", "43")
    (suppression,) = engine.list_suppressions(TENANT)
    assert suppression.reason == "complaint"


def test_an_opt_out_stays_with_the_address(engine: Engine) -> None:
    engine.create_topic(TENANT, "news", "News")
    engine.author(email("welcome", config={"topic": "news"}))
    engine.join("42", data=DATA)
    engine.set_subscription(TENANT, "User", "42", "news", "unsubscribed", "page")
    engine.erase_subscriber(TENANT, "User", "42")
    assert engine.is_suppressed(TENANT, "email", ADDRESS, "news")
    assert not engine.is_suppressed(TENANT, "email", ADDRESS)


def test_another_database_has_another_hash(engine: Engine) -> None:
    live(engine)
    engine.erase_subscriber(TENANT, "User", "42")
    (before,) = engine.list_suppressions(TENANT)
    with engine.unguarded():
        engine.rows("delete from dripdrop.erasure_secret returning 1")
        engine.rows("delete from dripdrop.suppressions returning 1")
    engine.suppress(TENANT, "email", ADDRESS)
    engine.join("42", data=DATA)
    engine.erase_subscriber(TENANT, "User", "42")
    (after_it,) = engine.list_suppressions(TENANT)
    assert after_it.recipient_normalized != before.recipient_normalized


def test_the_secret_is_read_by_nobody(engine: Engine) -> None:
    (row,) = engine.rows(
        "select has_column_privilege('dripdrop_reader', 'dripdrop.erasure_secret', 'salt', %s)",
        "select",
    )
    assert row == (False,)


def test_the_sender_is_judged_by_what_was_sent(engine: Engine) -> None:
    live(engine)
    reports = "select count(*) as n from dripdrop.message_events where event_type = 'sent'"
    before = engine.rows(reports)
    engine.erase_subscriber(TENANT, "User", "42")
    assert engine.rows(reports) == before


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered", "unknown", "failed"])
def test_whatever_the_state_of_a_message_nothing_more_leaves(engine: Engine, state: str) -> None:
    engine.author()
    sam = engine.join("42", data=DATA)
    engine.bring_to(state, sam.id)
    engine.erase_subscriber(TENANT, "User", "42")
    assert engine.deliver() == []
    engine.reconcile(timedelta(0))
    assert engine.ledger() == []


def test_the_outcome_of_what_was_being_sent_finds_nobody(engine: Engine) -> None:
    engine.author()
    engine.join("42", data=DATA)
    engine.join("eve")
    claims = engine.claim()
    engine.erase_subscriber(TENANT, "User", "42")
    with pytest.raises(StaleFence):
        engine.record(claims)
    engine.record([claim for claim in claims if claim.recipient == "eve@example.com"])
    assert engine.ledger() == []


def test_somebody_is_named(engine: Engine) -> None:
    for function in (engine.erase_subscriber, engine.export_subscriber):
        with engine.refused(InvalidArgument):
            function(TENANT, "User", "")


def test_a_claim_goes_first_and_the_erasure_waits(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    engine.author()
    engine.join("42", data=DATA)
    engine.tick()
    engine.render()
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert len(engine.claim_sends("email")) == 1
            erased = pool.submit(other.erase_subscriber, TENANT, "User", "42")
            engine.wait_until_blocked(other.connection)
        assert erased.result()["messages"] == 1


def test_a_claim_does_not_wait_for_an_erasure(engine: Engine, other: Engine, clock: Clock) -> None:
    engine.author()
    engine.join("42", data=DATA)
    engine.join("eve")
    engine.tick()
    engine.render()
    with other.connection.transaction():
        other.erase_subscriber(TENANT, "User", "42")
        assert [claim.recipient for claim in engine.claim_sends("email")] == ["eve@example.com"]
    assert engine.claim_sends("email") == []


@pytest.mark.slow
def test_people_are_erased_beside_workers_that_send(dsn: str, engine: Engine, clock: Clock) -> None:
    people = 120
    engine.author(email("welcome"), email("tip"), email("last"))
    engine.enroll_many(
        TENANT,
        "onboarding",
        [{"subscriber_id": f"p{n}", "data": {"email": f"p{n}@example.com"}} for n in range(people)],
    )
    done = threading.Event()

    def work() -> None:
        with psycopg.connect(dsn, autocommit=True, row_factory=psycopg.rows.namedtuple_row) as own:
            Clock(own)
            worker = Engine(own)
            while not done.is_set():
                with suppress(StaleFence):  # erased while it was being sent
                    worker.deliver()

    def erase(numbers: range) -> None:
        with psycopg.connect(dsn, autocommit=True) as own:
            Clock(own)
            for n in numbers:
                Engine(own).erase_subscriber(TENANT, "User", f"p{n}")

    with ThreadPoolExecutor() as pool:
        workers = [pool.submit(work) for _ in range(2)]
        erasures = [pool.submit(erase, range(first, people, 4)) for first in (0, 2)]
        for erasure in erasures:
            erasure.result()
        done.set()
        for worker in workers:
            worker.result()
    clock.advance(hours=1)
    engine.tick()  # what was reported of those who were just being erased is thrown away
    engine.reconcile(timedelta(0))
    left = {row.subscriber_id for row in engine.list_enrollments(TENANT, page_size=10_000)}
    assert left == {f"p{n}" for n in range(1, people, 2)}
    assert engine.rows("select * from dripdrop.faults") == []
    assert engine.ledger() == []
