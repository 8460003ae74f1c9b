"""No path takes longer than its data is long: nothing can end one that runs."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from dripdrop.errors import InvalidArgument, InvalidCondition
from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, email

Db = psycopg.Connection[Any]

ENDLESS = [
    "$.enrollment.x[*] > $.enrollment.x[*]",
    "$.enrollment.x[*].a == $.enrollment.y[0 to last].b",
    "$.enrollment.* == $.hooks.*",
    "!($.enrollment.x[*] > $.enrollment.y[*]) && $.enrollment.z == 1",
    "$.enrollment.z == 1 || ($.enrollment.x.** > $.enrollment.y[*])",
    "exists($.enrollment.x[*] ? (@ > $.enrollment.y[*]))",
    "exists($.enrollment.x[*] ? (exists($.enrollment.y[*] ? (@ > 1))))",
    "exists($.enrollment.x ? (@ > $.enrollment.x ? (@ > $.enrollment.x ? (@ > 1))))",
    "exists($.enrollment.**.a.**)",
    "$.enrollment.** == 1 && $.hooks.** == 2",
    "$.enrollment.x.keyvalue().value == $.enrollment.y[*]",
    "$.enrollment.x[*] starts with $.enrollment.y[*]",
    "exists($.enrollment.x[*] ? (@.a[*] > @.b[*]))",
    '$.enrollment.x like_regex "(a*)*\\\\1"',
    "$.enrollment.x[0, 1, 2] == $.enrollment.y[*]",
    " || ".join(f"$.enrollment.x{n} == {n}" for n in range(200)),
    # A member of a list is that of each of its elements.
    "$.enrollment.a.b > $.enrollment.a.b",
    "exists($.enrollment.a.b ? (@ > $.enrollment.a.b))",
    "exists($.enrollment.a ? (@.b > $.enrollment.a.b))",
    "exists($.enrollment ? (@.a.b > @.a.b))",
    "$.enrollment.a.b.abs() > $.enrollment.a.b.abs()",
    "!($.enrollment.a.b > $.enrollment.a.b)",
    "-$.enrollment.a.b > +$.enrollment.a.b",
    "$.enrollment.a[0].b > $.enrollment.a[*].b",
    "$.enrollment.x ? (@ > 1) == $.enrollment.y ? (@ > 1)",
    "exists($.enrollment.x ? ($.enrollment.y > $.enrollment.z))",
    "exists($.enrollment.x ? (@.a == 1 && !($.enrollment.y > $.enrollment.z)))",
    # What repeats what it has found.
    "$.enrollment.x[0, 0, 0][0, 0, 0] == 1",
    "exists($.enrollment.x[0, 0] ? (exists(@[0, 0])))",
    "exists($.enrollment.keyvalue().keyvalue())",
    "$.enrollment.x[$.enrollment.y[0]] == 1",
]

BOUNDED = [
    "$.enrollment.x[*] > 10",
    "$.enrollment.x[*] > $.enrollment.y",
    "$.enrollment.orders[*].items[*].price > 100",
    'exists($.enrollment.orders[*] ? (@.total > 100 && @.items[*].sku == "a"))',
    "exists($.enrollment.orders[*] ? (@.sku == $.enrollment.favourite))",
    '$.enrollment.x[*] > 1 && $.enrollment.y[*] > 2 || $.steps.*.state == "sent"',
    "($.enrollment.a + $.enrollment.b) * 2 > 3",
    "$.enrollment.x.** == 1",
    '$.enrollment.d.datetime() < "2026-03-02".datetime()',
    '$.enrollment."x[*] > $.y[*]" == "a && b.** || .** > ("',
    "strict $.enrollment.x.**{2 to 3} > 1",
    "$.enrollment.x.size() > $.enrollment.y.size()",
    '$.enrollment.email like_regex "@example[.]com$" flag "i"',
    "($.enrollment.x == 1) is unknown",
    "strict $.enrollment.address.city == $.enrollment.billing.city",
    '$.enrollment.x > $.enrollment.y && $.enrollment.address.city == "Rome"',
    "$.steps.a.ended_at.datetime() < $.steps.b.ended_at.datetime()",
    "exists($.enrollment.orders[*] ? (@.total > @.limit))",
    "$.enrollment.from.datetime() < $.enrollment.to.datetime()",
    "$.enrollment.x[last] == 1 && $.enrollment.y[0] == 2",
]

# What may be large: each list has no more elements than is let in.
LARGE = {
    "email": "sam@example.com",
    "a": [{"b": [1] * 1000}] * 13,
    "l": [1] * 1000,
    "m": {str(n): n for n in range(100)},
    "n": [[1] * 100] * 5,
    "s": 1,
    "orders": [{"sku": str(n), "total": n, "limit": 150} for n in range(200)],
}

LONG = [
    "$.enrollment.l > $.enrollment.a",
    "$.enrollment.l > $.enrollment.l",
    "$.enrollment.l.double() > $.enrollment.l.double()",
    "exists($.enrollment.a ? (@.b > $.enrollment.l))",
    "exists($.enrollment.a ? (exists(@.b ? (@ > $.enrollment.l))))",
    "exists($.enrollment.l ? ($.enrollment.l == 2))",
    "exists($.enrollment.a ? (@.b > @.b))",
    "$.enrollment.s" + "[0" + ", 0" * 999 + "] > $.enrollment.l",
    "$.enrollment.l" + "[*]" * 500 + " > 1",
    "$.enrollment.a.** > $.enrollment.l",
    " || ".join(["$.enrollment.a.b > 1"] * 60),
]

QUICK = [
    "$.enrollment.a[*].b[*] == 1",
    "$.enrollment.l[*] >= $.enrollment.s",
    'exists($.enrollment.orders[*] ? (@.total > 100 && @.sku == "199"))',
    "exists($.enrollment.orders[*] ? (@.total > @.limit))",
    "exists($.enrollment.orders[*] ? (@.total == $.enrollment.s))",
    "$.enrollment.m.* == 99",
    "$.enrollment.s < $.enrollment.orders[1].limit",
    "exists($.enrollment.l)",
]


def check(db: Db, predicate: str) -> None:
    """Ask for the condition's stored form."""
    db.execute(
        "select dripdrop._canonical_condition(%s::jsonb)", [json.dumps({"predicate": predicate})]
    )


