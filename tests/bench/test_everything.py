"""Every benchmark is part of the one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from dripdrop.bench import everything
from dripdrop.cli.bench import app


def test_every_command_has_its_part() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    parts = {name.partition("_")[0] for name in everything.BENCHMARKS}
    assert set(group.commands) - {"all"} == parts


@pytest.mark.slow
def test_it_prints_one_object(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        everything,
        "BENCHMARKS",
        {"one": lambda _: {"measured": 1}, "other": lambda _: {"measured": 2}},
    )
    result = bench("all")
    assert (result["one"], result["other"]) == ({"measured": 1}, {"measured": 2})
    assert result["versions"].keys() >= {"dripdrop-postgres", "python-liquid"}
