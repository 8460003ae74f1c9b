"""Senders that are paused and resumed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import AdapterNotFound, InvalidArgument
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email


@pytest.fixture
def sender(engine: Engine) -> Any:
    """The id of the sender of a sequence that can be joined."""
    engine.author(email("welcome"))
    return engine.get_default_adapter(TENANT, "email").id


def rests(engine: Engine) -> list[Any]:
    return engine.rows("select * from dripdrop.adapter_rests order by started_at, id")


def test_a_pause_lasts_until_it_is_resumed(engine: Engine, sender: Any) -> None:
    paused = engine.pause_adapter(TENANT, sender)
    assert (paused.health_state, paused.resting_until, paused.resting_reason) == (
        "resting",
        None,
        "manual",
    )
    resumed = engine.resume_adapter(TENANT, sender)
    assert (resumed.health_state, resumed.resting_until, resumed.resting_reason) == (
        None,
        None,
        None,
    )


def test_a_pause_may_have_an_end_and_a_reason(engine: Engine, sender: Any, clock: Clock) -> None:
    until = clock.now + timedelta(days=2)
    engine.pause_adapter(TENANT, sender, until, "new password")
    (listed,) = [a for a in engine.list_channel_adapters(TENANT) if a.id == sender]
    assert (listed.resting_until, listed.resting_reason) == (until, "new password")
    sam = engine.join()
    engine.tick()
    assert engine.last(sam.id).due_at == until
    clock.set(until)
    assert len(engine.deliver()) == 1


def test_a_message_of_a_paused_sender_is_looked_at_again_once_a_day(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    engine.pause_adapter(TENANT, sender)
    sam = engine.join()
    for day in range(1, 4):
        assert engine.tick().deferred == 1
        assert engine.tick().deferred == 0
        assert engine.last(sam.id).due_at == clock.now + timedelta(days=1)
        assert engine.last(sam.id).defer_count == day
        clock.advance(days=1)
    assert engine.ledger() == []


def test_explain_names_the_sender_the_reason_and_the_time(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    until = clock.now + timedelta(hours=6)
    engine.pause_adapter(TENANT, sender, until, "blocklisted")
    gates = engine.explain(TENANT, engine.join().id)
    (gate,) = [g for g in gates if not g.open]
    assert (gate.gate, gate.reason, gate.detail, gate.until) == (
        "sender_rest",
        "blocklisted",
        "email",
        until,
    )
    assert (gate.next_action, gate.next_at) == ("defer", until)


def test_a_simulation_waits_for_the_end_of_a_pause(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    engine.pause_adapter(TENANT, sender, clock.now + timedelta(hours=6))
    rows = engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(row.at - clock.now, row.action, row.reason) for row in rows[:2]] == [
        (timedelta(0), "defer", "manual"),
        (timedelta(hours=6), "send", None),
    ]


def test_resuming_makes_due_what_waited_for_the_sender(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    engine.pause_adapter(TENANT, sender)
    people = [engine.join(f"person-{number}") for number in range(5)]
    assert engine.tick().deferred == 5
    clock.advance(hours=3)
    engine.resume_adapter(TENANT, sender)
    assert {engine.last(each.id).due_at for each in people} == {clock.now}
    assert len(engine.deliver()) == 5


def test_resuming_ends_a_rest_that_a_provider_asked_for(engine: Engine, sender: Any) -> None:
    engine.join()
    engine.deliver("auth_error")
    engine.join("kim")
    assert engine.tick().held == 1
    engine.resume_adapter(TENANT, sender)
    assert engine.tick().queued == 1


def test_resuming_leaves_alone_what_waits_for_something_else(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    sam = engine.join()
    engine.deliver("retry", retry_after=7200)
    engine.pause_adapter(TENANT, sender)
    engine.resume_adapter(TENANT, sender)
    assert engine.last(sam.id).due_at == clock.now + timedelta(hours=2)


def test_resuming_leaves_alone_what_waits_for_another_sender(engine: Engine, sender: Any) -> None:
    engine.create_channel_adapter(TENANT, "b", "email", "smtp")
    engine.author(email("welcome", adapter="b"), key="other")
    b = next(a.id for a in engine.list_channel_adapters(TENANT) if a.name == "b")
    kim = engine.enroll(TENANT, "other", "User", "kim", {"email": "kim@example.com"})
    for adapter in (sender, b):
        engine.pause_adapter(TENANT, adapter)
    engine.tick()
    due_at = engine.last(kim.id).due_at
    engine.resume_adapter(TENANT, sender)
    assert engine.last(kim.id).due_at == due_at


@pytest.mark.slow
def test_what_a_tick_put_off_while_the_sender_was_resumed_is_found_again(
    engine: Engine, other: Engine, sender: Any, clock: Clock
) -> None:
    engine.pause_adapter(TENANT, sender)
    sam = engine.join()
    with other.connection.transaction():
        assert other.tick().deferred == 1
        engine.resume_adapter(TENANT, sender)
    assert engine.last(sam.id).due_at > clock.now
    clock.advance(minutes=1)
    engine.reconcile()
    assert engine.last(sam.id).due_at == clock.now


def test_resuming_asks_no_log_who_waits(engine: Engine, sender: Any, clock: Clock) -> None:
    engine.pause_adapter(TENANT, sender)
    sam = engine.join()
    engine.tick()
    engine.connection.execute("delete from dripdrop.message_reports")
    clock.advance(hours=1)
    engine.resume_adapter(TENANT, sender)
    assert engine.last(sam.id).due_at == clock.now


def test_resuming_a_sender_that_does_not_rest_changes_nothing_for_it(
    engine: Engine, sender: Any
) -> None:
    engine.resume_adapter(TENANT, sender)
    engine.join()
    assert engine.tick().queued == 1


@pytest.mark.parametrize("state", ["active", "ramping", "probing", None])
def test_resuming_gives_back_the_health_state(
    engine: Engine, sender: Any, clock: Clock, state: str | None
) -> None:
    engine.rows("update dripdrop.channel_adapters set health_state = %s returning 1", state)
    engine.pause_adapter(TENANT, sender)
    engine.pause_adapter(TENANT, sender, reason="again")
    assert engine.resume_adapter(TENANT, sender).health_state == state


def test_pausing_twice_is_one_pause_that_ends_once(engine: Engine, sender: Any) -> None:
    first = engine.pause_adapter(TENANT, sender)
    assert engine.pause_adapter(TENANT, sender) == first
    assert [rest.ended_at is None for rest in rests(engine)] == [False, True]
    engine.resume_adapter(TENANT, sender)
    engine.join()
    assert engine.tick().queued == 1


def test_a_pause_with_an_end_takes_the_place_of_one_without(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    until = clock.now + timedelta(hours=1)
    engine.pause_adapter(TENANT, sender)
    again = engine.pause_adapter(TENANT, sender, until)
    assert (again.health_state, again.resting_until) == (None, until)


@pytest.mark.parametrize("outcome", ["rate_limited", "auth_error"])
def test_what_a_provider_says_does_not_shorten_a_pause(
    engine: Engine, sender: Any, clock: Clock, outcome: str
) -> None:
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    claims = engine.claim_sends("email")
    engine.pause_adapter(TENANT, sender, reason="audit")
    engine.record(claims, outcome)
    clock.advance(hours=2)
    assert engine.tick().deferred == 1
    assert engine.last(sam.id).reason == "audit"


def test_it_is_written_down_who_paused_and_who_resumed(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    engine.pause_adapter(TENANT, sender, reason="audit")
    paused_at = clock.now
    clock.advance(hours=1)
    engine.resume_adapter(TENANT, sender)
    (rest,) = rests(engine)
    (me,) = engine.rows("select session_user as name")
    assert (rest.tenant_key, rest.adapter_id, rest.reason) == (TENANT, sender, "audit")
    assert (rest.started_at, rest.started_by) == (paused_at, me.name)
    assert (rest.ended_at, rest.ended_by) == (clock.now, me.name)


def test_a_rest_that_is_over_is_not_ended_again(engine: Engine, sender: Any, clock: Clock) -> None:
    engine.pause_adapter(TENANT, sender, clock.now + timedelta(hours=1))
    clock.advance(hours=2)
    engine.resume_adapter(TENANT, sender)
    assert [rest.ended_at for rest in rests(engine)] == [None]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": None}, "reason"),
        ({"until": "2026-03-02 09:00+00"}, "until"),
        ({"until": "infinity"}, "until"),
    ],
)
def test_a_bad_pause_is_refused(
    engine: Engine, sender: Any, fields: dict[str, Any], field: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.pause_adapter(TENANT, sender, **fields)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize("call", ["pause_adapter", "resume_adapter"])
def test_only_the_senders_of_the_tenant_are_found(engine: Engine, sender: Any, call: str) -> None:
    theirs = engine.create_channel_adapter("other", "theirs", "email", "smtp").id
    for adapter in (theirs, uuid4()):
        with engine.refused(AdapterNotFound):
            getattr(engine, call)(TENANT, adapter)
    with engine.refused(AdapterNotFound):
        getattr(engine, call)(None, sender)


@pytest.mark.parametrize("call", ["pause_adapter", "resume_adapter"])
def test_credentials_are_not_shown(engine: Engine, call: str) -> None:
    adapter = engine.create_channel_adapter(
        TENANT, "sealed", "email", "smtp", "AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQl"
    )
    assert getattr(engine, call)(TENANT, adapter.id).credentials is None


@pytest.mark.slow
def test_nothing_passes_the_fence_while_a_sender_is_being_paused(
    engine: Engine, other: Engine, sender: Any
) -> None:
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with other.connection.transaction():
        other.pause_adapter(TENANT, sender)
        assert engine.claim_sends("email") == []
        assert engine.executions(sam.id)[0].state == "rendered"
    assert engine.claim_sends("email") == []
    assert engine.executions(sam.id)[0].state == "scheduled"


@pytest.mark.slow
def test_a_pause_waits_for_a_claim_that_is_under_way(
    engine: Engine, other: Engine, sender: Any
) -> None:
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert len(engine.claim_sends("email")) == 1
            pausing = pool.submit(other.pause_adapter, TENANT, sender)
            engine.wait_until_blocked(other.connection)
        pausing.result(20)
    assert engine.executions(sam.id)[0].state == "sending"
    engine.join("kim")
    assert engine.tick().deferred == 1
