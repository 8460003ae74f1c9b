"""Ending all that somebody is in."""

from __future__ import annotations

import pytest

from dripdrop.errors import InvalidArgument
from tests.engine import TENANT, Engine, onboarding


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered"])
def test_nothing_more_reaches_who_was_unenrolled(engine: Engine, state: str) -> None:
    engine.author()
    engine.apply(TENANT, onboarding(key="trial"))
    sam = engine.join("42")
    engine.enroll(TENANT, "trial", "User", "42", {"email": "42@example.com"})
    engine.bring_to(state, sam.id)
    ended = engine.unenroll_subscriber(TENANT, "User", 42, "left")
    assert [(e.state, e.exit_reason) for e in ended] == [("cancelled", "left")] * 2
    assert engine.deliver() == []
    assert engine.ledger() == []


def test_paused_enrolments_end_and_those_of_others_go_on(engine: Engine) -> None:
    engine.author()
    paused = engine.pause_enrollment(TENANT, engine.join("sam").id)
    eve = engine.join("eve")
    lead = engine.enroll(TENANT, "onboarding", "Lead", "sam", {"email": "sam@example.com"})
    assert [e.id for e in engine.unenroll_subscriber(TENANT, "User", "sam")] == [paused.id]
    for other in (eve, lead):
        assert engine.enrollment(other.id).state == "active"
    assert engine.unenroll_subscriber(TENANT, "User", "sam") == []


def test_somebody_is_named_and_a_reason_given(engine: Engine) -> None:
    for wrong in (("User", ""), ("", "42"), ("User", None), ("User", "42", "")):
        with engine.refused(InvalidArgument):
            engine.unenroll_subscriber(TENANT, *wrong)
