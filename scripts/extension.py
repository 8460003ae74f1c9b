"""The scripts of the extension: the texts of the path again, as `create extension` reads them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from scripts.changes import GENERATED, body, guard_sql
from scripts.replaceable import code_sql
from scripts.sections import script_of, sections
from scripts.sources import ROOT, defined, tables_files, tables_sql, version

OWN = {
    "channels": "where not shipped",
    "fields": "where since is null",
    "providers": "where not shipped",
}
"""Of tables that the script itself fills, the rows that it does not make."""


def dumped(tables: Iterable[str]) -> str:
    """Return what makes pg_dump keep the rows of tables that are members of the extension."""
    return "".join(
        f"select pg_catalog.pg_extension_config_dump('dripdrop.{name}', '{OWN.get(name, '')}');\n"
        for name in tables
    )


def stored(files: list[Path]) -> list[str]:
    """Return the names of the tables and sequences that files make."""
    return [*defined("table", files), *defined("sequence", files)]


def extension_sql() -> str:
    """Return what `create extension` does."""
    return "\n".join([guard_sql(), tables_sql(), code_sql(), dumped(stored(tables_files()))])


def extension() -> dict[str, str]:
    """Return the extension's scripts: this version whole, each release to the next and back, and
    this version to itself, which does nothing but `code` again.

    But for the first, those are the scripts of the plan, as they are written. An extension is never
    updated to the version that it has: so there is one more, without a difference.
    """
    this = version()
    scripts = {
        f"dripdrop--{this}.sql": extension_sql(),
        f"dripdrop--{this}--{this}-repaired.sql": body(ROOT / "deploy/code.sql"),
        f"dripdrop--{this}-repaired--{this}.sql": "select;",
    }
    found = sections()
    for number, (old, new) in enumerate(pairwise(found), start=1):
        if new.changes and old.tag:
            names = old.tag.removeprefix("v"), (new.tag or f"v{version()}").removeprefix("v")
            ups = [script_of("deploy", change, number) for change in new.changes]
            downs = [script_of("revert", change, number) for change in reversed(new.changes)]
            made = dumped(stored(ups))
            scripts["dripdrop--{}--{}.sql".format(*names)] = "\n\n".join([*map(body, ups), made])
            scripts["dripdrop--{1}--{0}.sql".format(*names)] = "\n\n".join(map(body, downs))
    return {name: parsed_late(text) for name, text in scripts.items()}


def parsed_late(text: str) -> str:
    """Return a script of the extension, read under our settings.

    The server reads all of it before it does any of it, and the session may have other ones. What
    is refused is raised once more, for the server shows the whole statement that was refused.
    """
    return f"""\
{GENERATED}
\\echo Use "create extension dripdrop" to load this file. \\quit

set local standard_conforming_strings = on;

select pg_catalog.set_config('dripdrop.script', $script$
{text.strip()}
$script$, true);

do $$
declare m text; d text; h text;
begin
  execute pg_catalog.current_setting('dripdrop.script');
exception when others or query_canceled or assert_failure then
  get stacked diagnostics m = message_text, d = pg_exception_detail, h = pg_exception_hint;
  raise exception using errcode = sqlstate, message = m, detail = d, hint = h;
end $$;
"""
