"""Look with squawk at the changes of sqitch.plan that are written by hand: what they would block.

Their reverts take away what they have brought, so they are not looked at.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.sections import sections
from scripts.sources import ROOT

GENERATED = {"tables", "code"}


def by_hand() -> list[Path]:
    """Return the deploy scripts that are written by hand."""
    changes = [change for section in sections() for change in section.changes]
    return [ROOT / "deploy" / f"{change}.sql" for change in changes if change not in GENERATED]


def squawk(scripts: list[Path]) -> int:
    """Print what there is to say about scripts; return 1 if there is anything."""
    program = Path(sys.executable).with_name("squawk")
    arguments = [str(each) for each in (program, "--config", ROOT / ".squawk.toml", *scripts)]
    return subprocess.run(arguments).returncode if scripts else 0


if __name__ == "__main__":
    sys.exit(squawk(by_hand()))
