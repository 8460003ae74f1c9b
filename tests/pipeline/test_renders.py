"""claim_renders() and complete_renders(): words for what was queued."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from dripdrop.errors import InvalidArgument, NotStarted
from tests.conftest import Clock
from tests.protocol import (
    EMAIL,
    PAYLOAD,
    add_sequence,
    as_json,
    claim,
    enroll,
    enrollment_row,
    execution,
    ledger,
    queue,
    render,
    step,
    tick,
)

Db = psycopg.Connection[Any]


def claims(db: Db, batch_size: int = 500, visibility: timedelta = timedelta(minutes=1)) -> Any:
    return db.execute(
        "select * from dripdrop.claim_renders(%s, %s)", [batch_size, visibility]
    ).fetchall()


def complete(db: Db, claim: Any, **result: Any) -> int:
    result = {
        "execution": claim.execution_id,
        "fence": claim.fence,
        "message": claim.message_id,
        **result,
    }
    row = db.execute("select dripdrop.complete_renders(%s)", [as_json([result])]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_claim_brings_the_template_and_its_variables(db: Db, journey: None, clock: Clock) -> None:
    enrollment = enroll(db)
    tick(db)
    (claimed,) = claims(db)
    assert (claimed.channel, claimed.template) == ("email", EMAIL)
    assert claimed.variables == {
        "email": "1@example.com",
        "subscriber": {"email": "1@example.com", "type": "User", "id": "1"},
        "subscriber_type": "User",
        "subscriber_id": "1",
        "enrollment_id": str(enrollment),
        "tenant_key": None,
        "sequence_key": "welcome",
        "step_key": "first",
        "now_iso8601": clock.now.isoformat(),
    }


def test_a_template_stands_once_in_a_batch(db: Db, journey: None) -> None:
    for subscriber in "123":
        enroll(db, subscriber)
    tick(db)
    batch = claims(db)
    assert len({claimed.template_hash for claimed in batch}) == 1
    assert [claimed.template for claimed in batch if claimed.template is not None] == [EMAIL]


def test_a_claim_is_nobody_elses_for_a_while(db: Db, journey: None) -> None:
    enroll(db)
    tick(db)
    assert len(claims(db)) == 1
    assert claims(db) == []


def test_an_abandoned_claim_comes_again(db: Db, journey: None) -> None:
    enroll(db)
    tick(db)
    assert claims(db, visibility=timedelta(0)) == claims(db)


def test_what_is_rendered_waits_for_its_sender(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    tick(db)
    assert render(db) == 1
    rendered = execution(db, enrollment)
    assert (rendered.state, rendered.payload) == ("rendered", PAYLOAD)
    assert queue(db, "render") == []
    assert queue(db, "send_email") == [(rendered.id, rendered.fence)]


def test_rendering_twice_keeps_the_first_words(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    tick(db)
    (claimed,) = claims(db, visibility=timedelta(0))
    assert complete(db, claimed, payload={"subject": "First"}) == 1
    assert complete(db, claimed, payload={"subject": "Second"}) == 0
    assert execution(db, enrollment).payload == {"subject": "First"}
    assert len(queue(db, "send_email")) == 1


def test_words_for_a_message_that_was_stopped_are_left_alone(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    tick(db)
    (claimed,) = claims(db)
    db.execute("select dripdrop.pause_enrollment(null, %s)", [enrollment])
    assert complete(db, claimed, payload=PAYLOAD) == 0
    assert execution(db, enrollment).payload is None
    assert queue(db, "render") == []


def test_a_pointer_to_a_message_that_was_stopped_is_thrown_away(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    tick(db)
    db.execute("select dripdrop.unenroll(null, %s)", [enrollment])
    assert claims(db) == []
    assert queue(db, "render") == []


def test_a_pointer_to_nothing_is_thrown_away(db: Db) -> None:
    pointer = as_json({"execution": uuid4(), "fence": 0})
    db.execute("select pgmq.send('dripdrop_render', %s::jsonb)", [pointer])
    assert claims(db) == []
    assert queue(db, "render") == []


def test_what_cannot_be_rendered_fails_with_its_code(db: Db, journey: None) -> None:
    enrollment = enroll(db)
    tick(db)
    (claimed,) = claims(db)
    assert complete(db, claimed, code="liquid_syntax", detail="unclosed tag") == 0
    failed = execution(db, enrollment)
    assert (failed.state, failed.reason, failed.error_message) == (
        "failed",
        "liquid_syntax",
        "unclosed tag",
    )
    event = db.execute("select event_type, event_data from dripdrop.message_events").fetchone()
    assert event == ("failed", {"reason": "liquid_syntax", "detail": "unclosed tag"})
    assert enrollment_row(db, enrollment).exit_reason == "step_failed"
    assert ledger(db) == []


def test_what_cannot_be_rendered_may_be_gone_past(db: Db, mail: UUID) -> None:
    add_sequence(db, step("first", config={"on_max_retry": "continue"}), step("second"))
    enrollment = enroll(db)
    tick(db)
    (claimed,) = claims(db)
    complete(db, claimed, code="liquid_syntax")
    assert execution(db, enrollment, "second").state == "scheduled"


def test_results_that_are_no_list_are_refused(db: Db, journey: None) -> None:
    with pytest.raises(InvalidArgument) as caught:
        db.execute("select dripdrop.complete_renders('{}')")
    assert caught.value.diag.message_hint


@pytest.mark.parametrize("call", ["claim_renders()", "claim_sends('email')"])
def test_without_queues_a_claim_is_refused(db: Db, call: str) -> None:
    db.execute("select dripdrop.stop()")
    with pytest.raises(NotStarted) as caught:
        db.execute(f"select dripdrop.{call}")
    assert caught.value.diag.message_hint


def test_two_renderers_never_hold_the_same_message(db: Db, other: Db, journey: None) -> None:
    for subscriber in "1234":
        enroll(db, subscriber)
    tick(db)
    with db.transaction(), other.transaction():
        mine = {claimed.execution_id for claimed in claims(db, 2)}
        theirs = {claimed.execution_id for claimed in claims(other, 4)}
    assert (len(mine), len(theirs), mine & theirs) == (2, 2, set())


def test_a_tenants_templates_reach_the_renderer_with_their_tenant(db: Db, mail: UUID) -> None:
    add_sequence(db, tenant="acme")
    enroll(db, tenant="acme")
    tick(db)
    (claimed,) = claims(db)
    assert (claimed.tenant_key, claimed.variables["tenant_key"]) == ("acme", "acme")
    complete(db, claimed, payload=PAYLOAD)
    assert [sending.tenant_key for sending in claim(db)] == ["acme"]
