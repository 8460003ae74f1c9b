"""The scripts of the extension: the texts of the path again, as `create extension` reads them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from scripts.changes import GENERATED, body, guard_sql
from scripts.replaceable import code_sql
from scripts.sections import script_of, sections
from scripts.sources import defined, tables_files, tables_sql, version

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


def extension_sql() -> str:
    """Return what `create extension` does."""
    return "\n".join(
        [guard_sql(), tables_sql(), code_sql(), dumped(defined("table", tables_files()))]
    )


def extension() -> dict[str, str]:
    """Return the extension's scripts: this version whole, and each release to the next and back.

    Those are the scripts of the plan, as they are written.
    """
    scripts = {f"dripdrop--{version()}.sql": extension_sql()}
    found = sections()
    for number, (old, new) in enumerate(pairwise(found), start=1):
        if new.changes and old.tag:
            names = old.tag.removeprefix("v"), (new.tag or f"v{version()}").removeprefix("v")
            ups = [script_of("deploy", change, number) for change in new.changes]
            downs = [script_of("revert", change, number) for change in reversed(new.changes)]
            made = dumped(defined("table", ups))
            scripts["dripdrop--{}--{}.sql".format(*names)] = "\n\n".join([*map(body, ups), made])
            scripts["dripdrop--{1}--{0}.sql".format(*names)] = "\n\n".join(map(body, downs))
    return {name: parsed_late(text) for name, text in scripts.items()}


def parsed_late(text: str) -> str:
    """Return a script of the extension, read under our settings.

    The server reads all of it before it does any of it, and the session may have other ones.
    """
    return f"""\
{GENERATED}
\\echo Use "create extension dripdrop" to load this file. \\quit

set local standard_conforming_strings = on;

do $extension$
begin
  execute $script$
{text.strip()}
$script$;
end
$extension$;
"""
