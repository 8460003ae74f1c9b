"""Build the path (deploy/, revert/, verify/, dist/) from the state (sql/, plpgsql/).

Two sqitch changes are generated: `tables`, what stores, until the first release, and `code`,
everything replaceable. Changes between them are written by hand; sqitch.plan says in which order
they come. The extension's scripts are the same texts again.

Standard library only, so that a checkout builds anywhere; but what check_schema() expects is asked
of an embedded server (scripts/expected.py) when the sources have changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file, as a checkout without our environment does
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.changes import (
    revert_code,
    revert_tables_sql,
    script,
    verify_code_sql,
    verify_tables_sql,
)
from scripts.extension import extension
from scripts.replaceable import built_expectations, code_sql
from scripts.sections import is_released
from scripts.sources import ROOT, tables_sql, version


def path() -> dict[str, str]:
    """Return the committed generated files: path in the checkout → text."""
    files = {
        "deploy/code.sql": script("Deploy", "code", code_sql()),
        "revert/tables.sql": script("Revert", "tables", revert_tables_sql()),
        "revert/code.sql": revert_code(),
        "verify/code.sql": script("Verify", "code", verify_code_sql()),
        "dripdrop.control": (
            "comment = 'messaging sequences that live in Postgres'\n"
            f"default_version = '{version()}'\n"
            "relocatable = false\n"
        ),
    }
    if not is_released():
        files["deploy/tables.sql"] = script("Deploy", "tables", tables_sql())
        files["verify/tables.sql"] = script("Verify", "tables", verify_tables_sql())
    return files


def not_current() -> list[str]:
    """Return the committed files that are not what the sources make of them."""
    if built_expectations() is None:
        return ["deploy/code.sql"]
    return [
        name
        for name, text in path().items()
        if not (ROOT / name).exists() or (ROOT / name).read_text() != text
    ]


def write(files: dict[str, str]) -> None:
    """Write files of the checkout: those that change, for somebody may be reading the others."""
    for name, text in files.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def main() -> int:
    """Write the generated files, or with `--check` fail if they are not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    parser.add_argument("--extension", action="store_true", help="write dist/extension/ too")
    arguments = parser.parse_args()

    if arguments.check:
        stale = not_current()
        for name in stale:
            print(f"{name} is not current: run make build", file=sys.stderr)
        return 1 if stale else 0

    write(path())
    if arguments.extension:
        write({f"dist/extension/{name}": text for name, text in extension().items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
