"""The command `dripdrop`, run as a process."""

from __future__ import annotations

import os
import subprocess
import sys


def dripdrop(
    *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with an environment of its own, wide enough that no table wraps."""
    kept = {name: value for name, value in os.environ.items() if "DRIPDROP" not in name}
    kept.pop("DATABASE_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "dripdrop", *arguments],
        input=given,
        env={**kept, "COLUMNS": "250", **environment},
        capture_output=True,
        text=True,
    )
