"""What holds for the text of `sql/` and `plpgsql/`, whoever wrote it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from scripts.sources import ROOT, without_comments

SOURCES = sorted([*ROOT.glob("sql/**/*.sql"), *ROOT.glob("plpgsql/**/*.sql")])


def places(path: Path) -> str:
    """Return a path as people name it."""
    return path.relative_to(ROOT).as_posix()


def test_a_private_name_means_one_thing() -> None:
    """Public functions have overloads: one real implementation and its short forms."""
    defined = Counter(
        name
        for path in SOURCES
        for name in re.findall(
            r"^create (?:or replace )?function dripdrop\.(_\w+)", path.read_text(), re.MULTILINE
        )
    )
    assert len(defined) > 300
    assert [name for name, times in defined.items() if times > 1] == []


def test_every_private_function_is_used() -> None:
    texts = [without_comments(path.read_text()) for path in SOURCES]
    used = Counter(name for text in texts for name in re.findall(r"(?:dripdrop\.|')(_\w+)\b", text))
    defined = {
        name for text in texts for name in re.findall(r"\bfunction dripdrop\.(_\w+)\(", text)
    }
    assert [name for name in sorted(defined) if used[name] < 2] == []


def test_no_line_is_longer_than_a_hundred_columns() -> None:
    assert [
        f"{places(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ] == []


LISTS = {"_planner_settings", "_smtp_reply_codes"}
"""Functions that are a list of data, and read like one."""


def test_no_body_is_longer_than_a_hundred_lines() -> None:
    body = re.compile(
        r"^create or replace function dripdrop\.(\w+)\((?:(?!^create ).)*?"
        r"(?:^as \$\$\n(.*?)^\$\$;|^begin atomic\n(.*?)^end;)",
        re.MULTILINE | re.DOTALL,
    )
    lengths = {
        name: max(quoted.count("\n"), parsed.count("\n"))
        for path in SOURCES
        for name, quoted, parsed in body.findall(path.read_text())
    }
    assert len(lengths) > 400
    assert {name for name, lines in lengths.items() if lines > 100} == LISTS
