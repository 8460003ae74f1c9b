"""claim_sends(): the fence. What was stopped before it does not leave."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import UnknownProvider
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email, onboarding
from tests.pipeline.conftest import pointers

Stop: TypeAlias = Callable[[Engine, UUID], object]


def pause(engine: Engine, enrollment_id: UUID) -> None:
    engine.pause_enrollment(TENANT, enrollment_id)


def unenroll(engine: Engine, enrollment_id: UUID) -> None:
    engine.unenroll(TENANT, enrollment_id)


def suppress(engine: Engine, enrollment_id: UUID) -> None:
    engine.suppress(TENANT, "email", "sam@example.com")


def step_off(engine: Engine, enrollment_id: UUID) -> None:
    engine.connection.execute("update dripdrop.steps set active = false")


def sequence_off(engine: Engine, enrollment_id: UUID) -> None:
    engine.connection.execute("update dripdrop.sequences set active = false")


def sender_off(engine: Engine, enrollment_id: UUID) -> None:
    mail = engine.get_default_adapter(TENANT, "email")
    engine.update_channel_adapter(TENANT, mail.id, active=False)


@pytest.fixture
def rendered(journey: Engine) -> UUID:
    """The id of Sam's enrolment, whose first message is rendered."""
    enrollment_id: UUID = journey.join().id
    journey.bring_to("rendered", enrollment_id)
    return enrollment_id


def ready(engine: Engine, *subscribers: str) -> None:
    """Enrol subscribers and render their first messages."""
    for subscriber in subscribers:
        engine.join(subscriber)
    engine.tick()
    engine.render()


def test_a_claim_brings_all_that_sending_needs(engine: Engine, clock: Clock) -> None:
    envelope = base64.b64encode(b"\x01" + bytes(range(100))).decode()
    mail = engine.create_channel_adapter(
        TENANT, "mail", "email", "smtp", envelope, {"host": "localhost"}, is_default=True
    )
    engine.author()
    enrollment = engine.join()
    ready(engine)
    (claimed,) = engine.claim_sends("email")
    sending = engine.last(enrollment.id)
    assert claimed._asdict() == {
        "execution_id": sending.id,
        "fence": sending.fence,
        "tenant_key": TENANT,
        "idempotency_key": sending.idempotency_key,
        "recipient": "sam@example.com",
        "payload": {"subject": "Hello", "text": "Hello"},
        "adapter_id": mail.id,
        "adapter": {
            "id": str(mail.id),
            "tenant_key": TENANT,
            "name": "mail",
            "channel": "email",
            "provider": "smtp",
            "config": mail.config,
            "credentials": envelope,
        },
        "leave_after": 0,
        "leave_within": 60,
        "claimed_at": clock.now,
    }


def test_a_claim_is_fenced_and_leased_with_its_commit(
    journey: Engine, other: Engine, rendered: UUID, clock: Clock
) -> None:
    before = journey.last(rendered)
    journey.claim_sends("email", lease=timedelta(minutes=5))
    sending = other.last(rendered)
    assert (sending.state, sending.fence) == ("sending", before.fence + 1)
    assert (sending.lease_until, sending.claimed_at) == (
        clock.now + timedelta(minutes=5),
        clock.now,
    )
    assert pointers(journey, "send_email") == []


def test_a_sender_stands_once_in_a_batch(journey: Engine) -> None:
    ready(journey, "ada", "bob", "sam")
    claims = journey.claim_sends("email")
    assert [claimed.adapter is not None for claimed in claims].count(True) == 1


def test_an_unknown_channel_is_refused(engine: Engine) -> None:
    with engine.refused(UnknownProvider):
        engine.claim_sends("pigeon")


@pytest.mark.parametrize("stop", [pause, unenroll, suppress, step_off, sequence_off, sender_off])
def test_a_stop_before_the_claim_is_honoured(journey: Engine, rendered: UUID, stop: Stop) -> None:
    stop(journey, rendered)
    assert journey.claim_sends("email") == []
    assert journey.claim() == []
    assert journey.executions(rendered)[0].state in ("scheduled", "skipped", "cancelled", "failed")
    assert journey.ledger() == []


@pytest.mark.parametrize("stop", [pause, unenroll])
def test_the_pointer_of_what_was_stopped_is_thrown_away(
    journey: Engine, rendered: UUID, stop: Stop
) -> None:
    stop(journey, rendered)
    assert len(pointers(journey, "send_email")) == 1
    journey.claim_sends("email")
    assert pointers(journey, "send_email") == []


@pytest.mark.parametrize("stop", [pause, unenroll, suppress])
def test_a_claim_passes_over_the_row_that_a_stop_holds(
    journey: Engine, other: Engine, rendered: UUID, stop: Stop
) -> None:
    with other.connection.transaction():
        stop(other, rendered)
        assert journey.claim_sends("email") == []
        assert len(pointers(journey, "send_email")) == 1
    assert journey.claim_sends("email") == []
    assert journey.last(rendered).state in ("scheduled", "cancelled")


