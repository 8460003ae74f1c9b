"""The gates a message passes: what each does when it is closed, and that explain says the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

Shut = Callable[[Engine], Any]

ASIDE = {"type": "event", "trigger_event": "clicked", "recurring": True}
"""The timing of a side step."""

CLOSED: dict[str, tuple[Shut, str, str, str | None]] = {
    # gate: (what closes it, the reason, the action, the state that a tick leaves)
    "sending": (
        lambda e: e.pause_sending(TENANT),
        "sending_paused",
        "hold",
        "scheduled",
    ),
    "sequence": (
        lambda e: e.rows("update dripdrop.sequences set active = false returning 1"),
        "sequence_inactive",
        "exit",
        "cancelled",
    ),
    "step": (
        lambda e: e.rows("update dripdrop.steps set active = false returning 1"),
        "step_inactive",
        "skip",
        "skipped",
    ),
    "recipient": (
        lambda e: e.rows("""update dripdrop.enrollments set data = '{"email": "x"}' returning 1"""),
        "invalid_recipient",
        "skip",
        "skipped",
    ),
    "suppression": (
        lambda e: e.suppress(TENANT, "email", "sam@example.com"),
        "suppressed",
        "skip",
        "skipped",
    ),
    "window": (
        lambda e: e.update_tenant_settings(TENANT, send_window={"start": "10:00", "end": "12:00"}),
        "outside_window",
        "defer",
        "scheduled",
    ),
    "sender": (
        lambda e: e.rows("update dripdrop.channel_adapters set active = false returning 1"),
        "no_adapter",
        "hold",
        "scheduled",
    ),
    "sender_rest": (
        lambda e: e.rows(
            "update dripdrop.channel_adapters set resting_reason = 'rate_limited',"
            " resting_until = dripdrop._now() + '1 hour' returning 1"
        ),
        "rate_limited",
        "defer",
        "scheduled",
    ),
}


def closed(engine: Engine, enrollment_id: Any) -> list[tuple[str, str]]:
    """Return the closed gates and their reasons, as explain shows them."""
    return [(g.gate, g.reason) for g in engine.explain(TENANT, enrollment_id) if not g.open]


def next_of(engine: Engine, enrollment_id: Any) -> tuple[str, Any]:
    """Return what explain says happens next, and when."""
    ((action, at),) = {(g.next_action, g.next_at) for g in engine.explain(TENANT, enrollment_id)}
    return action, at


def test_with_every_gate_open_the_message_is_sent(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    assert closed(engine, sam.id) == []
    assert next_of(engine, sam.id) == ("send", clock.now)
    engine.deliver()
    assert engine.executions(sam.id)[0].state == "sent"


def test_the_gates_are_asked_in_order(engine: Engine) -> None:
    engine.author()
    gates = engine.explain(TENANT, engine.join().id)
    assert [gate.place for gate in gates] == sorted({gate.place for gate in gates})
    assert [gate.gate for gate in gates] == [
        "fault",
        "sending",
        "pause",
        "enrollment",
        "sequence",
        "hooks",
        "step",
        "stale",
        "exit",
        "event",
        "conditions",
        "recipient",
        "verification",
        "suppression",
        "topic",
        "frequency",
        "window",
        "sender",
        "sender_rest",
        "circuit",
        "daemon",
        "retry",
        "capacity",
    ]


@pytest.mark.parametrize("gate", CLOSED)
def test_explain_names_the_closed_gate_and_what_follows(engine: Engine, gate: str) -> None:
    shut, reason, action, _ = CLOSED[gate]
    engine.author()
    sam = engine.join()
    shut(engine)
    assert closed(engine, sam.id) == [(gate, reason)]
    assert next_of(engine, sam.id)[0] == action


@pytest.mark.parametrize("gate", CLOSED)
def test_a_tick_does_what_explain_says(engine: Engine, gate: str) -> None:
    shut, reason, _, state = CLOSED[gate]
    engine.author()
    sam = engine.join()
    shut(engine)
    engine.tick()
    execution = engine.executions(sam.id)[0]
    assert (execution.state, execution.reason) == (state, reason)
    assert engine.ledger() == []


# A rendered message keeps the address it was decided for, so that gate has had its say.
@pytest.mark.parametrize("gate", [gate for gate in CLOSED if gate != "recipient"])
def test_a_gate_that_closes_after_the_tick_stops_the_message_at_the_fence(
    engine: Engine, gate: str
) -> None:
    shut, reason, _, state = CLOSED[gate]
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    shut(engine)
    assert engine.claim_sends("email") == []
    execution = engine.executions(sam.id)[0]
    assert (execution.state, execution.reason) == (state, reason)
    assert engine.ledger() == []


def test_what_stopped_a_message_at_the_fence_is_carried_out_though_it_is_over(
    engine: Engine,
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    engine.suppress(TENANT, "email", "sam@example.com")
    engine.claim_sends("email")
    engine.unsuppress(TENANT, "email", "sam@example.com", "kim", "a mistake")
    engine.tick()
    assert [(x.step, x.state) for x in engine.executions(sam.id)] == [
        ("welcome", "skipped"),
        ("tip", "scheduled"),
    ]


def test_a_deferral_at_the_fence_is_counted_once(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    CLOSED["sender_rest"][0](engine)
    engine.claim_sends("email")
    engine.tick()
    execution = engine.last(sam.id)
    until = clock.now + timedelta(hours=1)
    assert (execution.due_at, execution.defer_count) == (until, 1)
    clock.set(until)
    assert len(engine.deliver()) == 1


def test_a_message_that_gets_another_sender_at_the_fence_is_not_deferred(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    second = engine.create_channel_adapter(TENANT, "second", "email", "smtp", is_default=True)
    assert engine.claim_sends("email") == []
    (claim,) = engine.claim()
    assert claim.adapter_id == second.id
    assert engine.last(sam.id).defer_count == 0


@pytest.mark.parametrize("table", ["enrollments", "step_executions"])
def test_a_claim_waits_for_nobody_to_carry_out_what_stops_a_message(
    engine: Engine, other: Engine, table: str
) -> None:
    engine.author(email("a"), email("beside", timing=ASIDE), email("b"))
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    engine.track_event(TENANT, "clicked", subscriber_id="sam")
    engine.rows("update dripdrop.sequences set active = false returning 1")
    held = engine.executions(sam.id)[-1].id if table == "step_executions" else sam.id
    with other.connection.transaction():
        other.rows(f"select from dripdrop.{table} where id = %s for update", held)
        assert engine.claim_sends("email") == []
    assert engine.executions(sam.id)[0].state == "scheduled"
    engine.tick()
    assert {x.state for x in engine.executions(sam.id)} == {"cancelled"}


def test_a_skipped_step_is_followed_by_the_next(engine: Engine) -> None:
    engine.author(email("a"), email("b"))
    sam = engine.join()
    engine.rows("update dripdrop.steps set active = false where key = 'a' returning 1")
    engine.tick()
    assert [(x.step, x.state) for x in engine.executions(sam.id)] == [
        ("a", "skipped"),
        ("b", "scheduled"),
    ]


def test_a_sequence_that_is_switched_off_lets_its_people_go(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.rows("update dripdrop.sequences set active = false returning 1")
    engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "sequence_inactive"


def test_a_resting_sender_defers_to_the_end_of_its_rest(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    CLOSED["sender_rest"][0](engine)
    until = clock.now + timedelta(hours=1)
    assert next_of(engine, sam.id) == ("defer", until)
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.due_at, execution.defer_count) == (until, 1)
    clock.set(until)
    assert len(engine.deliver()) == 1


@pytest.mark.parametrize("policy", ["skip", "hold", "send"])
def test_a_stale_message_follows_its_steps_policy(
    engine: Engine, clock: Clock, policy: str
) -> None:
    engine.author(email("a", config={"stale_after": "1 day", "on_stale": policy}), email("b"))
    sam = engine.join()
    clock.advance(days=1, seconds=1)
    assert next_of(engine, sam.id)[0] == policy
    engine.tick()
    execution = engine.executions(sam.id)[0]
    assert (execution.state, execution.due_at) == {
        "skip": ("skipped", None),
        "hold": ("scheduled", None),
        "send": ("queued", None),
    }[policy]
    assert engine.ledger() == []


def test_a_message_is_not_stale_at_the_limit(engine: Engine, clock: Clock) -> None:
    engine.author(email("a", config={"stale_after": "1 day", "on_stale": "skip"}))
    sam = engine.join()
    clock.advance(days=1)
    assert closed(engine, sam.id) == [("daemon", "not_taken_up")]


def test_the_first_closed_gate_has_the_word(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    for gate in ("suppression", "step"):
        CLOSED[gate][0](engine)
    assert [gate for gate, _ in closed(engine, sam.id)] == ["step", "suppression"]
    engine.tick()
    assert engine.executions(sam.id)[0].reason == "step_inactive"
