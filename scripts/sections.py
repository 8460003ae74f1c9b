"""The path: which changes sqitch.plan names, by release, and where their scripts are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from scripts.sources import ROOT


@dataclass
class Section:
    """The changes between two tags of sqitch.plan: those of one release, or since the last."""

    tag: str | None = None
    changes: list[str] = field(default_factory=list)


def sections() -> list[Section]:
    """Return the sections of sqitch.plan in order; the last has no tag, and may be empty."""
    found = [Section()]
    for line in (ROOT / "sqitch.plan").read_text().splitlines():
        word = line.partition("#")[0].partition(" ")[0]
        if word.startswith("@"):
            found[-1].tag = word[1:]
            found.append(Section())
        elif word and not word.startswith("%"):
            found[-1].changes.append(word)
    return found


def is_released() -> bool:
    """Whether the tables are out: from then on they are changed by hand."""
    return len(sections()) > 1


def script_of(folder: str, change: str, section: int) -> Path:
    """Return the script of a change in a section of the plan: a kept copy if it was reworked."""
    later = sections()[section + 1 :]
    if any(change in each.changes for each in later):
        return ROOT / "history" / folder / f"{change}@{sections()[section].tag}.sql"
    return ROOT / folder / f"{change}.sql"