@pytest.mark.parametrize("predicate", ENDLESS)
def test_what_compares_a_list_with_a_list_is_refused(db: Db, predicate: str) -> None:
    with pytest.raises(InvalidCondition) as refusal:
        check(db, predicate)
    assert refusal.value.diag.message_hint
    assert refusal.value.diag.column_name == "predicate"


@pytest.mark.parametrize("predicate", BOUNDED)
def test_what_looks_through_one_list_is_let_in(db: Db, predicate: str) -> None:
    check(db, predicate)


def test_the_place_of_the_predicate_is_named(engine: Engine) -> None:
    conditions = [{"predicate": "$.enrollment.x == 1"}, {"predicate": ENDLESS[0]}]
    engine.author()
    with engine.refused(InvalidCondition) as refusal:
        engine.author(email("welcome", conditions=conditions))
    assert refusal.value.diag.column_name == "steps[0].conditions[1].predicate"


@pytest.mark.parametrize(
    "condition",
    [
        {"field_path": "$.x[*] ? (@ > $.x[*])", "expected_value": 1},
        {"hook": "score", "operator": "==", "expected_value": 1},
    ],
)
def test_other_paths_are_bounded_too(engine: Engine, condition: dict[str, Any]) -> None:
    hook = {
        "key": "score",
        "url": "https://example.com",
        "response_path": "$.x[*] ? (@ > $.x[*])",
    }
    engine.author()
    with engine.refused(InvalidCondition):
        engine.author(email("welcome", conditions=[condition]), hooks=[hook])


def test_data_with_a_long_list_is_refused(engine: Engine) -> None:
    engine.author()
    with engine.refused(InvalidArgument) as refusal:
        engine.join(data={"email": "sam@example.com", "x": list(range(20_000))})
    assert refusal.value.diag.column_name == "data"
    with engine.refused(InvalidArgument) as refusal:
        engine.join(data={"email": "sam@example.com", "x": [0] * 1001})
    assert refusal.value.diag.column_name == "data.x"


@pytest.mark.parametrize("strange", [True, False], ids=["former predicate", "predicate"])
def test_a_long_list_of_former_days_stops_no_tick(engine: Engine, strange: bool) -> None:
    """Neither the data nor the predicate would be let in today."""
    engine.author(
        email("welcome", conditions=[{"predicate": "$.enrollment.x > $.enrollment.y"}]),
        email("bye"),
    )
    sam = engine.join(data={"email": "sam@example.com", "x": [1], "y": [2]})
    with engine.unguarded():
        engine.rows(
            "update dripdrop.enrollments set data = data || jsonb_build_object('x',"
            " (select jsonb_agg(-n) from generate_series(1, 20000) as n), 'y',"
            " (select jsonb_agg(n) from generate_series(1, 20000) as n)) returning 1"
        )
        if strange:
            engine.rows(
                "update dripdrop.conditions set predicate ="
                " '$.enrollment.x[*] > $.enrollment.y[*]' returning 1"
            )
    begun = time.monotonic()
    engine.tick()
    assert time.monotonic() - begun < 2
    assert engine.executions(sam.id)[0].reason == "list_too_long"
    assert engine.executions(sam.id)[0].state == "skipped"
    (gate,) = (g for g in engine.explain(TENANT, sam.id) if g.gate == "conditions")
    assert gate.open


