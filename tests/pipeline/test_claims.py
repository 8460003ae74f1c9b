"""claim_sends(): the fence. What was stopped before it does not leave."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from dripdrop.errors import UnknownProvider
from tests.conftest import Clock
from tests.protocol import (
    PAYLOAD,
    add_adapter,
    add_sequence,
    as_json,
    claim,
    enroll,
    execution,
    ledger,
    query_waits,
    queue,
    ready,
    record,
    render,
    tick,
)

Db = psycopg.Connection[Any]

PAUSE = "select dripdrop.pause_enrollment(null, (select id from dripdrop.enrollments))"
UNENROLL = "select dripdrop.unenroll(null, (select id from dripdrop.enrollments))"
SUPPRESS = "select dripdrop.suppress(null, 'email', '1@example.com')"
STEP_OFF = "update dripdrop.steps set active = false"
SEQUENCE_OFF = "update dripdrop.sequences set active = false"
ADAPTER_OFF = "update dripdrop.channel_adapters set active = false"
STOPS = [PAUSE, UNENROLL, SUPPRESS, STEP_OFF, SEQUENCE_OFF, ADAPTER_OFF]


@pytest.fixture
def rendered(db: Db, journey: None) -> UUID:
    """The id of an enrolment whose first message is rendered."""
    enrollment = enroll(db)
    tick(db)
    render(db)
    return enrollment


def blocked(db: Db, backend: int) -> None:
    """Return as soon as the backend waits for a lock."""
    while not query_waits(db, backend):
        pass


def in_background(connection: Db, statement: str) -> Thread:
    """Run a statement in a thread, which ends when the statement does."""
    thread = Thread(target=connection.execute, args=[statement])
    thread.start()
    return thread


def test_a_claim_brings_all_that_sending_needs(
    db: Db, rendered: UUID, mail: UUID, clock: Clock
) -> None:
    (claimed,) = claim(db)
    sending = execution(db, rendered)
    assert claimed._asdict() == {
        "execution_id": sending.id,
        "fence": sending.fence,
        "tenant_key": None,
        "idempotency_key": sending.idempotency_key,
        "recipient": "1@example.com",
        "payload": PAYLOAD,
        "adapter_id": mail,
        "adapter": {
            "id": str(mail),
            "tenant_key": None,
            "name": "Mail",
            "channel": "email",
            "provider": "smtp",
            "config": {},
            "credentials": base64.b64encode(b"\x01" + bytes(47)).decode(),
        },
        "claimed_at": clock.now,
    }


def test_a_claim_is_fenced_and_leased_with_its_commit(
    db: Db, other: Db, rendered: UUID, clock: Clock
) -> None:
    before = execution(db, rendered)
    claim(db, lease=timedelta(minutes=5))
    sending = execution(other, rendered)
    assert (sending.state, sending.fence, sending.lease_until, sending.claimed_at) == (
        "sending",
        before.fence + 1,
        clock.now + timedelta(minutes=5),
        clock.now,
    )
    assert queue(db, "send_email") == []


def test_a_sender_stands_once_in_a_batch(db: Db, journey: None) -> None:
    for subscriber in "123":
        enroll(db, subscriber)
    assert [claimed.adapter is not None for claimed in ready(db)].count(True) == 1


def test_an_unknown_channel_is_refused(db: Db) -> None:
    with pytest.raises(UnknownProvider) as caught:
        claim(db, "pigeon")
    assert caught.value.diag.message_hint


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_before_the_claim_is_honoured(db: Db, rendered: UUID, stop: str) -> None:
    db.execute(stop)
    assert claim(db) == []
    tick(db)
    render(db)
    assert claim(db) == []
    assert execution(db, rendered).state != "sending"
    assert ledger(db) == []


@pytest.mark.parametrize("stop", [PAUSE, UNENROLL])
def test_a_claim_that_a_stop_has_overtaken_finds_no_pointer(
    db: Db, rendered: UUID, stop: str
) -> None:
    db.execute(stop)
    assert len(queue(db, "send_email")) == 1
    claim(db)
    assert queue(db, "send_email") == []


@pytest.mark.parametrize("stop", [PAUSE, UNENROLL, SUPPRESS])
def test_a_claim_skips_the_row_a_stop_holds_and_looks_again(
    db: Db, other: Db, rendered: UUID, stop: str
) -> None:
    with other.transaction():
        other.execute(stop)
        assert claim(db) == []
        assert len(queue(db, "send_email")) == 1
    assert claim(db) == []
    assert execution(db, rendered).state in ("scheduled", "cancelled")


def test_a_stop_that_rolls_back_stops_nothing(db: Db, other: Db, rendered: UUID) -> None:
    with other.transaction(force_rollback=True):
        other.execute(PAUSE)
        assert claim(db) == []
    assert len(claim(db)) == 1


@pytest.mark.parametrize("stop", [PAUSE, UNENROLL, SUPPRESS])
def test_a_stop_waits_for_a_claim_under_way_and_lets_it_go(
    db: Db, other: Db, dsn: str, rendered: UUID, stop: str
) -> None:
    with db.transaction():
        (claimed,) = claim(db)
        stopping = in_background(other, stop)
        with psycopg.connect(dsn) as watch:
            blocked(watch, other.info.backend_pid)
    stopping.join()
    sending = execution(db, rendered)
    assert (sending.state, sending.fence) == ("sending", claimed.fence)
    assert record(db, [claimed]) == 1
    assert ledger(db) == []


def test_a_suppression_during_a_tick_is_seen_at_the_fence(db: Db, other: Db, journey: None) -> None:
    enrollment = enroll(db)
    with db.transaction():
        tick(db)
        other.execute(SUPPRESS)
    render(db)
    assert claim(db) == []
    tick(db)
    assert execution(db, enrollment).reason == "suppressed"


def test_a_message_leaves_only_through_the_sender_that_is_now_chosen(
    db: Db, rendered: UUID
) -> None:
    second = add_adapter(db, "Second")
    db.execute("update dripdrop.channel_adapters set active = id = %s", [second])
    assert claim(db) == []
    tick(db)
    assert [claimed.adapter_id for claimed in claim(db)] == [second]


def test_a_rest_that_began_after_the_tick_defers_at_the_fence(
    db: Db, rendered: UUID, clock: Clock
) -> None:
    until = clock.now + timedelta(hours=1)
    db.execute("update dripdrop.channel_adapters set resting_until = %s", [until])
    assert claim(db) == []
    assert tick(db).deferred == 1
    assert execution(db, rendered).due_at == until
    clock.set(until)
    tick(db)
    assert [claimed.payload for claimed in claim(db)] == [PAYLOAD]


def test_several_claims_at_once_never_take_the_same_row(db: Db, other: Db, journey: None) -> None:
    for subscriber in range(10):
        enroll(db, str(subscriber))
    tick(db)
    render(db)
    statement = "select execution_id from dripdrop.claim_sends('email', 6)"
    with db.transaction(), other.transaction():
        mine = set(db.execute(statement))
        theirs = set(other.execute(statement))
    assert (len(mine), len(theirs), mine & theirs) == (6, 4, set())


def test_a_claim_that_rolls_back_leaves_the_pointer(db: Db, rendered: UUID) -> None:
    with db.transaction(force_rollback=True):
        assert len(claim(db)) == 1
    assert len(claim(db)) == 1


def test_two_pointers_to_one_message_give_one_claim(db: Db, rendered: UUID) -> None:
    (pointer,) = queue(db, "send_email")
    db.execute("select pgmq.send('dripdrop_send_email', %s::jsonb)", [as_json(pointer._asdict())])
    assert len(claim(db)) == 1
    assert claim(db) == []


@pytest.mark.parametrize(
    "pointer",
    [
        lambda row: {"execution": row.id, "fence": row.fence - 1},
        lambda row: {"execution": row.id, "fence": row.fence + 1},
        lambda row: {"execution": uuid4(), "fence": row.fence},
    ],
    ids=["older fence", "newer fence", "no such row"],
)
def test_a_stale_pointer_is_thrown_away(
    db: Db, rendered: UUID, pointer: Callable[[Any], dict[str, Any]]
) -> None:
    claim(db)
    stale = as_json(pointer(execution(db, rendered)))
    db.execute("select pgmq.send('dripdrop_send_email', %s::jsonb)", [stale])
    assert claim(db) == []
    assert queue(db, "send_email") == []


def test_a_tenants_suppression_stops_only_its_own_messages(db: Db, mail: UUID) -> None:
    for tenant in ("acme", "umbrella"):
        add_sequence(db, tenant=tenant)
        enroll(db, tenant=tenant)
    tick(db)
    render(db)
    db.execute("select dripdrop.suppress('acme', 'email', '1@example.com')")
    assert [claimed.tenant_key for claimed in claim(db)] == ["umbrella"]


def test_a_global_suppression_stops_every_tenants_messages(db: Db, mail: UUID) -> None:
    for tenant in ("acme", "umbrella", None):
        add_sequence(db, tenant=tenant)
        enroll(db, tenant=tenant)
    tick(db)
    render(db)
    db.execute(SUPPRESS)
    assert claim(db) == []