def test_a_stop_that_rolls_back_stops_nothing(
    journey: Engine, other: Engine, rendered: UUID
) -> None:
    with other.connection.transaction(force_rollback=True):
        pause(other, rendered)
        assert journey.claim_sends("email") == []
    assert len(journey.claim_sends("email")) == 1


@pytest.mark.parametrize("stop", [pause, unenroll, suppress])
def test_a_stop_waits_for_a_claim_under_way_and_lets_it_go(
    journey: Engine, other: Engine, rendered: UUID, stop: Stop
) -> None:
    stopping = Thread(target=stop, args=[other, rendered])
    with journey.connection.transaction():
        (claimed,) = journey.claim_sends("email")
        stopping.start()
        journey.wait_until_blocked(other.connection)
    stopping.join()
    sending = journey.last(rendered)
    assert (sending.state, sending.fence) == ("sending", claimed.fence)
    journey.record([claimed])
    assert journey.ledger() == []


def test_a_suppression_during_a_tick_is_seen_at_the_fence(journey: Engine, other: Engine) -> None:
    enrollment = journey.join()
    with journey.connection.transaction():
        journey.tick()
        suppress(other, enrollment.id)
    journey.render()
    assert journey.claim_sends("email") == []
    journey.tick()
    assert journey.executions(enrollment.id)[0].reason == "suppressed"


def test_a_message_leaves_through_the_sender_that_is_chosen_at_the_fence(
    journey: Engine, rendered: UUID
) -> None:
    second = journey.create_channel_adapter(TENANT, "second", "email", "smtp", is_default=True)
    assert journey.claim_sends("email") == []
    journey.tick()
    assert [claimed.adapter_id for claimed in journey.claim_sends("email")] == [second.id]


def test_a_rest_that_began_after_the_tick_defers_at_the_fence(
    journey: Engine, rendered: UUID, clock: Clock
) -> None:
    words = journey.last(rendered).payload
    until = clock.now + timedelta(hours=1)
    journey.connection.execute("update dripdrop.channel_adapters set resting_until = %s", [until])
    assert journey.claim_sends("email") == []
    assert journey.last(rendered).due_at == until
    clock.set(until)
    journey.tick()
    assert [claimed.payload for claimed in journey.claim_sends("email")] == [words]


def test_several_claims_at_once_never_take_the_same_row(journey: Engine, other: Engine) -> None:
    ready(journey, *map(str, range(10)))
    with journey.connection.transaction(), other.connection.transaction():
        mine = {claimed.execution_id for claimed in journey.claim_sends("email", batch_size=6)}
        theirs = {claimed.execution_id for claimed in other.claim_sends("email", batch_size=6)}
    assert (len(mine), len(theirs), mine & theirs) == (6, 4, set())


def test_a_claim_that_rolls_back_leaves_the_pointer(journey: Engine, rendered: UUID) -> None:
    with journey.connection.transaction(force_rollback=True):
        assert len(journey.claim_sends("email")) == 1
    assert len(journey.claim_sends("email")) == 1


def test_two_pointers_to_one_message_give_one_claim(journey: Engine, rendered: UUID) -> None:
    journey.rows("select pgmq.send('dripdrop_send_email', message) from pgmq.q_dripdrop_send_email")
    assert len(journey.claim_sends("email")) == 1
    assert journey.claim_sends("email") == []


@pytest.mark.parametrize(
    "stale",
    [
        lambda row: {"execution": str(row.id), "fence": row.fence - 1},
        lambda row: {"execution": str(row.id), "fence": row.fence + 1},
        lambda row: {"execution": str(uuid4()), "fence": row.fence},
    ],
    ids=["older fence", "newer fence", "no such row"],
)
def test_a_stale_pointer_is_thrown_away(
    journey: Engine, rendered: UUID, stale: Callable[[Any], dict[str, Any]]
) -> None:
    journey.connection.execute("truncate pgmq.q_dripdrop_send_email")
    pointer = Jsonb(stale(journey.last(rendered)))
    journey.rows("select pgmq.send('dripdrop_send_email', %s)", pointer)
    assert journey.claim_sends("email") == []
    assert pointers(journey, "send_email") == []


@pytest.mark.parametrize(("scope", "reached"), [(TENANT, ["umbrella"]), (None, [])])
def test_a_suppression_stops_the_messages_of_its_scope(
    journey: Engine, scope: str | None, reached: list[str]
) -> None:
    journey.create_channel_adapter("umbrella", "mail", "email", "smtp", is_default=True)
    journey.apply("umbrella", onboarding(email("welcome")))
    data = {"email": "sam@example.com"}
    journey.enroll("umbrella", "onboarding", "User", "sam", data)
    ready(journey, "sam")
    journey.suppress(scope, "email", "SAM@example.com")
    assert [claimed.tenant_key for claimed in journey.claim_sends("email")] == reached
