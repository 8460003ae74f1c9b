"""Conditions on a step: what holds, what does not, and the reason that is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

MISSING = object()


def gated(engine: Engine, condition: dict[str, Any], **data: Any) -> str | None:
    """Decide a step with this condition; return why it was skipped, or None."""
    engine.author(email("offer", conditions=[condition]), email("tip"))
    sam = engine.join(data={"email": "sam@example.com"} | data)
    engine.tick()
    offer, *following = engine.executions(sam.id)
    assert (offer.state == "skipped") == bool(following)
    return offer.reason if offer.state == "skipped" else None


def compared(engine: Engine, actual: Any, operator: str, expected: Any) -> str | None:
    """Compare a value in the data; return the objection, or None."""
    condition = {"field_path": "value", "operator": operator, "expected_value": expected}
    data = {} if actual is MISSING else {"value": actual}
    return gated(engine, condition, **data)


HOLDS: list[tuple[Any, str, Any]] = [
    ("pro", "==", "pro"),
    ("pro", "eq", "pro"),
    (5, "==", 5.0),
    ("5", "==", 5),
    (5, "==", "5.0"),
    ("-5.50", "==", -5.5),
    (True, "==", True),
    ("true", "==", True),
    (False, "==", "false"),
    (False, "==", False),
    (None, "==", None),
    ({"a": 1, "b": 2}, "==", {"b": 2, "a": 1}),
    ("free", "!=", "pro"),
    ("free", "neq", "pro"),
    (4, "!=", 5),
    ("4", "!=", 5),
    (True, "!=", False),
    (85, ">", 70),
    ("85", ">", 70),
    (9, "<", 10),
    ("9", "<", "10"),
    (70, ">=", 70),
    (70, "<=", 70),
    (71, "gt", 70),
    (69, "lt", 70),
    (70, "gte", "70"),
    (70, "lte", 70.0),
    (-1, "<", 0),
    (10**30, ">", 10**29),
    ("pro", "in", ["free", "pro"]),
    ("5", "in", [4, 5]),
    (None, "in", ["a", None]),
    (False, "in", [False]),
    (["a", "b"], "contains", "b"),
    ([1, "2"], "contains", 2),
    ("enterprise", "contains", "prise"),
    ("order 66", "contains", 66),
]


@pytest.mark.parametrize(("actual", "operator", "expected"), HOLDS)
def test_it_holds(engine: Engine, actual: Any, operator: str, expected: Any) -> None:
    assert compared(engine, actual, operator, expected) is None


FALSE: list[tuple[Any, str, Any]] = [
    ("free", "==", "pro"),
    ("Pro", "==", "pro"),
    (4, "==", 5),
    (True, "==", False),
    (False, "==", True),
    (None, "==", "pro"),
    (None, "==", False),
    ("pro", "==", None),
    (0, "==", None),
    ("pro", "!=", "pro"),
    ("5", "!=", 5.0),
    (70, ">", 70),
    ("9", ">", 10),
    (71, "<=", 70),
    ("gold", "in", ["free", "pro"]),
    (None, "in", ["a"]),
    ("a", "in", [None]),
    (["a"], "contains", "b"),
    ([], "contains", "a"),
    ("enterprise", "contains", "E"),
]


@pytest.mark.parametrize(("actual", "operator", "expected"), FALSE)
def test_it_is_false(engine: Engine, actual: Any, operator: str, expected: Any) -> None:
    assert compared(engine, actual, operator, expected) == "condition_false"


INCOMPARABLE: list[tuple[Any, str, Any]] = [
    ("high", ">", 70),
    ("", ">", 70),
    ("1e3", ">", 70),
    ("85 points", ">", 70),
    (True, ">", 0),
    (None, ">", 0),
    ([99], ">", 70),
    ({"score": 99}, "<", 70),
    ("high", "==", 5),
    ("high", "!=", 5),
    ({}, "==", "pro"),
    ([1], "!=", 1),
    ("yes", "==", True),
    (1, "==", True),
    (5, "contains", 5),
    (None, "contains", "a"),
    ({"a": 1}, "contains", "a"),
]


@pytest.mark.parametrize(("actual", "operator", "expected"), INCOMPARABLE)
def test_what_cannot_be_compared_does_not_hold_and_says_so(
    engine: Engine, actual: Any, operator: str, expected: Any
) -> None:
    assert compared(engine, actual, operator, expected) == "not_comparable"


@pytest.mark.parametrize("operator", ["==", "!=", "in", "contains"])
@pytest.mark.parametrize("expected", [None, "pro"])
def test_what_is_missing_never_matches(engine: Engine, operator: str, expected: Any) -> None:
    if operator == "in":
        expected = [expected]
    if operator == "contains" and expected is None:
        expected = "null"
    assert compared(engine, MISSING, operator, expected) == "value_missing"


@pytest.mark.parametrize("path", ["address.city", "$.address.city", "$.tags[0]", '$."home town"'])
def test_a_field_may_lie_deep(engine: Engine, path: str) -> None:
    data = {"address": {"city": "Bonn"}, "tags": ["Bonn", "x"], "home town": "Bonn"}
    assert gated(engine, {"field_path": path, "expected_value": "Bonn"}, **data) is None


def test_the_reason_is_stored_with_what_was_compared_and_explained(engine: Engine) -> None:
    engine.author(
        email(
            "offer",
            conditions=[{"field_path": "score", "operator": ">", "expected_value": 70}],
        ),
        email("tip"),
    )
    sam = engine.join(data={"email": "sam@example.com", "score": "high"})
    (shut,) = [gate for gate in engine.explain(TENANT, sam.id) if not gate.open]
    assert (shut.gate, shut.reason, shut.next_action) == ("conditions", "not_comparable", "skip")
    assert shut.detail == '$."score" > 70'
    engine.tick()
    past = engine.explain(TENANT, sam.id)[0]
    assert (past.phase, past.reason, past.detail) == ("past", "not_comparable", shut.detail)
    (event,) = engine.rows("select * from dripdrop.message_events")
    assert event.event_type == "skipped"
    assert event.event_data["reason"] == "not_comparable"


def test_a_named_condition_is_told_by_its_name(engine: Engine) -> None:
    condition = {"name": "is warm", "field_path": "score", "expected_value": 1}
    engine.author(email("offer", conditions=[condition]))
    sam = engine.join()
    (shut,) = [gate for gate in engine.explain(TENANT, sam.id) if not gate.open]
    assert (shut.reason, shut.detail) == ("value_missing", "is warm")


def test_all_conditions_of_a_step_must_hold(engine: Engine) -> None:
    conditions = [{"field_path": key, "expected_value": 1} for key in ("a", "b")]
    engine.author(email("offer", conditions=conditions))
    people = {
        key: engine.join(key, data={"email": "sam@example.com"} | dict.fromkeys(key, 1))
        for key in ("a", "b", "ab")
    }
    engine.tick()
    states = {key: engine.executions(person.id)[0].state for key, person in people.items()}
    assert states == {"a": "skipped", "b": "skipped", "ab": "queued"}


def test_a_condition_is_asked_when_its_step_is_due(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("offer", timing=after(1, "days"), conditions=[{"event": "paid", "happened": False}])
    )
    sam = engine.join()
    engine.track_event(TENANT, "paid", subscriber_id="sam")
    clock.advance(days=1)
    engine.tick()
    assert engine.last(sam.id).reason == "condition_false"


@pytest.mark.parametrize(
    ("predicate", "objection"),
    [
        ("$.enrollment.score > 70", None),
        ("$.enrollment.score > 90", "condition_false"),
        ("$.enrollment.nothing > 70", "condition_false"),
        ("$.enrollment.plan > 70", "not_comparable"),
        ("exists($.enrollment.plan)", None),
        ("exists($.enrollment.nothing)", "condition_false"),
        ('$.subscriber.id == "sam" && $.subscriber.type == "User"', None),
        ('$.subscriber.plan == "pro"', None),
        ('$.sequence.key == "onboarding"', None),
        ('$.step.key == "offer" && $.step.channel == "email"', None),
        ("$.enrollment.score > 90 || $.enrollment.beta == false", None),
        ("!($.enrollment.beta == true)", None),
        ('$.enrollment.plan like_regex "^p"', None),
        ('$.enrollment.tags[*] == "b"', None),
        ("$.enrollment.score / 0 > 1", "not_comparable"),
        ("$.enrollment.nil == null", None),
        ("$.enrollment.nothing == null", "condition_false"),
    ],
)
def test_a_predicate_is_asked_about_the_enrolment(
    engine: Engine, predicate: str, objection: str | None
) -> None:
    data = {"score": 85, "plan": "pro", "beta": False, "tags": ["a", "b"], "nil": None}
    assert gated(engine, {"predicate": predicate}, **data) == objection


@pytest.mark.parametrize(
    ("predicate", "state"),
    [
        ('$.steps.welcome.state == "sent"', "queued"),
        ('$.steps.welcome.state == "skipped"', "skipped"),
        ("$.steps.welcome.occurrence == 0", "queued"),
        ('$.steps.other.state == "sent"', "skipped"),
        ('$.steps.*.state == "sent"', "queued"),
    ],
)
def test_a_predicate_knows_what_became_of_earlier_steps(
    engine: Engine, predicate: str, state: str
) -> None:
    engine.author(email("welcome"), email("tip", conditions=[{"predicate": predicate}]))
    sam = engine.join()
    engine.deliver()
    engine.tick()
    assert engine.executions(sam.id)[1].state == state


def happened(engine: Engine, now: datetime, *days_ago: int, **data: Any) -> None:
    for days in days_ago:
        engine.track_event(
            TENANT, "paid", data, subscriber_id="sam", occurred_at=now - timedelta(days=days)
        )


@pytest.mark.parametrize(
    ("fields", "days_ago", "holds"),
    [
        ({}, [1], True),
        ({}, [], False),
        ({"happened": True}, [400], True),
        ({"happened": False}, [], True),
        ({"happened": False}, [1], False),
        ({"within": "7 days"}, [7], True),
        ({"within": "7 days"}, [8], False),
        ({"within": "7 days", "happened": False}, [8], True),
        ({"operator": ">=", "expected_value": 2}, [1, 2], True),
        ({"operator": ">=", "expected_value": 2}, [1], False),
        ({"operator": "==", "expected_value": 2}, [1, 2, 3], False),
        ({"operator": "<", "expected_value": 2, "within": "7 days"}, [1, 8], True),
        ({"operator": "!=", "expected_value": 1}, [1], False),
        ({"since": "enrollment"}, [1], False),
        ({"since": "enrollment"}, [0], False),
        ({}, [-1], False),
    ],
)
def test_an_event_is_counted(
    engine: Engine, now: datetime, fields: dict[str, Any], days_ago: list[int], holds: bool
) -> None:
    happened(engine, now, *days_ago)
    objection = gated(engine, {"event": "paid"} | fields)
    assert objection == (None if holds else "condition_false")


@pytest.mark.parametrize(("plan", "holds"), [("pro", True), ("free", False)])
def test_only_a_matching_event_counts(
    engine: Engine, now: datetime, plan: str, holds: bool
) -> None:
    happened(engine, now, 1, plan=plan, seats=3)
    objection = gated(engine, {"event": "paid", "match": {"plan": "pro"}})
    assert (objection is None) == holds


def test_the_events_of_another_tenant_type_or_enrolment_do_not_count(engine: Engine) -> None:
    engine.author(email("welcome", timing=after(1, "days")))
    another = engine.join(entry_key="another")
    engine.track_event("umbrella", "paid", subscriber_id="sam")
    engine.track_event(None, "paid", subscriber_id="sam")
    engine.track_event(TENANT, "paid", subscriber_id="sam", subscriber_type="Team")
    engine.track_event(TENANT, "paid", enrollment_id=another.id)
    assert gated(engine, {"event": "paid"}) == "condition_false"


MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
OFFICE = {"start": "09:00", "end": "17:00"}
NIGHT = {"start": "22:00", "end": "06:00"}


@pytest.mark.parametrize(
    ("window", "hours", "inside"),
    [
        (OFFICE, 9, True),
        (OFFICE, 16.99, True),
        (OFFICE, 17, False),
        (OFFICE, 8.99, False),
        (NIGHT, 22, True),
        (NIGHT, 24 + 5.99, True),
        (NIGHT, 24 + 6, False),
        (NIGHT, 12, False),
        ({"days": ["mon"]}, 0, True),
        ({"days": ["mon"]}, 23.99, True),
        ({"days": ["mon"]}, 24, False),
        (OFFICE | {"days": ["tue"]}, 10, False),
        (OFFICE | {"days": ["tue"]}, 34, True),
        (NIGHT | {"days": ["mon"]}, 24 + 5, True),
        (NIGHT | {"days": ["mon"]}, 5, False),
        ({"start": "20:00"}, 23.99, True),
        ({"end": "08:00"}, 8, False),
    ],
)
def test_a_time_window_is_open_or_shut(
    engine: Engine, clock: Clock, window: dict[str, Any], hours: float, inside: bool
) -> None:
    clock.set(MONDAY + timedelta(hours=hours))
    assert (gated(engine, window) is None) == inside


@pytest.mark.parametrize(
    ("window", "data", "inside"),
    [
        ({}, {}, False),
        ({}, {"time_zone": "America/New_York"}, True),
        ({"time_zone": "America/New_York"}, {"time_zone": "UTC"}, True),
    ],
)
def test_a_time_window_is_in_its_own_zone_or_the_subscribers(
    engine: Engine, clock: Clock, window: dict[str, Any], data: dict[str, Any], inside: bool
) -> None:
    clock.set(MONDAY + timedelta(hours=20))
    assert (gated(engine, OFFICE | window, **data) is None) == inside


def answered(engine: Engine, condition: dict[str, Any], answer: dict[str, Any]) -> Any:
    """Decide a step whose hook gave this answer; return its execution."""
    engine.author(
        email("offer", conditions=[condition]),
        email("tip"),
        hooks=[{"key": "score", "url": "https://crm.example.com", "response_type": "json"}],
    )
    sam = engine.join()
    assert engine.tick().asked == 1
    (claim,) = engine.claim_hooks()
    engine.complete_hooks(
        [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "values": {"score": answer},
            }
        ]
    )
    engine.tick()
    return engine.executions(sam.id)[0]


@pytest.mark.parametrize(
    ("operator", "expected", "answer", "reason"),
    [
        (">", 70, {"value": 85}, None),
        (">", 70, {"value": "85"}, None),
        (">", 70, {"value": 70}, "condition_false"),
        (">", 70, {"value": "high"}, "not_comparable"),
        ("==", "false", {"value": False}, None),
        ("==", False, {"value": False}, None),
        ("==", None, {"value": None}, None),
        ("==", None, {"value": 0}, "condition_false"),
        ("==", "pro", {"value": {"plan": "pro"}}, "not_comparable"),
        ("in", ["pro"], {"value": "pro"}, None),
        (">", 70, {"error": "http_404"}, "http_404"),
        ("!=", 70, {"error": "hook_exception"}, "hook_exception"),
    ],
)
def test_a_hook_is_compared_and_fails_closed(
    engine: Engine, operator: str, expected: Any, answer: dict[str, Any], reason: str | None
) -> None:
    condition = {"hook": "score", "operator": operator, "expected_value": expected}
    offer = answered(engine, condition, answer)
    if reason is None:
        assert offer.state == "queued"
    else:
        assert (offer.state, offer.reason) == ("skipped", reason)


@pytest.mark.parametrize(
    ("answer", "state"), [({"value": 85}, "queued"), ({"error": "http_404"}, "skipped")]
)
def test_a_predicate_sees_the_values_of_hooks(
    engine: Engine, answer: dict[str, Any], state: str
) -> None:
    assert answered(engine, {"predicate": "$.hooks.score > 70"}, answer).state == state


def test_a_step_is_not_decided_before_its_hook_has_answered(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("offer", conditions=[{"hook": "score", "expected_value": 1}]),
        hooks=[{"key": "score", "url": "https://crm.example.com"}],
    )
    sam = engine.join()
    (shut, *_) = [gate for gate in engine.explain(TENANT, sam.id) if not gate.open]
    assert (shut.gate, shut.reason, shut.next_action) == ("hooks", "waiting_for_hooks", "ask")
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.state, execution.reason) == ("scheduled", "waiting_for_hooks")
    assert execution.due_at == clock.now + timedelta(minutes=15)
    assert engine.ledger() == []


def test_an_answer_routes_after_the_step_was_sent(engine: Engine) -> None:
    engine.author(
        email(
            "welcome",
            transitions=[
                {"to": "offer", "conditions": [{"hook": "score", "expected_value": 1}]},
                {"to": "tip"},
            ],
        ),
        email("offer", transitions=[{"to": None}]),
        email("tip"),
        hooks=[{"key": "score", "url": "https://crm.example.com"}],
    )
    people = [engine.join("warm"), engine.join("cold")]
    engine.tick()
    engine.complete_hooks(
        [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "values": {"score": {"value": int(claim.variables["subscriber_id"] == "warm")}},
            }
            for claim in engine.claim_hooks()
        ]
    )
    engine.deliver()
    assert [engine.last(person.id).step for person in people] == ["offer", "tip"]


def test_a_deferral_keeps_what_was_fetched(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("offer", conditions=[{"hook": "score", "expected_value": 1}]),
        hooks=[{"key": "score", "url": "https://crm.example.com"}],
    )
    sam = engine.join()
    engine.connection.execute(
        "update dripdrop.channel_adapters set resting_until = dripdrop._now() + interval '1 hour'"
    )
    engine.tick()
    (claim,) = engine.claim_hooks()
    result = {
        "execution": str(claim.execution_id),
        "fence": claim.fence,
        "message": claim.message_id,
        "values": {"score": {"value": 1}},
    }
    engine.complete_hooks([result])
    assert engine.tick().deferred == 1
    clock.advance(hours=1)
    assert engine.tick().queued == 1
    assert engine.last(sam.id).hooks == {"score": {"value": 1}}


def test_a_predicate_that_looks_everywhere_sees_earlier_steps(engine: Engine) -> None:
    anywhere = '$.*.welcome.state == "sent"'
    engine.author(email("welcome"), email("tip", conditions=[{"predicate": anywhere}]))
    sam = engine.join()
    engine.deliver()
    engine.deliver()
    assert engine.last(sam.id).state == "sent"


BEFORE_MAY = '$.enrollment.ends.datetime() < "2026-05-01T00:00:00+00:00".datetime()'


@pytest.mark.parametrize("session", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize(
    ("ends", "state", "reason"),
    [
        ("2026-04-30T23:59:59", "sent", "sent"),
        ("2026-05-01T00:00:00", "skipped", "condition_false"),
        ("2026-05-01", "skipped", "condition_false"),
        ("some day", "skipped", "not_comparable"),
        (7, "skipped", "not_comparable"),
    ],
)
def test_a_time_is_compared_with_a_time(
    engine: Engine, session: str, ends: object, state: str, reason: str
) -> None:
    engine.connection.execute("select set_config('timezone', %s, false)", [session])
    engine.author(email("offer", conditions=[{"predicate": BEFORE_MAY}]))
    sam = engine.join(data={"email": "sam@example.com", "ends": ends})
    engine.deliver()
    assert (engine.last(sam.id).state, engine.last(sam.id).reason) == (state, reason)


@pytest.mark.parametrize(
    "predicate",
    [
        '$.enrollment.email == "sam@example.com"',
        '$.subscriber.id == "sam" && $.subscriber.type == "User"',
        '$.subscriber.email == "sam@example.com"',
        '$.sequence.key == "onboarding"',
        '$.step.key == "welcome" && $.step.channel == "email"',
        '$.steps.welcome.state == "scheduled"',
        '$."st\\u0065ps".welcome.state == "scheduled"',
        '$.* ? (@.welcome.state == "scheduled").welcome.occurrence == 0',
        '$.*.key == "onboarding"',
        '$.**.channel == "email"',
        '$.**{2}.state == "scheduled"',
        '$.keyvalue() ? (@.key starts with "sequ").value.key == "onboarding"',
    ],
)
def test_a_predicate_that_holds_lets_the_step_go(engine: Engine, predicate: str) -> None:
    engine.author(email("welcome", conditions=[{"predicate": predicate}]))
    engine.join()
    assert engine.tick().queued == 1
