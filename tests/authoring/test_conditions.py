"""Conditions: their one form, and what makes no sense as one."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import (
    DripdropError,
    InvalidArgument,
    InvalidCondition,
    RuleNotFound,
    SequenceNotFound,
    StepNotFound,
    UnknownTimeZone,
    VersionNotDraft,
)
from tests.engine import TEMPLATE, TENANT, Engine, email


@pytest.fixture
def step_id(engine: Engine, draft_id: UUID) -> UUID:
    step: UUID = engine.create_step(TENANT, draft_id, "hello", "email", TEMPLATE).id
    return step


def form(engine: Engine, condition: dict[str, Any]) -> Any:
    """Return the stored form of a condition, as a document."""
    (stored,) = engine.rows("select dripdrop._canonical_condition(%s)", json.dumps(condition))
    return stored[0]


FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"field_path": "plan_tier", "operator": "eq", "expected_value": "pro"},
        {
            "type": "enrollment_data",
            "field_path": '$."plan_tier"',
            "operator": "==",
            "expected_value": "pro",
        },
    ),
    (
        {"field_path": "$.address.city", "expected_value": None},
        {
            "type": "enrollment_data",
            "field_path": '$."address"."city"',
            "operator": "==",
            "expected_value": None,
        },
    ),
    (
        {"field_path": "orders[0].total", "operator": "gte", "expected_value": "70.50"},
        {
            "type": "enrollment_data",
            "field_path": '$."orders"[0]."total"',
            "operator": ">=",
            "expected_value": 70.50,
        },
    ),
    (
        {"hook": "score", "operator": "in", "expected_value": [1, 2], "name": "Low"},
        {
            "type": "hook",
            "name": "Low",
            "hook": "score",
            "operator": "in",
            "expected_value": [1, 2],
        },
    ),
    (
        {"event": "bought"},
        {"type": "event", "event": "bought", "operator": ">=", "expected_value": 1},
    ),
    (
        {"event": "bought", "happened": False, "within": "7 days", "since": "enrollment"},
        {
            "type": "event",
            "event": "bought",
            "within": "7 days",
            "since": "enrollment",
            "operator": "==",
            "expected_value": 0,
        },
    ),
    (
        {"event": "bought", "operator": "<", "expected_value": "3", "match": {"plan": None}},
        {
            "type": "event",
            "event": "bought",
            "match": {"plan": None},
            "operator": "<",
            "expected_value": 3,
        },
    ),
    (
        {"predicate": '  $.enrollment.score>70 && $.steps.welcome.state == "sent"'},
        {
            "type": "predicate",
            "predicate": '($."enrollment"."score" > 70 && $."steps"."welcome"."state" == "sent")',
        },
    ),
    (
        {"start": "9:00", "days": ["fri", "mon", "mon"], "time_zone": "Europe/Berlin"},
        {
            "type": "time_window",
            "start": "09:00",
            "end": "24:00",
            "days": ["mon", "fri"],
            "time_zone": "Europe/Berlin",
        },
    ),
    ({"days": ["sun"]}, {"type": "time_window", "start": "00:00", "end": "24:00", "days": ["sun"]}),
    ({"start": "22:00", "end": "06:00"}, {"type": "time_window", "start": "22:00", "end": "06:00"}),
]


@pytest.mark.parametrize(("condition", "stored"), FORMS, ids=[json.dumps(c) for c, _ in FORMS])
def test_a_condition_has_one_form(
    engine: Engine, condition: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert form(engine, condition) == stored


@pytest.mark.parametrize("stored", [s for _, s in FORMS], ids=[json.dumps(s) for _, s in FORMS])
def test_what_is_stored_reads_back_as_it_was_written(
    engine: Engine, step_id: UUID, stored: dict[str, Any]
) -> None:
    engine.create_condition(TENANT, stored, step_id=step_id)
    (read,) = engine.rows(
        "select dripdrop._condition_document(c) as document from dripdrop.conditions as c"
    )
    assert read.document == stored
    assert form(engine, stored) == stored


@pytest.mark.parametrize(
    ("word", "sign"),
    [("eq", "=="), ("neq", "!="), ("gt", ">"), ("lt", "<"), ("gte", ">="), ("lte", "<=")],
)
def test_an_operator_may_be_a_word(engine: Engine, word: str, sign: str) -> None:
    condition = {"field_path": "score", "operator": word, "expected_value": 1}
    assert form(engine, condition)["operator"] == sign


@pytest.mark.parametrize(
    "predicate",
    [
        "$.a > 1",
        "exists($.a)",
        "!($.a == 1)",
        "($.a > 1) is unknown",
        '$.a starts with "x"',
        '$.a like_regex "^x" flag "i"',
        "strict $.a > 1",
        '$.a == "$" && $."$" == "b$"',
        "exists($.list[*] ? (@ > 1))",
    ],
)
def test_a_predicate_is_what_gives_true_or_false(engine: Engine, predicate: str) -> None:
    assert form(engine, {"predicate": predicate})["type"] == "predicate"


@pytest.mark.parametrize(
    "predicate",
    [
        "",
        "$.a",
        "$.a + 1",
        "true",
        '"text"',
        "$.a ? (@ > 1)",
        "($.a > 1).type()",
        "$.a > 1) ? (@.b > 1",
        "$.a >",
        "$.a == 'x'",
        '$.a like_regex "("',
        '$.a like_regex "a" flag "x"',
        "$.a > $limit",
        '$.a == "$" && $"limit" == 1',
    ],
)
def test_what_is_no_predicate_is_refused(engine: Engine, step_id: UUID, predicate: str) -> None:
    with engine.refused(InvalidCondition) as refusal:
        engine.create_condition(TENANT, {"predicate": predicate}, step_id=step_id)
    assert refusal.value.diag.column_name == "predicate"


SCORE = {"field_path": "score", "operator": ">", "expected_value": 1}
HOURS = {"start": "09:00", "end": "17:00"}

FAULTS: list[tuple[Any, type[DripdropError], str]] = [
    ([], InvalidCondition, ""),
    ({}, InvalidCondition, "type"),
    ({"type": "weather"}, InvalidCondition, "type"),
    ({"type": "hook"}, InvalidCondition, "hook"),
    ({"type": "predicate"}, InvalidCondition, "predicate"),
    ({"type": "enrollment_data"}, InvalidCondition, "field_path"),
    ({"type": "event"}, InvalidCondition, "event"),
    ({"type": "time_window"}, InvalidCondition, "start"),
    (SCORE | {"name": ""}, InvalidCondition, "name"),
    (SCORE | {"name": 7}, InvalidCondition, "name"),
    (SCORE | {"hook": "x"}, InvalidCondition, "field_path"),
    (SCORE | {"within": "1 day"}, InvalidCondition, "within"),
    (SCORE | {"field_path": "plan-tier"}, InvalidCondition, "field_path"),
    (SCORE | {"field_path": "$x"}, InvalidCondition, "field_path"),
    (SCORE | {"field_path": 5}, InvalidCondition, "field_path"),
    (SCORE | {"operator": "~"}, InvalidCondition, "operator"),
    (SCORE | {"operator": 1}, InvalidCondition, "operator"),
    ({"field_path": "score"}, InvalidCondition, "expected_value"),
    (SCORE | {"expected_value": "many"}, InvalidCondition, "expected_value"),
    (SCORE | {"expected_value": None}, InvalidCondition, "expected_value"),
    (SCORE | {"expected_value": True}, InvalidCondition, "expected_value"),
    (SCORE | {"operator": "in"}, InvalidCondition, "expected_value"),
    (SCORE | {"operator": "in", "expected_value": []}, InvalidCondition, "expected_value"),
    (SCORE | {"operator": "contains", "expected_value": {}}, InvalidCondition, "expected_value"),
    ({"hook": "No", "expected_value": 1}, InvalidCondition, "hook"),
    ({"event": ""}, InvalidCondition, "event"),
    ({"event": "bought", "match": []}, InvalidCondition, "match"),
    ({"event": "bought", "within": "a while"}, InvalidCondition, "within"),
    ({"event": "bought", "within": "-1 day"}, InvalidCondition, "within"),
    ({"event": "bought", "since": "ever"}, InvalidCondition, "since"),
    ({"event": "bought", "happened": "yes"}, InvalidCondition, "happened"),
    ({"event": "bought", "happened": True, "expected_value": 2}, InvalidCondition, "happened"),
    (
        {"event": "bought", "operator": "contains", "expected_value": 1},
        InvalidCondition,
        "operator",
    ),
    ({"event": "bought", "operator": ">"}, InvalidCondition, "expected_value"),
    ({"event": "bought", "expected_value": -1}, InvalidCondition, "expected_value"),
    ({"event": "bought", "expected_value": 1.5}, InvalidCondition, "expected_value"),
    (HOURS | {"start": "9am"}, InvalidCondition, "start"),
    (HOURS | {"start": "24:00"}, InvalidCondition, "start"),
    (HOURS | {"end": "25:00"}, InvalidCondition, "end"),
    (HOURS | {"end": "09:00"}, InvalidCondition, "end"),
    (HOURS | {"days": []}, InvalidCondition, "days"),
    (HOURS | {"days": "mon"}, InvalidCondition, "days"),
    (HOURS | {"days": ["noday"]}, InvalidCondition, "days"),
    (HOURS | {"days": [1]}, InvalidCondition, "days"),
    (HOURS | {"time_zone": "foo5"}, UnknownTimeZone, "time_zone"),
]


@pytest.mark.parametrize(
    ("condition", "error", "field"), FAULTS, ids=[json.dumps(c) for c, *_ in FAULTS]
)
def test_a_bad_field_is_named(
    engine: Engine, step_id: UUID, condition: Any, error: type[DripdropError], field: str
) -> None:
    with engine.refused(error) as refusal:
        engine.create_condition(TENANT, condition, step_id=step_id)
    assert (refusal.value.diag.column_name or "") == field


def test_conditions_stand_in_the_order_they_were_added(engine: Engine, step_id: UUID) -> None:
    for event in ("first", "second"):
        engine.create_condition(TENANT, {"event": event}, step_id=step_id)
    added = engine.rows("select position, config from dripdrop.conditions order by id")
    assert [(c.position, c.config["event"]) for c in added] == [(1, "first"), (2, "second")]


def test_a_condition_belongs_to_a_step_or_a_transition(engine: Engine, step_id: UUID) -> None:
    version = engine.rows("select id from dripdrop.sequence_versions")[0]
    transition = engine.create_step_transition(TENANT, version.id, "hello", condition_mode="all")
    condition = engine.create_condition(TENANT, SCORE, transition_id=transition.id)
    assert (condition.step_id, condition.transition_id) == (None, transition.id)
    for owners in ({}, {"step_id": step_id, "transition_id": transition.id}):
        with engine.refused(InvalidArgument):
            engine.create_condition(TENANT, SCORE, **owners)


def test_a_condition_needs_an_owner_of_the_tenant(engine: Engine, step_id: UUID) -> None:
    version = engine.rows("select id from dripdrop.sequence_versions")[0]
    transition = engine.create_step_transition(TENANT, version.id, "hello")
    for tenant, step, rule in (
        ("other", step_id, transition.id),
        (None, step_id, transition.id),
        (TENANT, uuid4(), uuid4()),
    ):
        with engine.refused(StepNotFound):
            engine.create_condition(tenant, SCORE, step_id=step)
        with engine.refused(RuleNotFound):
            engine.create_condition(tenant, SCORE, transition_id=rule)


@pytest.mark.parametrize(
    "write",
    [
        "update dripdrop.conditions set name = 'other' where step_id is not null",
        "delete from dripdrop.conditions where transition_id is not null",
        "update dripdrop.conditions set step_id = (select id from dripdrop.steps limit 1),"
        " sequence_id = null, outcome = null where sequence_id is not null",
        "update dripdrop.step_transitions set priority = 9",
        "delete from dripdrop.step_transitions",
    ],
)
def test_the_conditions_of_an_active_version_do_not_change_whoever_writes(
    engine: Engine, write: str
) -> None:
    way_on = {"to": None, "conditions": [SCORE]}
    engine.author(
        email("welcome", conditions=[SCORE], transitions=[way_on]), goals=[{"event": "bought"}]
    )
    with engine.refused(VersionNotDraft):
        engine.rows(f"{write} returning 1")


def test_the_conditions_of_an_active_version_are_not_added_to(engine: Engine) -> None:
    engine.author()
    step = engine.rows("select id from dripdrop.steps")[0]
    with engine.refused(VersionNotDraft):
        engine.create_condition(TENANT, SCORE, step_id=step.id)


@pytest.mark.parametrize("outcome", ["goal", "exit"])
def test_a_sequence_gets_rules_that_end_its_enrolments(engine: Engine, outcome: str) -> None:
    version = engine.author()
    rule = engine.create_exit_rule(TENANT, version.sequence_id, outcome, {"event": "bought"})
    assert (rule.sequence_id, rule.outcome, rule.position) == (version.sequence_id, outcome, 1)


def test_a_dropped_rule_is_gone(engine: Engine) -> None:
    version = engine.author(goals=[{"event": "bought"}])
    (rule,) = engine.rows("select id from dripdrop.conditions")
    assert engine.drop_exit_rule(TENANT, rule.id).sequence_id == version.sequence_id
    assert engine.rows("select from dripdrop.conditions") == []
    with engine.refused(RuleNotFound):
        engine.drop_exit_rule(TENANT, rule.id)


def test_a_rule_is_dropped_by_its_tenant_and_is_no_condition_of_a_step(engine: Engine) -> None:
    engine.author(email("welcome", conditions=[SCORE]), exit_when=[{"event": "left"}])
    for condition in engine.rows("select id, sequence_id from dripdrop.conditions"):
        with engine.refused(RuleNotFound):
            engine.drop_exit_rule("other" if condition.sequence_id else TENANT, condition.id)


def test_a_rule_needs_a_sequence_an_outcome_and_a_condition(engine: Engine) -> None:
    sequence_id = engine.author().sequence_id
    with engine.refused(SequenceNotFound):
        engine.create_exit_rule("other", sequence_id, "goal", {"event": "bought"})
    with engine.refused(InvalidArgument):
        engine.create_exit_rule(TENANT, sequence_id, "win", {"event": "bought"})
    with engine.refused(InvalidCondition):
        engine.create_exit_rule(TENANT, sequence_id, "goal", {"event": ""})


def test_the_hook_of_a_goal_is_asked_by_the_steps_people_are_on(engine: Engine) -> None:
    version = engine.author(hooks=[{"key": "score", "url": "https://crm.example.com"}])
    hooks = "select distinct hooks from dripdrop.steps"
    assert engine.rows(hooks) == [([],)]
    rule = engine.create_exit_rule(
        TENANT, version.sequence_id, "goal", {"predicate": "$.hooks.score > 9"}
    )
    assert engine.rows(hooks) == [(["score"],)]
    engine.drop_exit_rule(TENANT, rule.id)
    assert engine.rows(hooks) == [([],)]


ASKED = {"field_path": "plan", "expected_value": "pro"}


def ways(*counts: int) -> list[dict[str, Any]]:
    """Return transitions with so many conditions each."""
    return [{"to": None, "conditions": [ASKED] * count} for count in counts]


@pytest.mark.parametrize(
    ("definition", "column"),
    [
        ({"steps": [email("welcome", conditions=[ASKED] * 101)]}, "steps[0].conditions"),
        ({"steps": [email("welcome", transitions=ways(50, 51))]}, "steps[0].transitions"),
        ({"steps": [email("welcome", transitions=ways(*[0] * 101))]}, "steps[0].transitions"),
        ({"steps": [email("welcome")], "goals": [ASKED] * 101}, "goals"),
        ({"steps": [email("welcome")], "exit_when": [ASKED] * 101}, "exit_when"),
        ({"steps": [email("welcome")], "entry": ways(100, 1)}, "entry"),
    ],
)
def test_a_document_has_no_more_conditions_than_are_asked_at_once(
    engine: Engine, definition: dict[str, Any], column: str
) -> None:
    with engine.refused(DripdropError) as refusal:
        engine.apply(TENANT, {"key": "many", "name": "Many"} | definition)
    assert refusal.value.diag.column_name == column
    assert "100" in str(refusal.value.diag.message_hint)
    assert engine.rows("select from dripdrop.sequences where key = 'many'") == []


def test_as_many_conditions_as_are_asked_at_once_are_let_in(engine: Engine) -> None:
    most = [ASKED] * 100
    engine.author(
        email("welcome", conditions=most, transitions=ways(50, 50)), goals=most, exit_when=most
    )
    engine.join("sam", data={"email": "sam@example.com", "plan": "free"})
    engine.tick()
    assert engine.rows("select reason from dripdrop.step_executions") == [("condition_false",)]


def test_no_condition_is_added_to_as_many_as_are_asked_at_once(
    engine: Engine, draft_id: UUID
) -> None:
    step = engine.create_step(TENANT, draft_id, "hello", "email", TEMPLATE)
    for _ in range(100):
        engine.create_condition(TENANT, ASKED, step_id=step.id)
    with engine.refused(InvalidCondition):
        engine.create_condition(TENANT, ASKED, step_id=step.id)
    one, other = (
        engine.create_step_transition(TENANT, draft_id, "hello", condition_mode="all")
        for _ in range(2)
    )
    for _ in range(100):
        engine.create_condition(TENANT, ASKED, transition_id=one.id)
    with engine.refused(InvalidCondition):
        engine.create_condition(TENANT, ASKED, transition_id=other.id)
    for _ in range(98):
        engine.create_step_transition(TENANT, draft_id, "hello")
    with engine.refused(InvalidCondition):
        engine.create_step_transition(TENANT, draft_id, "hello")


def test_no_goal_is_added_to_as_many_as_are_asked_at_once(engine: Engine) -> None:
    engine.author(email("welcome"), goals=[ASKED] * 100)
    (sequence,) = engine.rows("select id from dripdrop.sequences")
    engine.create_exit_rule(TENANT, sequence.id, "exit", ASKED)
    with engine.refused(InvalidCondition):
        engine.create_exit_rule(TENANT, sequence.id, "goal", ASKED)
