"""Goals complete an enrolment and exit rules cancel it, at an event and at the next decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

BOUGHT = {"event": "bought"}
OUTCOMES = {"goals": ("completed", "goal"), "exit_when": ("cancelled", "exit_rule")}


def bought(engine: Engine, **fields: Any) -> Any:
    return engine.track_event(TENANT, "bought", **{"subscriber_id": "sam"} | fields)


def ended(engine: Engine, enrollment: Any) -> tuple[str, str | None]:
    row = engine.enrollment(enrollment.id)
    return row.state, row.exit_reason


def answer_hooks(engine: Engine) -> None:
    """Ask the application's functions as the daemon does."""
    results = [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "values": {claim.key: engine.call_hook(claim.execution_id, claim.key)},
        }
        for claim in engine.claim_hooks()
    ]
    engine.complete_hooks(results)


def function(engine: Engine, body: str) -> None:
    """Register a function of the application as the hook `has_bought`."""
    engine.connection.execute("create schema if not exists app")
    engine.connection.execute("grant usage on schema app to dripdrop_hooks")
    engine.connection.execute("create table if not exists app.orders (buyer text)")
    engine.connection.execute(
        "create or replace function app.has_bought(e dripdrop.enrollments, context jsonb)"
        f" returns jsonb language plpgsql security definer as $$ begin {body} end $$".encode()
    )
    engine.create_hook(TENANT, "has_bought", "app.has_bought(dripdrop.enrollments, jsonb)")


HAS_BOUGHT = "return to_jsonb(exists (select from app.orders where buyer = e.subscriber_id));"


@pytest.mark.parametrize("rule", OUTCOMES)
def test_an_event_ends_the_enrolment_at_once(engine: Engine, clock: Clock, rule: str) -> None:
    engine.author(email("welcome"), **{rule: [BOUGHT]})
    sam = engine.join()
    bought(engine)
    assert ended(engine, sam) == OUTCOMES[rule]
    execution = engine.last(sam.id)
    assert (execution.state, execution.reason) == ("cancelled", OUTCOMES[rule][1])
    assert engine.deliver() == []
    assert engine.ledger() == []


@pytest.mark.parametrize("rule", OUTCOMES)
@pytest.mark.parametrize("state", ["queued", "rendered"])
def test_an_event_stops_what_has_not_left(engine: Engine, rule: str, state: str) -> None:
    engine.author(email("welcome"), **{rule: [BOUGHT]})
    sam = engine.join()
    engine.bring_to(state, sam.id)
    bought(engine)
    engine.render()
    assert engine.claim_sends("email") == []


@pytest.mark.parametrize("rule", OUTCOMES)
def test_what_had_left_is_recorded_and_goes_no_further(engine: Engine, rule: str) -> None:
    engine.author(**{rule: [BOUGHT]})
    sam = engine.join()
    claims = engine.claim()
    bought(engine)
    engine.record(claims)
    assert [x.state for x in engine.executions(sam.id)] == ["sent"]
    assert ended(engine, sam) == OUTCOMES[rule]
    assert engine.ledger() == []


@pytest.mark.parametrize("rule", OUTCOMES)
def test_a_paused_enrolment_ends_too(engine: Engine, rule: str) -> None:
    engine.author(**{rule: [BOUGHT]})
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    bought(engine)
    assert ended(engine, sam) == OUTCOMES[rule]
    assert engine.ledger() == []


def test_a_rule_gives_its_name_as_the_reason(engine: Engine) -> None:
    engine.author(goals=[BOUGHT | {"name": "first_purchase"}])
    sam = engine.join()
    bought(engine)
    assert ended(engine, sam) == ("completed", "first_purchase")
    end = engine.explain(TENANT, sam.id)[-1]
    assert (end.phase, end.reason) == ("end", "first_purchase")


def test_a_goal_goes_before_an_exit_rule(engine: Engine) -> None:
    engine.author(exit_when=[BOUGHT], goals=[BOUGHT])
    sam = engine.join()
    bought(engine)
    assert ended(engine, sam) == ("completed", "goal")


def test_another_event_ends_nothing(engine: Engine) -> None:
    engine.author(goals=[BOUGHT])
    sam = engine.join()
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    bought(engine, subscriber_id="kim")
    assert ended(engine, sam) == ("active", None)


def test_what_was_bought_before_the_enrolment_does_not_end_it(engine: Engine, clock: Clock) -> None:
    engine.author(goals=[BOUGHT])
    bought(engine)
    clock.advance(seconds=1)
    sam = engine.join()
    engine.deliver()
    assert ended(engine, sam) == ("active", None)


def test_a_goal_may_want_its_event_often_and_with_certain_data(engine: Engine) -> None:
    engine.author(
        goals=[BOUGHT | {"match": {"kind": "book"}, "operator": ">=", "expected_value": 2}]
    )
    sam = engine.join()
    bought(engine, event_data={"kind": "book"})
    bought(engine, event_data={"kind": "pen"})
    assert ended(engine, sam) == ("active", None)
    bought(engine, event_data={"kind": "book"})
    assert ended(engine, sam) == ("completed", "goal")


