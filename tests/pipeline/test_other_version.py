"""A daemon of another version than the schema's gets nothing, and records what it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.errors import OtherVersion
from tests.engine import Engine

CLAIMS: dict[str, Callable[[Engine], Any]] = {
    "tick": lambda engine: engine.tick(),
    "claim_hooks": lambda engine: engine.claim_hooks(),
    "claim_renders": lambda engine: engine.claim_renders(),
    "claim_sends": lambda engine: engine.claim_sends("email"),
}


def says(engine: Engine, version: str) -> None:
    """Let the connection be a daemon's of a version."""
    engine.connection.execute("select set_config('dripdrop.driver_version', %s, false)", [version])


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_another_version_is_refused_with_both_named(
    engine: Engine, claim: Callable[[Engine], Any]
) -> None:
    says(engine, "0.0.1")
    with pytest.raises(OtherVersion, match=rf'"{engine.version()}", the daemon of "0\.0\.1"'):
        claim(engine)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_the_same_version_and_none_are_served(
    engine: Engine, claim: Callable[[Engine], Any]
) -> None:
    for version in (engine.version(), ""):
        says(engine, version)
        claim(engine)


def test_what_another_version_holds_is_recorded(engine: Engine) -> None:
    engine.author()
    sam = engine.join("sam").id
    claimed = engine.claim()
    says(engine, "0.0.1")
    engine.record(claimed)
    assert engine.executions(sam)[0].state == "sent"
