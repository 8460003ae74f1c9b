"""squawk looks at every change that is written by hand, and finds what would block."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.changes import script
from scripts.sections import sections
from scripts.squawk import by_hand, squawk


def test_every_change_but_the_generated_ones_is_looked_at() -> None:
    changes = {change for section in sections() for change in section.changes}
    assert {path.stem for path in by_hand()} == changes - {"tables", "code"}
    assert squawk(by_hand()) == 0


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("alter table dripdrop.events add column note text;", 0),
        ("alter table dripdrop.events alter column data set not null;", 1),
        ("create index events_data on dripdrop.events (data);", 1),
        ("alter table dripdrop.events add constraint known check (data is not null);", 1),
    ],
)
def test_what_blocks_is_found(tmp_path: Path, statement: str, found: int) -> None:
    path = tmp_path / "notes.sql"
    path.write_text(script("Deploy", "notes", statement, origin="-- Notes\n"))
    assert squawk([path]) == found
