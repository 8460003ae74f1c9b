"""The list of errors, and what the code raises, are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

ROOT = Path(__file__).parents[2]

Db = psycopg.Connection[Any]


class Raise(NamedTuple):
    """One raise statement."""

    function: str
    message: str
    options: str


def raises(db: Db) -> Iterator[Raise]:
    """Yield every raise that says something: a bare one, or a condition, only passes through."""
    rows = db.execute("""
        select p.proname, p.prosrc
        from pg_proc as p
        join pg_language as l on l.oid = p.prolang and l.lanname = 'plpgsql'
        where p.pronamespace = 'dripdrop'::regnamespace
    """)
    statement = re.compile(r"raise exception\s+'((?:[^']|'')*)'(.*?);\n", re.DOTALL)
    for row in rows:
        for found in statement.finditer(row.prosrc):
            yield Raise(row.proname, *found.groups())


def test_every_raise_has_a_code_and_a_hint(db: Db) -> None:
    found = list(raises(db))
    assert len(found) > 50
    assert [r for r in found if "errcode = " not in r.options or "hint = " not in r.options] == []


def test_no_raise_escapes_the_search(db: Db) -> None:
    row = db.execute("""
        select sum(regexp_count(prosrc, 'raise exception'))::int as all
        from pg_proc
        where pronamespace = 'dripdrop'::regnamespace
    """).fetchone()
    assert row is not None
    assert len(list(raises(db))) == row.all


def test_every_raise_has_a_code_of_the_list_and_every_code_is_raised(db: Db) -> None:
    listed = {row.sqlstate for row in db.execute("select sqlstate from dripdrop.errors()")}
    sources = db.execute("""
        select string_agg(prosrc, '') as text
        from pg_proc
        where pronamespace = 'dripdrop'::regnamespace and proname <> 'errors'
    """).fetchone()
    assert sources is not None
    text = sources.text + (ROOT / "plpgsql/reshaped.sql").read_text()
    assert set(re.findall(r"'(ZD\d{3})'", text)) == listed


def test_every_other_code_is_passed_on_from_a_list(db: Db) -> None:
    """A code that is no literal comes from a fault or an error that was caught."""
    literal = re.compile(r"errcode = '(ZD\d{3}|09000|40001)'")
    computed = {r.function for r in raises(db) if not literal.search(r.options)}
    assert computed == {"_canonical_definition", "_check_document"}


def test_messages_are_lower_case_without_a_full_stop(db: Db) -> None:
    assert [
        r.message for r in raises(db) if r.message[0].isupper() or r.message.endswith(".")
    ] == []
