"""The sources: what stores in sql/, what decides in plpgsql/, and in which order they are read."""

from __future__ import annotations

import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "plpgsql/operations/schema.sql"

ROLES = (
    "dripdrop_admin",
    "dripdrop_app",
    "dripdrop_sender",
    "dripdrop_web",
    "dripdrop_reader",
    "dripdrop_hooks",
    "dripdrop_owner",
)

FOLDERS = (
    "base",
    "documents",
    "timing",
    "executions",
    "senders",
    "windows",
    "hooks",
    "capacity",
    "sequences",
    "flow",
    "enrollment",
    "events",
    "consent",
    "people",
    "authoring",
    "decision",
    "pipeline",
    "pauses",
    "simulation",
    "tenants",
    "operations",
)
"""The folders of plpgsql/ from the ground up: each calls only those before it."""

COMMENT = re.compile(r"^comment on .*?;\n", re.DOTALL | re.MULTILINE)


def version() -> str:
    """Return the version in pyproject.toml, the only place that holds it."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def without_comments(text: str) -> str:
    """Return SQL without its comments, so that a name in prose is no dependency."""
    return re.sub(r"--[^\n]*|^comment on .*?;$", "", text, flags=re.DOTALL | re.MULTILINE)


def ordered(folder: str, mention: str) -> list[Path]:
    """Return the files of a folder, each after those whose names it mentions.

    `mention` is a regular expression with one group, the name of the other file's object.
    Ties are alphabetical. Raises `graphlib.CycleError` if two files need each other.
    """
    files = {path.stem: path for path in sorted((ROOT / folder).glob("*.sql"))}
    graph = TopologicalSorter[str]()
    for name, path in files.items():
        mentioned = set(re.findall(mention, without_comments(path.read_text()))) - {name}
        graph.add(name, *sorted(mentioned & files.keys()))
    graph.prepare()
    order: list[Path] = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        order += [files[name] for name in ready]
        graph.done(*ready)
    return order


def tables_files() -> list[Path]:
    """Return the files of the `tables` change in order."""
    tables = ordered("sql/tables", r"\breferences\s+dripdrop\.(\w+)")
    return [ROOT / "sql/schema.sql", ROOT / "sql/settings.sql", *tables]


def code_files() -> list[Path]:
    """Return the files with the functions and views of the `code` change, in order."""
    functions = [
        path for folder in FOLDERS for path in sorted((ROOT / "plpgsql" / folder).glob("*.sql"))
    ]
    functions.remove(CATALOGUE)
    views = ordered("sql/views", r"\bdripdrop\.(\w+)")
    return [ROOT / "sql/settings.sql", ROOT / "sql/errors.sql", *functions, *views]


def joined(files: list[Path]) -> str:
    """Return the texts of the files, each under its path."""
    return "\n".join(
        f"-- {path.relative_to(ROOT).as_posix()}\n\n{path.read_text().strip()}\n" for path in files
    )


def tables_sql() -> str:
    """Return the body of the `tables` change; its comments are replaceable, and part of `code`."""
    return COMMENT.sub("", joined(tables_files())).replace("\n\n\n", "\n\n")


def types_sql() -> str:
    """Return the row types, each made where it is missing: nothing replaces a type."""
    text = joined([ROOT / "sql/types.sql"])
    return re.sub(
        r"^create type (\S+) as \(.*?^\);$",
        lambda found: (
            "do $$\nbegin\n"
            f"  if pg_catalog.to_regtype('{found[1]}') is null then\n"
            + "".join(f"    {line}\n" for line in found[0].splitlines())
            + "  end if;\nend\n$$;"
        ),
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


def comments_sql() -> str:
    """Return the comments on tables and their columns."""
    return "".join(
        comment
        for path in tables_files()
        for comment in COMMENT.findall(path.read_text())
        if not comment.startswith("comment on function")
    )


def defined(kind: str, files: list[Path]) -> list[str]:
    """Return the sorted names of the `kind` (table, view, function) that the files create."""
    pattern = rf"\bcreate (?:or replace )?(?:unlogged )?{kind} (?:if not exists )?dripdrop\.(\w+)"
    return sorted(
        {name for path in files for name in re.findall(pattern, without_comments(path.read_text()))}
    )
