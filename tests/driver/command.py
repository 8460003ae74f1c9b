"""The command `dripdrop`, run in this process as the shell would run it in one of its own."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from typing import NamedTuple

import pytest

from dripdrop.cli import main


class Result(NamedTuple):
    """How the command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def dripdrop(*arguments: str, given: str = "", **environment: str) -> Result:
    """Run the command with an environment of its own, wide enough that no table wraps."""
    stdout, stderr = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        for name in os.environ:
            if "DRIPDROP" in name or name == "DATABASE_URL":
                patch.delenv(name)
        for name, value in ({"COLUMNS": "250"} | environment).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["dripdrop", *arguments])
        patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(given.encode())))
        with pytest.raises(SystemExit) as end:
            main()
    status = end.value.code
    assert status is None or isinstance(status, int)
    return Result(status or 0, stdout.getvalue(), stderr.getvalue())
