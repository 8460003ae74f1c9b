"""The committed path is what scripts/build.py makes of the state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.path.source import copied

ROOT = Path(__file__).parents[2]


def check(root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/build.py", "--check"], cwd=root, capture_output=True, text=True
    )


def test_the_committed_files_are_current() -> None:
    result = check()
    assert result.returncode == 0, result.stderr


def test_a_source_that_has_changed_since_is_noticed(tmp_path: Path) -> None:
    root = copied(tmp_path)
    with (root / "sql/tables/topics.sql").open("a") as table:
        table.write("create index topics_name on dripdrop.topics (name);\n")
    result = check(root)
    assert result.returncode == 1
    assert "deploy/code.sql is not current" in result.stderr


@pytest.mark.parametrize(
    ("commands", "refusal"),
    [
        ([["add", "notes", "Notes"]], "before the next version has begun"),
        ([["next", "9.0.0"]], "release this version first"),
        ([["release"], ["release"]], "nothing has changed since the last release"),
        ([["release"], ["next", "9.0.0"], ["add", "code", "Again"]], '"code" is no new name'),
    ],
)
def test_the_plan_takes_its_steps_in_order(
    tmp_path: Path, commands: list[list[str]], refusal: str
) -> None:
    root = copied(tmp_path)
    *first, last = [
        subprocess.run(
            [sys.executable, "-m", "scripts.plan", *command],
            cwd=root,
            capture_output=True,
            text=True,
        )
        for command in commands
    ]
    assert [each.returncode for each in first] == [0] * len(first)
    assert last.returncode == 1
    assert refusal in last.stderr


def test_the_plan_names_every_deploy_script() -> None:
    changes = [
        line.split()[0]
        for line in (ROOT / "sqitch.plan").read_text().splitlines()
        if line and not line.startswith(("%", "#", "@"))
    ]
    for folder in ("deploy", "revert", "verify"):
        assert sorted(path.stem for path in (ROOT / folder).glob("*.sql")) == sorted(set(changes))
