"""An operator's word on a message whose fate is unknown."""

from __future__ import annotations

from uuid import uuid4

import pytest

from dripdrop.errors import ExecutionNotFound, InvalidArgument, InvalidTransition
from tests.engine import TENANT, Engine


def test_sent_goes_on_to_the_next_step(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    unknown = engine.bring_to("unknown", sam.id)
    resolved = engine.resolve(TENANT, unknown.id, "sent")
    assert (resolved.state, resolved.reason) == ("sent", "resolved_by_operator")
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]
    assert engine.ledger() == []


def test_resend_sends_the_same_words_under_the_same_key(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    unknown = engine.bring_to("unknown", sam.id)
    assert engine.resolve(TENANT, unknown.id, "resend").state == "scheduled"
    engine.tick()
    (claim,) = engine.claim_sends("email")
    assert claim.idempotency_key == unknown.idempotency_key
    assert claim.payload == unknown.payload


def test_failed_ends_the_enrolment_and_can_be_replayed(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    unknown = engine.bring_to("unknown", sam.id)
    assert engine.resolve(TENANT, unknown.id, "failed").state == "failed"
    assert engine.enrollment(sam.id).exit_reason == "step_failed"
    assert engine.replay(TENANT, unknown.id).state == "scheduled"


def test_a_resend_of_a_paused_enrolment_waits_for_the_resume(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    unknown = engine.bring_to("unknown", sam.id)
    engine.pause_enrollment(TENANT, sam.id)
    assert engine.resolve(TENANT, unknown.id, "resend").due_at is None
    assert engine.deliver() == []
    assert engine.ledger() == []
    engine.resume_enrollment(TENANT, sam.id)
    assert len(engine.deliver()) == 1


@pytest.mark.parametrize("outcome", ["lost", "", None])
def test_the_outcome_is_one_of_three(engine: Engine, outcome: str) -> None:
    engine.author()
    sam = engine.join()
    unknown = engine.bring_to("unknown", sam.id)
    with engine.refused(InvalidArgument):
        engine.resolve(TENANT, unknown.id, outcome)


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered", "sending", "sent", "failed"])
def test_only_what_is_unknown_is_resolved(engine: Engine, state: str) -> None:
    engine.author()
    sam = engine.join()
    execution = engine.bring_to(state, sam.id)
    with engine.refused(InvalidTransition):
        engine.resolve(TENANT, execution.id, "sent")


def test_an_unknown_execution_is_not_found(engine: Engine) -> None:
    with engine.refused(ExecutionNotFound):
        engine.resolve(TENANT, uuid4(), "sent")
