"""Messages that go only to recipients who have been verified."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import InvalidArgument
from tests.engine import TENANT, Engine, email

VERIFIED_ONLY = {"require_verified_recipient": True}


def reason(engine: Engine, **data: Any) -> str:
    """Return what becomes of someone's only message."""
    sam = engine.join(data={"email": "sam@example.com"} | data)
    engine.deliver()
    return str(engine.executions(sam.id)[0].reason)


@pytest.mark.parametrize("verified", ["2026-01-01T00:00:00Z", True, 1])
def test_a_verified_recipient_gets_the_message(engine: Engine, verified: Any) -> None:
    engine.author(email("a", config=VERIFIED_ONLY))
    assert reason(engine, recipient_verified_at=verified) == "sent"


@pytest.mark.parametrize("data", [{}, *({"recipient_verified_at": v} for v in (None, False, ""))])
def test_an_unverified_recipient_is_skipped(engine: Engine, data: dict[str, Any]) -> None:
    engine.author(email("a", config=VERIFIED_ONLY))
    assert reason(engine, **data) == "unverified_recipient"


@pytest.mark.parametrize("config", [{}, {"require_verified_recipient": False}])
def test_nobody_need_be_verified_where_the_step_does_not_say_so(
    engine: Engine, config: dict[str, Any]
) -> None:
    engine.author(email("a", config=config))
    assert reason(engine) == "sent"


def test_explain_names_the_gate(engine: Engine) -> None:
    engine.author(email("a", config=VERIFIED_ONLY))
    sam = engine.join()
    assert [(g.gate, g.reason) for g in engine.explain(TENANT, sam.id) if not g.open] == [
        ("verification", "unverified_recipient")
    ]


def test_a_simulation_skips_the_unverified(engine: Engine) -> None:
    engine.author(email("a", config=VERIFIED_ONLY), email("b"))
    rows = engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(r.step_key, r.action) for r in rows if r.step_key] == [("a", "skip"), ("b", "send")]


@pytest.mark.parametrize("value", ["true", 1, "yes", None])
def test_the_setting_is_true_or_false(engine: Engine, value: Any) -> None:
    config = {"require_verified_recipient": value}
    with engine.refused(InvalidArgument):
        engine.apply(TENANT, {"key": "x", "name": "X", "steps": [email("a", config=config)]})
