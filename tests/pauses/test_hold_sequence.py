"""Switching a sequence off for an hour, and losing nobody."""

from __future__ import annotations

import pytest

from dripdrop.errors import SequenceNotFound
from tests.conftest import Clock
from tests.engine import TENANT, Engine, onboarding


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered"])
def test_who_comes_due_meanwhile_is_written_to_afterwards(
    engine: Engine, clock: Clock, state: str
) -> None:
    engine.author()
    sam = engine.join("sam")
    engine.bring_to(state, sam.id)
    assert engine.hold_sequence(TENANT, "onboarding", "a wrong price").reason == "a wrong price"
    engine.join("eve")
    clock.advance(hours=1)
    assert engine.deliver() == []
    assert engine.resume_sequence(TENANT, "onboarding").subject == "onboarding"
    assert len(engine.deliver()) == 2
    assert engine.ledger() == []


def test_another_sequence_goes_on(engine: Engine) -> None:
    engine.author()
    engine.apply(TENANT, onboarding(key="trial"))
    engine.join("sam")
    engine.enroll(TENANT, "trial", "User", "eve", {"email": "eve@example.com"})
    engine.hold_sequence(TENANT, "onboarding")
    assert [claim.recipient for claim in engine.deliver()] == ["eve@example.com"]


def test_what_is_not_held_or_not_there_is_said(engine: Engine) -> None:
    engine.author()
    assert engine.resume_sequence(TENANT, "onboarding") is None
    with engine.refused(SequenceNotFound):
        engine.hold_sequence(TENANT, "onbording")