@pytest.mark.parametrize("predicate", [*LONG, *QUICK], ids=range(len(LONG) + len(QUICK)))
def test_a_predicate_is_asked_only_of_what_it_looks_through_in_no_time(
    engine: Engine, predicate: str
) -> None:
    engine.author(email("welcome", conditions=[{"predicate": predicate}]))
    sam = engine.join(data=LARGE)
    begun = time.monotonic()
    engine.tick()
    assert time.monotonic() - begun < 1
    assert (engine.executions(sam.id)[0].reason == "list_too_long") == (predicate in LONG)


SLOW = {"predicate": "exists($.enrollment.x ? (@ > $.enrollment.y))"}
LISTS = {"x": [0] * 300, "y": [1] * 300}
MANY_RULES: dict[str, Any] = {
    "goals": [SLOW] * 100,
    "exit_when": [*[SLOW] * 99, {"event": "bought", "name": "over"}],
}


def join_with_lists(engine: Engine, name: str, **more: Any) -> Any:
    """Enrol somebody whose data is much to look through."""
    return engine.join(name, data={"email": f"{name}@example.com"} | LISTS, **more)


def test_neither_tracking_nor_unsubscribing_waits_for_rules(engine: Engine, clock: Clock) -> None:
    """Those that were not asked in time are asked when the next step is decided."""
    steps = [email("welcome"), email("bye", timing="in 3 days")]
    engine.author(*steps)
    ada, sam = (join_with_lists(engine, name) for name in ("ada", "sam"))
    engine.deliver()
    engine.author(*steps, **MANY_RULES)

    begun = time.monotonic()
    engine.track_event(TENANT, "bought", subscriber_id="sam")
    engine.unsubscribe(TENANT, engine.executions(ada.id)[0].id)
    assert time.monotonic() - begun < 2
    assert engine.rows("select recipient from dripdrop.suppressions") == [("ada@example.com",)]
    assert engine.enrollment(sam.id).state == "active"

    clock.set(START + timedelta(days=3))
    engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "over"


@pytest.mark.parametrize("state", ["active", "paused"])
def test_rules_that_nobody_waited_for_are_asked_with_the_next_claim_of_hooks(
    engine: Engine, clock: Clock, state: str
) -> None:
    engine.author(email("tip", timing="in 3 days"), **MANY_RULES)
    sam = join_with_lists(engine, "sam")
    if state == "paused":
        engine.pause_enrollment(TENANT, sam.id)
    engine.track_event(TENANT, "bought", subscriber_id="sam")
    assert engine.enrollment(sam.id).state == state
    assert engine.claim_hooks() == []
    assert engine.enrollment(sam.id).exit_reason == "over"
    assert engine.last(sam.id).state == "cancelled"
    assert engine.rows("select from dripdrop.enrollments where ask_at is not null") == []


def test_rules_that_nobody_waited_for_are_asked_once(engine: Engine) -> None:
    engine.author(email("tip", timing="in 3 days"), **MANY_RULES)
    sam = join_with_lists(engine, "sam")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert engine.rows("select from dripdrop.enrollments where ask_at is not null")
    assert engine.claim_hooks() == []
    assert engine.enrollment(sam.id).state == "active"
    assert engine.rows("select from dripdrop.enrollments where ask_at is not null") == []


def test_no_event_waits_for_the_rules_of_many_enrolments(engine: Engine) -> None:
    rules = [*[SLOW] * 19, {"event": "bought", "name": "over"}]
    engine.author(email("tip", timing="in 3 days"), reentry="always", exit_when=rules)
    people = [join_with_lists(engine, "sam", entry_key=f"order{n}") for n in range(40)]
    begun = time.monotonic()
    engine.track_event(TENANT, "bought", subscriber_id="sam")
    assert time.monotonic() - begun < 2
    for _ in range(len(people)):
        engine.claim_hooks()
    assert {engine.enrollment(each.id).exit_reason for each in people} == {"over"}


def test_a_step_does_not_wait_for_rules_that_name_no_function(engine: Engine) -> None:
    engine.author(email("welcome"), **MANY_RULES)
    join_with_lists(engine, "sam")
    engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert [claim.recipient for claim in engine.claim()] == ["sam@example.com"]


def test_the_longest_list_that_is_let_in_is_looked_through(engine: Engine) -> None:
    engine.author(email("welcome", conditions=[{"predicate": "$.enrollment.x[*] == 999"}]))
    sam = engine.join(data={"email": "sam@example.com", "x": list(range(1000))})
    assert [claim.recipient for claim in engine.claim()] == ["sam@example.com"]
    assert engine.last(sam.id).state == "sending"
