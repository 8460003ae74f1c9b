"""No path takes longer than its data is long: nothing can end one that runs."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
import pytest

from dripdrop.errors import InvalidArgument, InvalidCondition
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


def test_the_longest_list_that_is_let_in_is_looked_through(engine: Engine) -> None:
    engine.author(email("welcome", conditions=[{"predicate": "$.enrollment.x[*] == 999"}]))
    sam = engine.join(data={"email": "sam@example.com", "x": list(range(1000))})
    assert [claim.recipient for claim in engine.claim()] == ["sam@example.com"]
    assert engine.last(sam.id).state == "sending"
