"""claim_renders() and complete_renders(): words for what was queued."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument, NotStarted
from tests.conftest import Clock
from tests.engine import TEMPLATE, TENANT, Engine, after, email
from tests.pipeline.conftest import pointers

PAYLOAD = {"subject": "Hello", "text": "Hello Sam"}


def complete(engine: Engine, claim: Any, **result: Any) -> int:
    """Hand in one result; return how many were taken."""
    claimed = {
        "execution": str(claim.execution_id),
        "fence": claim.fence,
        "message": claim.message_id,
    }
    return int(engine.complete_renders([claimed | result]))


def test_a_claim_brings_the_template_and_its_variables(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join(data={"email": "sam@example.com", "name": "Sam"})
    journey.tick()
    (claimed,) = journey.claim_renders()
    assert (claimed.channel, claimed.template) == ("email", TEMPLATE)
    assert claimed.variables == {
        "email": "sam@example.com",
        "name": "Sam",
        "subscriber": {"email": "sam@example.com", "name": "Sam", "type": "User", "id": "sam"},
        "subscriber_type": "User",
        "subscriber_id": "sam",
        "enrollment_id": str(enrollment.id),
        "tenant_key": TENANT,
        "sequence_key": "onboarding",
        "step_key": "welcome",
        "now_iso8601": clock.now.isoformat(),
    }


def test_a_template_stands_once_in_a_batch(journey: Engine) -> None:
    for subscriber in ("ada", "bob", "sam"):
        journey.join(subscriber)
    journey.tick()
    claims = journey.claim_renders()
    assert len({claimed.template_hash for claimed in claims}) == 1
    assert [claimed.template for claimed in claims if claimed.template] == [TEMPLATE]


def test_a_claim_is_nobody_elses_for_a_while(journey: Engine) -> None:
    journey.join()
    journey.tick()
    assert len(journey.claim_renders()) == 1
    assert journey.claim_renders() == []


def test_an_abandoned_claim_comes_again(journey: Engine) -> None:
    journey.join()
    journey.tick()
    (abandoned,) = journey.claim_renders(visibility=timedelta(0))
    assert journey.claim_renders() == [abandoned]


@pytest.mark.slow
def test_two_renderers_never_hold_the_same_message(journey: Engine, other: Engine) -> None:
    for subscriber in range(4):
        journey.join(str(subscriber))
    journey.tick()
    with journey.connection.transaction(), other.connection.transaction():
        mine = {claimed.execution_id for claimed in journey.claim_renders(batch_size=3)}
        theirs = {claimed.execution_id for claimed in other.claim_renders(batch_size=3)}
    assert (len(mine), len(theirs), mine & theirs) == (3, 1, set())


def test_what_is_rendered_waits_for_its_sender(journey: Engine) -> None:
    enrollment = journey.join()
    journey.tick()
    (claimed,) = journey.claim_renders()
    assert complete(journey, claimed, payload=PAYLOAD) == 1
    rendered = journey.last(enrollment.id)
    assert (rendered.state, rendered.payload) == ("rendered", PAYLOAD)
    assert pointers(journey, "render") == []
    assert pointers(journey, "send_email") == [(rendered.id, rendered.fence)]


def test_rendering_twice_keeps_the_first_words(journey: Engine) -> None:
    enrollment = journey.join()
    journey.tick()
    (claimed,) = journey.claim_renders()
    assert complete(journey, claimed, payload=PAYLOAD) == 1
    assert complete(journey, claimed, payload={"subject": "Other"}) == 0
    assert journey.last(enrollment.id).payload == PAYLOAD
    assert len(pointers(journey, "send_email")) == 1


@pytest.mark.slow
def test_what_is_locked_is_rendered_again_a_second_later(journey: Engine, other: Engine) -> None:
    journey.join()
    journey.tick()
    (claim,) = journey.claim_renders()
    with other.connection.transaction():
        other.rows("select from dripdrop.step_executions for update")
        assert complete(journey, claim, payload=PAYLOAD) == 0
    (row,) = journey.rows("select vt - clock_timestamp() as wait from pgmq.q_dripdrop_render")
    assert row.wait < timedelta(seconds=2)
    assert complete(journey, claim, payload=PAYLOAD) == 1
    assert pointers(journey, "render") == []


@pytest.mark.slow
def test_two_renderers_of_one_message_wait_for_each_other_nowhere(
    journey: Engine, other: Engine
) -> None:
    journey.join()
    journey.tick()
    (claim,) = journey.claim_renders()
    other.rows("select set_config('lock_timeout', '1s', false)")
    with journey.connection.transaction():
        assert complete(journey, claim, payload=PAYLOAD) == 1
        assert complete(other, claim, payload=PAYLOAD) == 0
    assert pointers(journey, "render") == []
    assert len(pointers(journey, "send_email")) == 1


def test_words_for_a_message_that_was_stopped_are_left_alone(journey: Engine) -> None:
    enrollment = journey.join()
    journey.tick()
    (claimed,) = journey.claim_renders()
    journey.pause_enrollment(TENANT, enrollment.id)
    assert complete(journey, claimed, payload=PAYLOAD) == 0
    assert journey.last(enrollment.id).payload is None
    assert pointers(journey, "render") == []


def test_a_pointer_to_a_message_that_was_stopped_is_thrown_away(journey: Engine) -> None:
    enrollment = journey.join()
    journey.tick()
    journey.unenroll(TENANT, enrollment.id)
    assert journey.claim_renders() == []
    assert pointers(journey, "render") == []


def test_a_pointer_to_nothing_is_thrown_away(engine: Engine) -> None:
    pointer = Jsonb({"execution": str(uuid4()), "fence": 0})
    engine.rows("select pgmq.send('dripdrop_render', %s)", pointer)
    assert engine.claim_renders() == []
    assert pointers(engine, "render") == []


def test_what_cannot_be_rendered_fails_with_its_code(journey: Engine) -> None:
    enrollment = journey.join()
    journey.tick()
    (claimed,) = journey.claim_renders()
    assert complete(journey, claimed, code="liquid_syntax", detail="unclosed tag") == 0
    failed = journey.last(enrollment.id)
    assert (failed.state, failed.reason, failed.error_message) == (
        "failed",
        "liquid_syntax",
        "unclosed tag",
    )
    (event,) = journey.rows("select event_type, event_data from dripdrop.message_events")
    assert event == ("failed", {"reason": "liquid_syntax", "detail": "unclosed tag"})


def test_a_failed_rendering_ends_the_enrolment(journey: Engine) -> None:
    enrollment = journey.join()
    journey.tick()
    complete(journey, *journey.claim_renders(), code="liquid_syntax")
    assert journey.enrollment(enrollment.id).exit_reason == "step_failed"
    assert journey.ledger() == []


def test_a_failed_rendering_may_be_gone_past(engine: Engine) -> None:
    engine.author(
        email("welcome", config={"on_max_retry": "continue"}),
        email("tip", timing=after(3, "days")),
    )
    enrollment = engine.join()
    engine.tick()
    complete(engine, *engine.claim_renders(), code="liquid_syntax")
    following = engine.last(enrollment.id)
    assert (following.step, following.state) == ("tip", "scheduled")
    assert engine.ledger() == []


def test_one_bad_template_does_not_hold_up_the_others(journey: Engine) -> None:
    bad, good = journey.join("bad"), journey.join("good")
    journey.tick()
    results = [
        {
            "execution": str(claimed.execution_id),
            "fence": claimed.fence,
            "message": claimed.message_id,
            **(
                {"code": "x"}
                if claimed.variables["subscriber_id"] == "bad"
                else {"payload": PAYLOAD}
            ),
        }
        for claimed in journey.claim_renders()
    ]
    assert journey.complete_renders(results) == 1
    assert journey.last(bad.id).state == "failed"
    assert journey.last(good.id).state == "rendered"


EMPTY: list[tuple[dict[str, Any], str, str]] = [
    ({"subject": "", "text": "Hi"}, "missing_subject", "the subject is empty"),
    ({"subject": " \n\t" * 100, "text": "Hi"}, "missing_subject", "the subject is empty"),
    ({"subject": None, "html": "Hi"}, "missing_subject", "the subject is empty"),
    ({"text": "Hi"}, "missing_subject", "the subject is empty"),
    ({"subject": "Hi"}, "empty_message", "html and text are empty"),
    ({"subject": "Hi", "html": "", "text": " "}, "empty_message", "html and text are empty"),
]


@pytest.mark.parametrize(("payload", "reason", "detail"), EMPTY)
def test_an_email_that_came_out_empty_fails(
    journey: Engine, payload: dict[str, Any], reason: str, detail: str
) -> None:
    enrollment = journey.join()
    journey.tick()
    assert complete(journey, *journey.claim_renders(), payload=payload) == 0
    execution = journey.executions(enrollment.id)[0]
    assert (execution.state, execution.reason, execution.error_message) == (
        "failed",
        reason,
        detail,
    )


@pytest.mark.parametrize(
    "body", [{"text": "Hi"}, {"html": " " * 200 + "<p>Hi</p>", "text": ""}], ids=["text", "html"]
)
def test_an_email_needs_only_one_body(journey: Engine, body: dict[str, str]) -> None:
    journey.join()
    journey.tick()
    payload = {"subject": "Hi"} | body
    assert complete(journey, *journey.claim_renders(), payload=payload) == 1


def test_a_claim_says_which_fields_are_mailboxes(journey: Engine) -> None:
    journey.join()
    journey.tick()
    (claimed,) = journey.claim_renders()
    assert sorted(claimed.mailboxes) == ["from", "reply_to"]


def test_results_that_are_no_list_are_refused(journey: Engine) -> None:
    with journey.refused(InvalidArgument):
        journey.complete_renders({})


@pytest.mark.parametrize(
    "call", ["claim_renders()", "claim_sends('email')", "claim_sends('webhook')"]
)
def test_without_queues_a_claim_is_refused(engine: Engine, call: str) -> None:
    engine.stop()
    with engine.refused(NotStarted):
        engine.rows(f"select * from dripdrop.{call}")


@pytest.mark.slow
def test_a_failure_of_someone_who_is_locked_holds_up_nobody_and_fails_a_second_later(
    journey: Engine, other: Engine
) -> None:
    sam, robin = journey.join("sam"), journey.join("robin")
    journey.tick()
    results = [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "code": "undefined_variable",
        }
        for claim in journey.claim_renders()
    ]
    journey.connection.execute("set lock_timeout = '1s'")
    with other.connection.transaction():
        other.connection.execute(
            "select from dripdrop.enrollments where id = %s for update", [sam.id]
        )
        journey.complete_renders(results)
        assert journey.last(robin.id).state == "failed"
        assert journey.last(sam.id).state == "queued"
    assert len(pointers(journey, "render")) == 1
    journey.complete_renders(results)
    assert journey.last(sam.id).state == "failed"
    assert journey.ledger() == []
