"""Correcting what is known of somebody under way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import (
    EnrollmentNotFound,
    InvalidArgument,
    InvalidTransition,
    MissingRecipient,
    UnknownTimeZone,
)
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email, onboarding


def test_data_is_merged_and_null_takes_a_key_away(engine: Engine) -> None:
    engine.author()
    sam = engine.join(data={"email": "sam@example.com", "name": "Sam", "plan": "pro"})
    changed = engine.update_enrollment(TENANT, sam.id, {"name": "Samuel", "plan": None, "n": 1})
    assert changed.data == {"email": "sam@example.com", "name": "Samuel", "n": 1}
    assert engine.enrollment(sam.id) == changed


def test_the_change_is_recorded_with_what_was_before(engine: Engine) -> None:
    engine.author()
    sam = engine.join(data={"email": "sam@example.com", "name": "Sam"})
    engine.update_enrollment(TENANT, sam.id, {"email": "s@example.org", "name": "Sam", "age": 7})
    (event,) = engine.rows("select * from dripdrop.events")
    assert (event.enrollment_id, event.event_key) == (sam.id, "enrollment_updated")
    assert event.event_data == {
        "before": {"email": "sam@example.com"},
        "after": {"email": "s@example.org", "age": 7},
    }


def test_what_changes_nothing_is_not_recorded(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    assert engine.update_enrollment(TENANT, sam.id, dict(sam.data, gone=None)) == sam
    assert engine.rows("select * from dripdrop.events") == []


@pytest.mark.parametrize("state", ["scheduled", "queued"])
def test_what_is_not_rendered_goes_to_the_new_address(engine: Engine, state: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    engine.update_enrollment(TENANT, sam.id, {"email": "s@example.org"})
    assert [claim.recipient for claim in engine.deliver()] == ["s@example.org"]
    assert engine.ledger() == []


def test_what_a_renderer_has_in_hand_is_rendered_again(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.tick()
    (claim,) = engine.claim_renders()
    engine.update_enrollment(TENANT, sam.id, {"email": "s@example.org"})
    rendered = {"execution": str(claim.execution_id), "fence": claim.fence}
    engine.complete_renders([rendered | {"message": claim.message_id, "payload": {"text": "old"}}])
    assert engine.claim_sends("email") == []
    assert [claim.recipient for claim in engine.deliver()] == ["s@example.org"]


def test_what_is_rendered_keeps_its_words_and_its_address(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    engine.update_enrollment(TENANT, sam.id, {"email": "s@example.org"})
    assert [claim.recipient for claim in engine.claim_sends("email")] == ["sam@example.com"]


def test_a_condition_is_asked_of_the_new_data(engine: Engine, clock: Clock) -> None:
    condition = {"field_path": "plan", "operator": "==", "expected_value": "pro"}
    engine.author(email("welcome", timing=after(1, "days"), conditions=[condition]))
    sam = engine.join()
    engine.update_enrollment(TENANT, sam.id, {"plan": "pro"})
    clock.advance(days=1)
    assert len(engine.deliver()) == 1


def test_a_goal_that_the_new_data_reaches_ends_it(engine: Engine) -> None:
    engine.author(goals=[{"name": "upgraded", "predicate": '$.enrollment.plan == "pro"'}])
    sam = engine.join()
    changed = engine.update_enrollment(TENANT, sam.id, {"plan": "pro"})
    assert (changed.state, changed.exit_reason) == ("completed", "upgraded")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"email": "nobody"}, MissingRecipient),
        ({"email": None}, MissingRecipient),
        ({"time_zone": "Mars/Olympus"}, UnknownTimeZone),
        ([], InvalidArgument),
        (None, InvalidArgument),
        ({"n": 10**400}, InvalidArgument),
    ],
)
def test_what_could_not_be_enrolled_with_is_refused(
    engine: Engine, data: Any, error: type[Exception]
) -> None:
    engine.author()
    sam = engine.join()
    with engine.refused(error):  # type: ignore[arg-type]
        engine.update_enrollment(TENANT, sam.id, data)
    with engine.refused(error):  # type: ignore[arg-type]
        engine.update_subscriber(TENANT, "User", "sam", data)


def test_data_grows_no_longer_than_enroll_takes_it(engine: Engine) -> None:
    engine.author()
    sam = engine.join(data={"email": "sam@example.com", "note": "x" * 40_000})
    with engine.refused(InvalidArgument):
        engine.update_enrollment(TENANT, sam.id, {"another": "x" * 40_000})


def test_an_address_that_nothing_planned_needs_may_go(engine: Engine) -> None:
    engine.author(
        email("welcome", timing=after(1, "days")),
        email("tip", config={"recipient_key": "second"}),
    )
    sam = engine.join(data={"email": "sam@example.com", "second": "s@example.org"})
    changed = engine.update_enrollment(TENANT, sam.id, {"second": None})
    assert changed.data == {"email": "sam@example.com"}
    with engine.refused(MissingRecipient):
        engine.update_enrollment(TENANT, sam.id, {"second": "nobody"})


def test_only_what_is_open_and_the_tenants_own_is_changed(engine: Engine) -> None:
    engine.author()
    sam = engine.unenroll(TENANT, engine.join().id)
    with engine.refused(InvalidTransition):
        engine.update_enrollment(TENANT, sam.id, {"name": "Sam"})
    for tenant, name in (("other", sam.id), (TENANT, uuid4())):
        with engine.refused(EnrollmentNotFound):
            engine.update_enrollment(tenant, name, {"name": "Sam"})


def test_all_open_enrolments_of_a_subscriber_are_changed(engine: Engine) -> None:
    engine.author(reentry="after_exit")
    engine.apply(TENANT, onboarding(key="trial"))
    ended = engine.unenroll(TENANT, engine.join("42").id)
    paused = engine.pause_enrollment(TENANT, engine.join("42").id)
    trial = engine.enroll(TENANT, "trial", "User", "42", {"email": "42@example.com"})
    eve = engine.join("eve")
    changed = engine.update_subscriber(TENANT, "User", 42, {"email": "s@example.org"})
    assert [(e.id, e.data["email"]) for e in changed] == [
        (paused.id, "s@example.org"),
        (trial.id, "s@example.org"),
    ]
    for untouched in (ended, eve):
        assert engine.enrollment(untouched.id) == untouched


def test_who_is_in_nothing_is_no_row(engine: Engine) -> None:
    assert engine.update_subscriber(TENANT, "User", "sam", {"name": "Sam"}) == []
    with engine.refused(InvalidArgument):
        engine.update_subscriber(TENANT, "User", "", {"name": "Sam"})


def test_a_time_in_the_data_moves_what_is_planned(engine: Engine, clock: Clock) -> None:
    engine.author(email("reminder", timing="3 days before data.appointment_at"))
    data = {"email": "sam@example.com", "appointment_at": "2026-03-20T09:00:00Z"}
    sam = engine.join(data=data)
    engine.update_enrollment(TENANT, sam.id, {"appointment_at": "2026-03-25T09:00:00Z"})
    assert engine.last(sam.id).due_at == datetime(2026, 3, 22, 9, tzinfo=UTC)
    assert engine.ledger() == []
