"""Write sqitch.plan: a change by hand, the end of a version, the beginning of the next.

    python -m scripts.plan add NAME NOTE   three scripts to fill in, before the last `code`
    python -m scripts.plan release         the tag of this version: what is deployed is what it was
    python -m scripts.plan next VERSION    `code` is kept in history/, and begins again

sqitch itself does the same with `add`, `tag` and `rework`, but knows neither the head that every
script has, nor pyproject.toml.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from datetime import UTC, datetime

from scripts.changes import script
from scripts.sections import is_released, sections
from scripts.sources import ROOT, version

PLAN = ROOT / "sqitch.plan"
PLANNER = "The DripDrop authors <authors@dripdrop.invalid>"


def entry(name: str, note: str) -> str:
    """Return a line of the plan."""
    return f"{name} {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {PLANNER} # {note}\n"


def add(name: str, note: str) -> None:
    """Put a change before the last one, which is `code`."""
    if not is_released() or sections()[-1].changes[-1:] != ["code"]:
        sys.exit("nothing is written by hand before the next version has begun")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or any(
        name in each.changes for each in sections()
    ):
        sys.exit(f'"{name}" is no new name: lower-case letters, digits and underscores')
    *lines, code = PLAN.read_text().splitlines(keepends=True)
    PLAN.write_text("".join([*lines, entry(name, note), code]))
    for folder, todo in (
        ("deploy", "-- alter table dripdrop. …"),
        ("revert", "-- alter table dripdrop. …"),
        ("verify", "-- select from dripdrop. … where false;"),
    ):
        path = ROOT / folder / f"{name}.sql"
        path.write_text(script(folder.title(), name, todo, origin=f"-- {note}\n"))
        print(path.relative_to(ROOT))


def release() -> None:
    """Tag the last change of the plan with the version."""
    if not sections()[-1].changes:
        sys.exit("nothing has changed since the last release")
    with PLAN.open("a") as plan:
        plan.write(entry(f"@v{version()}", f"DripDrop {version()}"))


def next_version(new: str) -> None:
    """Keep `code` as it was released, and plan it again under a new version."""
    *_, released, last = [None, *sections()]
    if released is None or last is None or last.changes:
        sys.exit("release this version first")
    for folder in ("deploy", "revert", "verify"):
        kept = ROOT / "history" / folder / f"code@{released.tag}.sql"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / folder / "code.sql", kept)
    with PLAN.open("a") as plan:
        plan.write(
            entry(f"code [code@{released.tag}]", "Functions, triggers, views and grants, reworked")
        )
    path = ROOT / "pyproject.toml"
    text = path.read_text()
    path.write_text(re.sub(r'^version = ".*"$', f'version = "{new}"', text, flags=re.MULTILINE))


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("add", help="plan a change that is written by hand")
    command.add_argument("name")
    command.add_argument("note")
    commands.add_parser("release", help="tag this version")
    command = commands.add_parser("next", help="begin the next version")
    command.add_argument("version")
    arguments = parser.parse_args()
    if arguments.command == "add":
        add(arguments.name, arguments.note)
    elif arguments.command == "release":
        release()
    else:
        next_version(arguments.version)


if __name__ == "__main__":
    main()
