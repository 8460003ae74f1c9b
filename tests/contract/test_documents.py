"""Every function that takes jsonb refuses what nobody could read."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dripdrop.errors import InvalidArgument

Db = psycopg.Connection[Any]

SAMPLES = {
    "text": "'word'",
    "integer": "1",
    "boolean": "true",
    "uuid": "'00000000-0000-7000-8000-000000000000'",
    "interval": "'1 day'",
    "timestamp with time zone": "'2026-03-02'",
    "jsonb": "'{}'",
    "anycompatible": "'word'::text",
    "anyelement": "'word'::text",
}

REPORTS = {"claim_rendered", "complete_hooks", "complete_renders", "complete_sends"}
"""What a worker says of many people at once: what is wrong of one is nothing to the others."""

POISON = {
    "a number beyond a double": '{"a": [1, 1e400]}',
    "a negative number beyond a double": '{"a": [1, -1e400]}',
    "a number of very many digits": '{"a": 1e100000}',
    "very many long numbers": '{"a": [' + ",".join(["1e131071"] * 900) + "]}",
    "depth": '{"a": ' * 60 + "1" + "}" * 60,
    "the depth of a tower": "[" * 3000 + "]" * 3000,
    "bytes": '{"a": "' + "x" * 5_000_000 + '"}',
    "a list without an end": '{"a": [' + "0," * 20_000 + "0]}",
}


def documents(db: Db) -> list[tuple[str, str, dict[str, str]]]:
    """Return the public functions' jsonb parameters, each with what to pass beside it."""
    rows = db.execute(
        """
        select p.proname, a.name, format_type(a.type, null) as type, a.place > p.pronargs
            - p.pronargdefaults as optional
        from pg_proc as p
        cross join unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[])
            with ordinality as a (name, type, place)
        where p.pronamespace = 'dripdrop'::regnamespace and not starts_with(p.proname, '_')
        order by p.proname, a.place
        """
    ).fetchall()
    found = []
    for row in rows:
        if row.type == "jsonb" and row.proname not in REPORTS:
            beside = {
                each.name: SAMPLES[each.type]
                for each in rows
                if each.proname == row.proname and not each.optional and each.name != row.name
            }
            found.append((row.proname, row.name, beside))
    return found


def call(db: Db, function: str, parameter: str, beside: dict[str, str], document: str) -> None:
    """Call a function with a document."""
    db.execute(
        sql.SQL("select * from dripdrop.{}({})").format(
            sql.Identifier(function),
            sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(name), sql.SQL(value))
                for name, value in [*beside.items(), (parameter, "%s::jsonb")]
            ),
        ),
        [document],
    )


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(name, marks=pytest.mark.slow if len(document) > 10_000 else ())
        for name, document in POISON.items()
    ],
)
def test_every_function_refuses_a_document_that_nobody_could_read(db: Db, poison: str) -> None:
    found = documents(db)
    assert len(found) > 30
    for function, parameter, beside in found:
        for document in (POISON[poison], f"[{POISON[poison]}]"):
            with pytest.raises(InvalidArgument) as refusal:
                call(db, function, parameter, beside, document)
            assert refusal.value.diag.message_hint, (function, parameter)
            assert len(str(refusal.value)) < 1000


def test_the_path_of_the_bad_value_is_named(db: Db) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        db.execute(
            "select dripdrop.enroll('acme', 'x', 'User', '1', %s)",
            ['{"email": "sam@example.com", "orders": [{"total": 1}, {"total": 1e400}]}'],
        )
    assert refusal.value.diag.column_name == "data.orders[1].total"
    assert refusal.value.diag.message_detail == "Element 1 of the subscribers."


@pytest.mark.parametrize(
    "document",
    [
        '{"a": 1.7976931348623157e308, "b": -1.7976931348623157e308, "c": 1e-400}',
        '{"a": ' * 49 + '{"b": 1}' + "}" * 49,
        '{"a": "' + "1" * 60_000 + '"}',
        '{"a": [' + "0," * 999 + "0]}",
        "null",
        "{}",
    ],
)
def test_what_is_large_but_readable_is_let_in(db: Db, document: str) -> None:
    db.execute("select dripdrop._check_json(%s::jsonb, 'data')", [document])


def test_each_field_of_each_element_of_a_list_counts_by_itself(db: Db) -> None:
    element = '{"data": {"a": "' + "x" * 60_000 + '"}, "metadata": {"a": "' + "x" * 60_000 + '"}}'
    db.execute("select dripdrop._check_json_list(%s::jsonb, 'list')", [f"[{element}, {element}]"])


def test_a_number_in_a_long_name_is_named_in_short(db: Db) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        db.execute("select dripdrop._check_json(%s::jsonb, 'data')", [f'{{"{"k" * 5000}": 1e400}}'])
    assert re.fullmatch(r"data\.k{100}", refusal.value.diag.column_name or "")