def test_an_event_of_one_enrolment_ends_no_other(engine: Engine) -> None:
    engine.author(goals=[BOUGHT])
    first, second = engine.join(entry_key="1"), engine.join(entry_key="2")
    bought(engine, subscriber_id=None, enrollment_id=first.id)
    assert ended(engine, first) == ("completed", "goal")
    engine.deliver()
    assert ended(engine, second) == ("active", None)


def test_an_event_that_ends_an_enrolment_wakes_nothing_in_it(engine: Engine) -> None:
    timing = {"type": "event", "trigger_event": "bought"}
    engine.author(
        email("thanks", timing=timing),
        email("receipt", timing=timing | {"recurring": True}),
        goals=[BOUGHT],
    )
    sam = engine.join()
    bought(engine)
    assert [(x.step, x.state) for x in engine.executions(sam.id)] == [("thanks", "cancelled")]


def test_an_event_that_was_reported_ahead_of_its_time_counts_at_the_decision(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("tip", timing=after(1, "days")), goals=[BOUGHT])
    sam = engine.join()
    bought(engine, occurred_at=clock.now + timedelta(hours=1))
    assert ended(engine, sam) == ("active", None)
    clock.advance(days=1)
    assert engine.tick().ended == 1
    assert ended(engine, sam) == ("completed", "goal")


@pytest.mark.parametrize("rule", OUTCOMES)
@pytest.mark.parametrize(
    "condition",
    [
        {"field_path": "plan", "expected_value": "pro"},
        {"predicate": '$.enrollment.plan == "pro" && $.subscriber.id == "sam"'},
        {"start": "08:00", "end": "10:00", "time_zone": "UTC"},
    ],
)
def test_a_condition_ends_the_enrolment_when_a_step_is_decided(
    engine: Engine, rule: str, condition: dict[str, Any]
) -> None:
    engine.author(**{rule: [condition]})
    sam = engine.join(data={"email": "sam@example.com", "plan": "pro"})
    (shut,) = [gate for gate in engine.explain(TENANT, sam.id) if not gate.open]
    assert (shut.gate, shut.reason) == ("exit", OUTCOMES[rule][1])
    assert engine.tick().ended == 1
    assert ended(engine, sam) == OUTCOMES[rule]


def test_a_condition_is_asked_at_any_event(engine: Engine) -> None:
    engine.author(exit_when=[{"field_path": "plan", "expected_value": "pro"}])
    sam = engine.join(data={"email": "sam@example.com", "plan": "pro"})
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert ended(engine, sam) == ("cancelled", "exit_rule")


def test_what_happened_to_a_step_may_be_the_goal(engine: Engine) -> None:
    engine.author(goals=[{"predicate": '$.steps.welcome.state == "sent"'}])
    sam = engine.join()
    engine.deliver()
    assert ended(engine, sam) == ("active", None)
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert ended(engine, sam) == ("completed", "goal")


@pytest.mark.parametrize("rule", OUTCOMES)
def test_a_function_of_the_application_is_asked_at_an_event(engine: Engine, rule: str) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(**{rule: [{"hook": "has_bought", "expected_value": True}]})
    sam = engine.join()
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert ended(engine, sam) == ("active", None)
    engine.connection.execute("insert into app.orders values ('sam')")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert ended(engine, sam) == OUTCOMES[rule]


def test_a_function_of_the_application_is_asked_when_a_step_is_decided(engine: Engine) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(goals=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    engine.connection.execute("insert into app.orders values ('sam')")
    assert engine.tick().asked == 1
    answer_hooks(engine)
    assert engine.tick().ended == 1
    assert ended(engine, sam) == ("completed", "goal")


def test_a_function_that_fails_ends_nothing_and_stops_no_event(engine: Engine) -> None:
    function(engine, "raise exception 'out of order';")
    engine.author(exit_when=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    assert engine.track_event(TENANT, "visited", subscriber_id="sam").event_key == "visited"
    assert ended(engine, sam) == ("active", None)


def test_a_rule_holds_for_those_who_are_on_the_way_already(engine: Engine) -> None:
    sequence_id = engine.author(email("tip", timing=after(1, "days"))).sequence_id
    sam = engine.join()
    bought(engine)
    engine.create_exit_rule(TENANT, sequence_id, "exit", BOUGHT)
    assert ended(engine, sam) == ("active", None)
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert ended(engine, sam) == ("cancelled", "exit_rule")


def test_a_side_step_meets_the_rules_too(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("later", timing=after(30, "days")),
        email(
            "digest",
            timing={"type": "cron", "cron_expression": "0 12 * * *", "recurring": True},
        ),
        exit_when=[{"predicate": "$.enrollment.score > 70"}],
    )
    sam = engine.join(data={"email": "sam@example.com", "score": 71})
    clock.advance(hours=3)
    engine.tick()
    assert ended(engine, sam) == ("cancelled", "exit_rule")
    assert engine.ledger() == []
