"""What explain, forecast and simulate say of messages that something is in the way of."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email


def gate(engine: Engine, enrollment_id: Any, name: str) -> Any:
    """Return what explain says of one gate."""
    (row,) = [row for row in engine.explain(TENANT, enrollment_id) if row.gate == name]
    return row


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """The engine with a sequence of one message."""
    engine.author(email("welcome"))
    return engine


def test_a_message_that_failed_for_now_says_how_often_why_when_again_and_until_when(
    journey: Engine, clock: Clock
) -> None:
    sam = journey.join()
    journey.deliver("retry", code="smtp_451", detail="greylisted")
    first = gate(journey, sam.id, "retry")
    assert (first.open, first.reason) == (False, "smtp_451")
    assert first.detail == "1 failed attempt; tried until 2026-03-04 09:00:00 UTC; greylisted"
    due = journey.last(sam.id).due_at
    assert clock.now + timedelta(seconds=48) <= due <= clock.now + timedelta(seconds=72)
    assert (first.until, first.next_action, first.next_at) == (due, "send", due)
    clock.set(due)
    journey.deliver("retry", code="smtp_452", detail="mailbox full")
    second = gate(journey, sam.id, "retry")
    assert second.reason == "smtp_452"
    assert second.detail == "2 failed attempts; tried until 2026-03-04 09:00:00 UTC; mailbox full"


def test_the_steps_own_bounds_of_retries_are_shown(engine: Engine) -> None:
    engine.author(email("welcome", config={"retry_for": "3 hours", "max_retries": 4}))
    sam = engine.join()
    engine.deliver("retry", code="smtp_451")
    assert gate(engine, sam.id, "retry").detail == (
        "1 failed attempt; tried up to 4 times, until 2026-03-02 12:00:00 UTC"
    )


def test_a_message_that_has_not_failed_has_nothing_to_try_again(journey: Engine) -> None:
    sam = journey.join()
    retry = gate(journey, sam.id, "retry")
    assert (retry.open, retry.reason, retry.detail, retry.until) == (True, None, None, None)


def test_what_was_put_off_after_a_failure_names_what_put_it_off(
    journey: Engine, clock: Clock
) -> None:
    sam = journey.join()
    journey.deliver("retry", code="smtp_451")
    clock.set(journey.last(sam.id).due_at)
    mail = journey.get_default_adapter(TENANT, "email")
    journey.pause_adapter(TENANT, mail.id, clock.now + timedelta(hours=1))
    journey.tick()
    closed = [row.gate for row in journey.explain(TENANT, sam.id) if not row.open]
    assert closed == ["sender_rest"]


def test_a_row_that_a_stage_could_not_deal_with_says_where_why_and_until_when(
    journey: Engine, clock: Clock
) -> None:
    sam = journey.join()
    journey.tick()
    journey.note_fault(journey.last(sam.id).id, "render", "53100", "no more room")
    fault = gate(journey, sam.id, "fault")
    assert (fault.open, fault.reason, fault.detail) == (
        False,
        "row_fault",
        "render 53100 no more room",
    )
    assert fault.until == clock.now + timedelta(minutes=1)
    assert (fault.next_action, fault.next_at) == ("hold", fault.until)
    clock.advance(minutes=1)
    assert gate(journey, sam.id, "fault").open


def test_a_message_without_a_sender_is_held_and_says_so(journey: Engine) -> None:
    sam = journey.join()
    mail = journey.get_default_adapter(TENANT, "email")
    journey.update_channel_adapter(TENANT, mail.id, active=False)
    journey.tick()
    sender = gate(journey, sam.id, "sender")
    assert (sender.open, sender.reason, sender.next_action, sender.next_at) == (
        False,
        "no_adapter",
        "hold",
        None,
    )


def test_a_message_behind_a_circuit_says_whose_why_and_until_when(
    journey: Engine, clock: Clock
) -> None:
    sam = journey.join()
    journey.deliver("unreachable", code="connect_error")
    clock.advance(seconds=5)
    circuit = gate(journey, sam.id, "circuit")
    assert (circuit.open, circuit.reason, circuit.detail) == (
        False,
        "circuit_open",
        "email: connect_error",
    )
    assert circuit.until == clock.now + timedelta(seconds=25)
    clock.advance(seconds=25)
    assert gate(journey, sam.id, "circuit").open


def forecast(engine: Engine) -> Counter[str]:
    """Return how many messages of each step a forecast has."""
    counts: Counter[str] = Counter()
    for row in engine.forecast(TENANT, "onboarding", timedelta(days=10)):
        counts[row.step_key] += row.messages
    return counts


def test_a_forecast_takes_it_that_a_server_is_back_when_it_is_tried_again(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    for number in range(5):
        engine.join(f"user{number}")
    engine.record(engine.claim_one(), "unreachable")
    clock.advance(seconds=5)
    assert engine.claim() == []
    engine.tick()
    before = engine.contents()
    assert forecast(engine) == {"welcome": 5, "tip": 5}
    assert engine.contents() == before
    held = engine.rows(
        "select count(*) as count from dripdrop.step_executions where reason = 'circuit_open'"
    )
    assert held[0].count == 5


def test_a_simulation_waits_for_the_circuit_of_its_sender(engine: Engine, clock: Clock) -> None:
    engine.author()
    engine.join()
    engine.deliver("unreachable")
    data = {"email": "sim@example.com"}
    rows = engine.simulate(TENANT, "onboarding", data)
    assert [(row.action, row.reason) for row in rows if row.step_key == "welcome"] == [
        ("hold", "circuit_open"),
        ("send", None),
    ]
    sent = next(row for row in rows if row.step_key == "welcome" and row.action == "send")
    assert sent.at == clock.now + timedelta(seconds=30)
    assert [row.action for row in rows if row.step_key == "tip"] == ["send"]


def test_a_simulation_of_an_outage_that_is_over_by_then_knows_nothing_of_it(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"), email("tip", timing=after(3, "days")))
    engine.join()
    engine.deliver("unreachable")
    rows = engine.simulate(
        TENANT,
        "onboarding",
        {"email": "sim@example.com"},
        start_at=clock.now + timedelta(hours=1),
    )
    assert [row.action for row in rows if row.step_key] == ["send", "send"]
