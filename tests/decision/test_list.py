"""The list of gates by itself: which gate a fact closes, and what follows, without a table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.conftest import START
from tests.engine import Engine

OPEN: dict[str, Any] = {
    "at": START,
    "channel": "email",
    "late": "1 hour",
    "enrollment_state": "active",
    "sequence_active": True,
    "step_active": True,
    "address_form": "mailbox",
    "recipient": "sam@example.com",
    "sender": "Mail",
    "retry_for": "1 day",
}
"""Of a message that nothing stands in the way of."""

SOON = START + timedelta(minutes=15)
LATER = START + timedelta(hours=3)

CLOSED: list[tuple[str, dict[str, Any], tuple[str, str, str | None, Any]]] = [
    # gate, the facts that close it, (action, reason, detail, until)
    (
        "fault",
        {"fault": "render 22012 division by zero", "fault_until": LATER},
        ("hold", "row_fault", "render 22012 division by zero", LATER),
    ),
    ("sending", {"sending_pause": "tenant"}, ("hold", "sending_paused", "tenant", None)),
    ("pause", {"enrollment_state": "paused"}, ("hold", "enrollment_paused", None, None)),
    ("enrollment", {"enrollment_state": "completed"}, ("cancel", "enrollment_ended", None, None)),
    ("enrollment", {"enrollment_state": "cancelled"}, ("cancel", "enrollment_ended", None, None)),
    ("sequence", {"sequence_active": False}, ("exit", "sequence_inactive", None, None)),
    ("hooks", {"hooks_unanswered": True}, ("ask", "waiting_for_hooks", None, SOON)),
    (
        "hooks",
        {
            "hooks_unanswered": True,
            "hooks_reason": "circuit_open",
            "hooks_detail": "away",
            "hooks_until": LATER,
        },
        ("ask", "circuit_open", "away", LATER),
    ),
    ("step", {"step_active": False}, ("skip", "step_inactive", None, None)),
    (
        "stale",
        {"stale_after": "59 min", "on_stale": "skip"},
        ("skip", "stale", "late by 01:00:00", None),
    ),
    (
        "stale",
        {"stale_after": "59 min", "on_stale": "hold"},
        ("hold", "stale", "late by 01:00:00", None),
    ),
    (
        "exit",
        {"exit_action": "complete", "exit_reason": "goal", "exit_detail": "event bought"},
        ("complete", "goal", "event bought", None),
    ),
    ("exit", {"rules_unanswered": True}, ("defer", "waiting_for_rules", None, SOON)),
    (
        "event",
        {"awaited_event": "bought", "timed_out": False},
        ("wait", "waiting_for_event", "bought", None),
    ),
    (
        "event",
        {"awaited_event": "bought", "timed_out": True, "due_at": START},
        ("skip", "event_timeout", "bought", START),
    ),
    (
        "event",
        {"awaited_event": "bought", "timed_out": True, "due_at": START, "on_timeout": "exit"},
        ("exit", "event_timeout", "bought", START),
    ),
    (
        "conditions",
        {"failure": "condition_false", "failed_condition": "plan == pro"},
        ("skip", "condition_false", "plan == pro", None),
    ),
    ("recipient", {"recipient": None}, ("skip", "no_recipient", None, None)),
    ("recipient", {"recipient": "sam"}, ("skip", "invalid_recipient", None, None)),
    ("recipient", {"address_form": None}, ("skip", "invalid_recipient", None, None)),
    ("recipient", {"address_form": "pigeon"}, ("skip", "invalid_recipient", None, None)),
    ("verification", {"unverified": True}, ("skip", "unverified_recipient", None, None)),
    ("suppression", {"suppression": "bounce"}, ("skip", "suppressed", "bounce", None)),
    (
        "topic",
        {"topic": "news", "opt_in": False, "consent": "unsubscribed"},
        ("skip", "opted_out", "news", None),
    ),
    ("topic", {"topic": "news", "opt_in": True}, ("skip", "not_subscribed", "news", None)),
    ("topic", {"topic": "gone"}, ("skip", "not_subscribed", "gone", None)),
    ("frequency", {"rival": "offers"}, ("defer", "exclusive_group", "offers", None)),
    (
        "window",
        {"opens_at": LATER, "hours": "12:00 to 18:00"},
        ("defer", "outside_window", "12:00 to 18:00", LATER),
    ),
    ("sender", {"sender_fault": "no_adapter"}, ("hold", "no_adapter", "Mail", None)),
    ("sender", {"sender_changed": True}, ("defer", "sender_changed", "Mail", START)),
    (
        "sender_rest",
        {"sender_rests": True, "resting_until": LATER},
        ("defer", "adapter_resting", "Mail", LATER),
    ),
    (
        "sender_rest",
        {"sender_rests": True, "resting_reason": "bounce_rate"},
        ("defer", "bounce_rate", "Mail", None),
    ),
    (
        "circuit",
        {"circuit_until": LATER, "circuit_reason": "timeout"},
        ("hold", "circuit_open", "Mail: timeout", LATER),
    ),
    (
        "circuit",
        {"circuit_until": LATER, "host": "example.com"},
        ("defer", "circuit_open", "Mail", LATER),
    ),
    (
        "circuit",
        {"circuit_until": LATER, "host": "example.com", "late": "25 hours"},
        ("fail", "circuit_open", "Mail", LATER),
    ),
]

WAITS_FOR = {
    "sending_paused": "pause",
    "enrollment_paused": "enrollment",
    "waiting_for_hooks": "hook",
    "stale": "release",
    "waiting_for_rules": "rules",
    "waiting_for_event": "event",
    "exclusive_group": "rival",
    "no_adapter": "sender",
    "adapter_resting": "rest",
    "bounce_rate": "rest",
    "circuit_open": "circuit",
}
"""What ends a wait, by its reason; for any other the time is all that is waited for."""

AT_FENCE = [
    *["sending", "pause", "enrollment", "sequence", "step", "stale", "exit", "suppression"],
    *["topic", "window", "sender", "sender_rest", "circuit"],
]
"""What is asked again before a message leaves."""


def gates(engine: Engine, **facts: Any) -> list[Any]:
    """Return the gates of a message about which this is known."""
    fact = {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in (OPEN | facts).items()
    }
    return engine.rows(
        "select * from dripdrop._gates_of(jsonb_populate_record(null::dripdrop._fact, %s))",
        Jsonb(fact),
    )


def closed(engine: Engine, **facts: Any) -> list[tuple[Any, ...]]:
    """Return the gates that have a word on such a message."""
    return [
        (gate.gate, (gate.action, gate.reason, gate.detail, gate.until))
        for gate in gates(engine, **facts)
        if gate.action
    ]


SEND = ("send", ("send", None, None, None))


def test_a_message_that_nothing_stands_in_the_way_of_is_sent(engine: Engine) -> None:
    assert closed(engine) == [SEND]


@pytest.mark.parametrize(("gate", "facts", "word"), CLOSED)
def test_a_fact_closes_its_gate_and_no_other(
    engine: Engine, gate: str, facts: dict[str, Any], word: tuple[Any, ...]
) -> None:
    assert closed(engine, **facts) == [(gate, word), SEND]


@pytest.mark.parametrize(
    ("gate", "facts", "word"), [each for each in CLOSED if each[2][0] in ("ask", "hold", "defer")]
)
def test_a_gate_that_makes_a_message_wait_says_for_what(
    engine: Engine, gate: str, facts: dict[str, Any], word: tuple[Any, ...]
) -> None:
    (found,) = [row for row in gates(engine, **facts) if row.gate == gate]
    # A host of the message's own is in nobody else's hands.
    assert found.waits_for == (None if "host" in facts else WAITS_FOR.get(word[1]))


@pytest.mark.parametrize(
    "facts",
    [
        {"stale_after": "1 hour", "on_stale": "skip"},
        {"stale_after": "59 min", "on_stale": "send"},
        {"stale_after": "59 min"},
        {"topic": "news", "opt_in": False},
        {"topic": "news", "opt_in": True, "consent": "subscribed"},
        {"topic": "gone", "consent": "subscribed"},
        {"sender_rests": False, "resting_reason": "bounce_rate"},
        {"channel": "webhook", "address_form": "none", "recipient": None},
    ],
)
def test_a_fact_that_is_in_order_closes_nothing(engine: Engine, facts: dict[str, Any]) -> None:
    assert closed(engine, **facts) == [SEND]


def test_the_list_is_in_order_and_names_each_gate_once(engine: Engine) -> None:
    rows = gates(engine)
    assert [row.place for row in rows] == sorted({row.place for row in rows})
    assert len({row.gate for row in rows}) == len(rows)


def test_the_fence_asks_what_may_have_changed_since(engine: Engine) -> None:
    assert [row.gate for row in gates(engine) if row.at_fence] == AT_FENCE
