"""Goals complete an enrolment and exit rules cancel it, at an event and at the next decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
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


def answer_hooks(engine: Engine, **claiming: Any) -> int:
    """Ask the application's functions as the daemon does; return how many asked."""
    return int(engine.complete_hooks([asked(engine, c) for c in engine.claim_hooks(**claiming)]))


def asked(engine: Engine, claim: Any) -> dict[str, Any]:
    """Call the function of a claim; return what is to be handed in."""
    values = {claim.key: called(engine, claim)}
    if claim.execution_id is None:
        at = claim.ask_at.isoformat()
        return {"enrollment": str(claim.enrollment_id), "ask_at": at, "values": values}
    return {
        "execution": str(claim.execution_id),
        "fence": claim.fence,
        "message": claim.message_id,
        "values": values,
    }


def called(engine: Engine, claim: Any) -> Any:
    try:
        return engine.call_hook(claim.execution_id, claim.key, claim.enrollment_id)
    except psycopg.errors.RaiseException:
        return {"error": "hook_exception"}


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
def test_a_function_of_the_application_is_asked_after_an_event(engine: Engine, rule: str) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(
        email("tip", timing=after(3, "days")),
        **{rule: [{"hook": "has_bought", "expected_value": True}]},
    )
    sam = engine.join()
    assert answer_hooks(engine) == 0, "nothing has happened"
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert answer_hooks(engine) == 1
    assert ended(engine, sam) == ("active", None)
    assert answer_hooks(engine) == 0, "it was asked once"
    engine.connection.execute("insert into app.orders values ('sam')")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert answer_hooks(engine) == 1
    assert ended(engine, sam) == OUTCOMES[rule]
    assert answer_hooks(engine) == 0
    assert engine.ledger() == []


@pytest.mark.parametrize("call", ["track_event", "suppress", "unsubscribe"])
def test_no_function_runs_where_something_is_tracked(engine: Engine, call: str) -> None:
    engine.connection.execute("create schema app; create sequence app.calls")
    engine.author(email("welcome"))
    sent = engine.join("ada")
    engine.bring_to("rendered", sent.id)
    sam = engine.join()
    function(engine, "perform nextval('app.calls'); return to_jsonb(true);")
    rule = {"hook": "has_bought", "expected_value": True}
    engine.create_exit_rule(TENANT, sam.sequence_id, "exit", rule)
    if call == "track_event":
        engine.track_event(TENANT, "visited", subscriber_id="sam")
    elif call == "suppress":
        engine.suppress(TENANT, "email", "sam@example.com")
    else:
        engine.unsubscribe(TENANT, engine.last(sent.id).id)
    assert engine.rows("select last_value, is_called from app.calls") == [(1, False)]
    assert ended(engine, sam)[0] == "active"


def test_whoever_was_asked_and_has_not_answered_is_asked_again(
    engine: Engine, clock: Clock
) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(goals=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    engine.connection.execute("insert into app.orders values ('sam')")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert [claim.enrollment_id for claim in engine.claim_hooks()] == [sam.id]
    assert engine.claim_hooks() == []
    clock.advance(minutes=5)
    assert answer_hooks(engine) == 1
    assert ended(engine, sam) == ("completed", "goal")


def test_what_happens_while_a_function_is_asked_is_asked_about_too(
    engine: Engine, clock: Clock
) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(goals=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    (early,) = engine.claim_hooks()
    result = asked(engine, early)
    clock.advance(seconds=1)
    engine.connection.execute("insert into app.orders values ('sam')")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    engine.complete_hooks([result])
    assert ended(engine, sam) == ("active", None)
    assert answer_hooks(engine) == 1
    assert ended(engine, sam) == ("completed", "goal")


def test_losing_the_queue_loses_no_question(engine: Engine) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(goals=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    engine.connection.execute("insert into app.orders values ('sam')")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    engine.stop()
    engine.start()
    assert answer_hooks(engine) == 1
    assert ended(engine, sam) == ("completed", "goal")


@pytest.mark.parametrize("state", ["queued", "rendered"])
def test_nothing_leaves_before_the_function_has_answered(
    engine: Engine, clock: Clock, state: str
) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(exit_when=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    engine.tick()
    answer_hooks(engine)
    engine.bring_to(state, sam.id)
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    engine.render()
    assert engine.claim_sends("email") == []
    engine.tick()
    waiting = engine.last(sam.id)
    assert (waiting.state, waiting.reason) == ("scheduled", "waiting_for_rules")
    (gate,) = [g for g in engine.explain(TENANT, sam.id) if g.gate == "exit"]
    assert (gate.open, gate.reason) == (False, "waiting_for_rules")
    assert answer_hooks(engine) == 1
    assert engine.last(sam.id).due_at == clock.now
    engine.tick()
    answer_hooks(engine)
    assert len(engine.deliver()) == 1
    assert ended(engine, sam) == ("active", None)


def test_who_is_paused_is_let_out_too(engine: Engine) -> None:
    function(engine, HAS_BOUGHT)
    engine.author(exit_when=[{"hook": "has_bought", "expected_value": True}])
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    engine.connection.execute("insert into app.orders values ('sam')")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    answer_hooks(engine)
    assert ended(engine, sam) == ("cancelled", "exit_rule")


def test_a_simulation_asks_the_functions_of_rules(engine: Engine) -> None:
    function(engine, "return to_jsonb(true);")
    engine.author(
        email("tip", timing=after(3, "days")),
        goals=[{"hook": "has_bought", "expected_value": True}],
    )
    data = {"email": "sam@example.com"}
    events = [{"at": "1 day", "event_key": "visited"}]
    rows = engine.simulate(TENANT, "onboarding", data, events=events)
    assert [(row.action, row.reason) for row in rows][-1] == ("completed", "goal")
    rows = engine.simulate(TENANT, "onboarding", data, events=events, hooks={"has_bought": False})
    assert "send" in [row.action for row in rows]


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
    assert answer_hooks(engine) == 1
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


def test_a_goal_goes_before_a_timeout(engine: Engine, clock: Clock) -> None:
    wait = {"type": "event", "trigger_event": "x", "timeout": "1 day", "on_timeout": "exit"}
    engine.author(
        email("welcome", timing=wait),
        goals=[{"name": "late", "start": "09:00", "end": "10:00", "days": ["tue"]}],
    )
    sam = engine.join()
    clock.advance(days=1)
    engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "late"
