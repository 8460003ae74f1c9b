"""A copy of the source, and the next version that is made out of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.sources import version

ROOT = Path(__file__).parents[2]

PARTS = (
    "deploy", "driver", "history", "plpgsql", "revert", "scripts", "sql", "verify",
    ".squawk.toml",
    "dripdrop.control", "Makefile", "pyproject.toml", "sqitch.conf", "sqitch.plan",
)  # fmt: skip

OLD = version()
NEW = "{}.{}.0".format(*(int(part) + (place == 1) for place, part in enumerate(OLD.split(".")[:2])))


def copied(folder: Path) -> Path:
    """Copy the source to a folder that is not there yet."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=skipped)
        else:
            shutil.copy(source, folder / part)
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Run Python in a copy of the source, with its driver."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | environment(folder),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def environment(folder: Path) -> dict[str, str]:
    """Return what makes Python find the driver of a copy of the source."""
    return {"PYTHONPATH": str(folder / "driver")}


def replace(path: Path, pattern: str, by: str) -> None:
    """Replace what there is exactly one of."""
    text, count = re.subn(pattern, by, path.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{pattern!r} is {count} times in {path}"
    path.write_text(text)


def next_version(folder: Path) -> Path:
    """Make a next version: a column, a row type, a function less, and whatever `code` makes of it.

    The column is written by hand, as its way back is; the function is one that every claim calls.
    """
    copied(folder)
    run(folder, "-m", "scripts.plan", "release")
    run(folder, "-m", "scripts.plan", "next", NEW)
    run(folder, "-m", "scripts.plan", "add", "enrollment_notes", "What people say of an enrolment")
    for script, statement in (
        ("deploy", "alter table dripdrop.enrollments add column note text;"),
        ("revert", "alter table dripdrop.enrollments drop column note;"),
        ("verify", "select note from dripdrop.enrollments where false;"),
    ):
        replace(folder / script / "enrollment_notes.sql", r"^-- .*….*$", statement)
    table = folder / "sql/tables/enrollments.sql"
    text, _, rest = table.read_text().partition("\n  constraint ")
    comment = "comment on column dripdrop.enrollments.note is 'What people say of it.';\n"
    table.write_text(f"{text}\n  note text,\n  constraint {rest}{comment}")
    replace(
        folder / "sql/types.sql",
        r"^(create type dripdrop\._send_result as \((?:\n .*)*)\n\);",
        r"\1,\n  note text\n);",
    )
    for path in folder.glob("plpgsql/*/*.sql"):
        path.write_text(path.read_text().replace("_check_batch_size", "_check_size_of_batch"))
    metadata = folder / f"driver/dripdrop_postgres-{NEW}.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: dripdrop-postgres\nVersion: {NEW}\n")
    run(folder, "scripts/build.py", "--extension")
    run(folder, "-m", "scripts.squawk")
    return folder
