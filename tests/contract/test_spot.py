"""pgspot looks at every function of every script, and finds nothing that is not accepted."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scripts import spot

CODE = (Path(__file__).parents[2] / "deploy/code.sql").read_text()
HEAD = "set local search_path = pg_catalog, pg_temp;\n"


@cache
def looked_at() -> dict[str, spot.Findings]:
    """Return what is found in each script."""
    return {name: spot.spot(text)[0] for name, text in spot.scripts()}


def found(text: str) -> list[str]:
    """Return what is found in a script."""
    return spot.spot(text)[0].found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in spot.scripts()])
def test_nothing_is_found(name: str) -> None:
    assert looked_at()[name].found == []


@pytest.mark.slow
def test_every_function_of_the_schema_is_looked_at(db: psycopg.Connection[Any]) -> None:
    rows = db.execute("""
        select distinct p.pronamespace::regnamespace || '.' || p.proname as name
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
    """)
    seen = set[str]().union(*(findings.functions for findings in looked_at().values()))
    # What was expected before is there only while it is replaced.
    assert seen - {"dripdrop._expected_before"} == {row.name for row in rows}


BODIES = {
    "text": "language sql as $$ select {} $$",
    "return": "language sql return {}",
    "atomic": "language sql begin atomic select {}; end",
    "plpgsql": "language plpgsql as $$ begin return {}; end $$",
    "elsif": "language plpgsql as $$ begin if true then elsif {} > 0 then end if; end $$",
    "elsif's body": "language plpgsql as $$ begin if true then elsif true then perform {}; end if; "
    "end $$",
    "execute": "language plpgsql as $$ begin execute 'select {}'; end $$",
    "return next": "language plpgsql as $$ begin return next {}; end $$",
    "return query": "language plpgsql as $$ begin return query select {}; end $$",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_call_without_a_schema_is_found_in_every_kind_of_body(body: str) -> None:
    unpinned = body.format("length(current_user)")
    text = f"create function dripdrop.f() returns setof int {unpinned};"
    assert any("PS016" in finding and "length" in finding for finding in found(text))


@pytest.mark.slow
def test_a_script_without_the_path_is_found() -> None:
    assert len(found(CODE.replace(HEAD, ""))) > 100


@pytest.mark.slow
def test_a_security_definer_without_a_path_is_found() -> None:
    pinned = "security definer\nset search_path = pg_catalog, pg_temp\n"
    assert CODE.count(pinned) > 50
    unpinned = CODE.replace(pinned, "security definer\n", 1)
    assert any("PS003" in finding for finding in found(unpinned))


def test_a_function_of_another_schema_is_not_accepted() -> None:
    text = HEAD + "create or replace function public.f() returns int language sql return 1;"
    assert [finding.split()[0] for finding in found(text)] == ["PS002"]


def test_what_cannot_be_read_is_a_finding() -> None:
    text = HEAD + "create function dripdrop.f() returns int language plpgsql as $$ x $$;"
    assert any("ParseError" in finding for finding in found(text))
