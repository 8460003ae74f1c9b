"""A match may ask for what the enrolment's data holds: of two carts, one."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import DripdropError
from tests.engine import TENANT, Engine, after, email, onboarding

MATCH = {"order_id": "$.data.order_id"}
PAID = {"type": "event", "trigger_event": "paid", "match": MATCH}
LATER = email("later", timing=after(9, "days"))


def carts(engine: Engine, *steps: dict[str, Any], **fields: Any) -> tuple[Any, Any]:
    """Enrol somebody with two carts."""
    engine.author(*steps, **fields)
    first, second = (
        engine.join(entry_key=order, data={"email": "sam@example.com", "order_id": order})
        for order in ("7", "8")
    )
    return first, second


def paid(engine: Engine, order_id: Any) -> None:
    """Track that one of them is paid for."""
    engine.track_event(TENANT, "paid", {"order_id": order_id}, subscriber_id="sam")


@pytest.mark.parametrize("rule", ["goals", "exit_when"])
def test_one_of_two_carts_ends(engine: Engine, rule: str) -> None:
    first, second = carts(engine, LATER, **{rule: [{"event": "paid", "match": MATCH}]})
    paid(engine, "8")
    assert engine.enrollment(first.id).state == "active"
    assert engine.enrollment(second.id).state == ("completed" if rule == "goals" else "cancelled")


@pytest.mark.parametrize("since", [{}, {"since": "enrollment"}])
def test_one_of_two_waits_is_woken(engine: Engine, since: dict[str, Any]) -> None:
    first, second = carts(engine, email("thanks", timing=PAID | since))
    paid(engine, "8")
    assert engine.last(first.id).awaited_event == "paid"
    assert engine.last(second.id).awaited_event is None


def test_a_wait_that_begins_later_finds_its_own(engine: Engine) -> None:
    first, second = carts(
        engine, email("welcome"), email("thanks", timing=PAID | {"since": "enrollment"})
    )
    paid(engine, "8")
    engine.deliver()
    assert engine.last(first.id).awaited_event == "paid"
    assert engine.last(second.id).awaited_event is None


def test_one_of_two_side_steps_fires(engine: Engine) -> None:
    first, second = carts(engine, LATER, email("receipt", timing=PAID | {"recurring": True}))
    paid(engine, "8")
    assert [x.step for x in engine.executions(first.id)] == ["later"]
    assert [x.step for x in engine.executions(second.id)] == ["later", "receipt"]


def test_a_condition_of_a_step_may_ask_for_it(engine: Engine) -> None:
    first, second = carts(
        engine, email("thanks", conditions=[{"event": "paid", "match": MATCH}]), LATER
    )
    paid(engine, "8")
    engine.tick()
    assert [engine.executions(each.id)[0].state for each in (first, second)] == [
        "skipped",
        "queued",
    ]


@pytest.mark.parametrize(
    ("match", "event_data", "data", "matches"),
    [
        (MATCH, {"order_id": 8}, {"order_id": "8"}, True),
        (MATCH, {"order_id": "8", "more": 1}, {"order_id": 8}, True),
        (MATCH, {"order_id": "9"}, {"order_id": 8}, False),
        (MATCH, {}, {"order_id": 8}, False),
        (MATCH, {"order_id": 8}, {}, False),
        (MATCH, {}, {}, False),
        (MATCH, {"order_id": None}, {"order_id": None}, True),
        (MATCH | {"paid": True}, {"order_id": 8, "paid": True}, {"order_id": 8}, True),
        (MATCH | {"paid": True}, {"order_id": 8, "paid": False}, {"order_id": 8}, False),
        ({"cart": {"id": "$.data.cart.id"}}, {"cart": {"id": 8}}, {"cart": {"id": 8}}, True),
        ({"cart": {"id": "$.data.cart.id"}}, {"cart": {"id": 9}}, {"cart": {"id": 8}}, False),
        ({"cart": {"id": "$.data.cart.id"}}, {"cart": 8}, {"cart": {"id": 8}}, False),
        ({"cost": "$5"}, {"cost": "$5"}, {}, True),
    ],
)
def test_values_are_compared_as_conditions_compare_them(
    engine: Engine, match: Any, event_data: Any, data: Any, matches: bool
) -> None:
    engine.author(LATER, goals=[{"event": "paid", "match": match}])
    sam = engine.join(data=data | {"email": "sam@example.com"})
    engine.track_event(TENANT, "paid", event_data, subscriber_id="sam")
    assert engine.enrollment(sam.id).state == ("completed" if matches else "active")


@pytest.mark.parametrize(
    ("value", "field"),
    [("$.order_id", "order_id"), ("$.data", "order_id"), ("$.data.a b", "order_id")],
)
def test_what_is_no_path_into_the_data_is_refused(engine: Engine, value: str, field: str) -> None:
    for document, path in (
        (onboarding(email("a", timing=PAID | {"match": {field: value}})), "steps[0].timing.match"),
        (onboarding(goals=[{"event": "paid", "match": {field: value}}]), "goals[0].match"),
    ):
        with engine.refused(DripdropError) as refusal:
            engine.apply(TENANT, document)
        assert refusal.value.diag.column_name == f"{path}.{field}"
