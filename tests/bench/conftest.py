"""Benchmarks are called as people call them, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from dripdrop.cli.bench import app


@pytest.fixture
def bench(server_dsn: str) -> Callable[..., dict[str, Any]]:
    """What calls a benchmark on the test server, and returns the object that it prints."""

    def call(name: str, **options: object) -> dict[str, Any]:
        arguments = [name, "--json"]
        if name != "send":
            arguments += ["--dsn", server_dsn]
        for option, value in options.items():
            arguments += [f"--{option}"] if value is True else [f"--{option}", str(value)]
        ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        result: dict[str, Any] = json.loads(ran.stdout)
        assert result["machine"]["cpus"] > 0
        assert name == "send" or result["settings"]["fsync"] in ("on", "off")
        return result

    return call
