"""What explain says in each state of a message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import EnrollmentNotFound
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email


def next_of(engine: Engine, enrollment_id: Any) -> tuple[str | None, str, Any]:
    """Return the step, what happens next, and when."""
    gates = engine.explain(TENANT, enrollment_id)
    ((step, action, at),) = {(g.step, g.next_action, g.next_at) for g in gates}
    return step, action, at


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ("scheduled", "send"),
        ("queued", "render"),
        ("rendered", "send"),
        ("sending", "record"),
        ("unknown", "resolve"),
    ],
)
def test_each_state_has_its_next_action(engine: Engine, state: str, action: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    assert next_of(engine, sam.id)[:2] == ("welcome", action)


def test_a_message_that_waits_goes_when_it_is_due(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days")))
    sam = engine.join()
    assert next_of(engine, sam.id) == ("tip", "send", clock.now + timedelta(days=3))


def test_a_message_that_is_due_goes_now(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    clock.advance(seconds=30)
    assert next_of(engine, sam.id) == ("welcome", "send", clock.now)


def test_of_one_that_nobody_takes_up_no_time_is_named(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    clock.advance(hours=2)
    assert next_of(engine, sam.id) == ("welcome", "send", None)


def test_a_message_that_waits_is_judged_as_of_its_time(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days"), config={"stale_after": "1 day"}))
    sam = engine.join()
    engine.rows(
        "update dripdrop.channel_adapters set resting_until = dripdrop._now() + '1 hour'"
        " returning 1"
    )
    assert all(gate.open for gate in engine.explain(TENANT, sam.id))


def test_a_message_being_sent_is_recorded_by_the_end_of_its_lease(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("sending", sam.id)
    assert next_of(engine, sam.id)[2] == clock.now + timedelta(minutes=2)


def test_a_paused_enrolment_is_held_without_an_end(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    assert next_of(engine, sam.id) == ("welcome", "hold", None)
    shut = [(g.gate, g.reason) for g in engine.explain(TENANT, sam.id) if not g.open]
    assert shut == [("pause", "enrollment_paused")]


@pytest.mark.parametrize("end", ["completed", "unenrolled"])
def test_an_ended_enrolment_says_why_nothing_follows(engine: Engine, end: str) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    if end == "completed":
        engine.deliver()
    else:
        engine.unenroll(TENANT, sam.id)
    *past, row = engine.explain(TENANT, sam.id)
    assert {each.phase for each in past} <= {"past"}
    assert (row.phase, row.reason, row.next_action) == ("end", end, "nothing")


def test_explaining_writes_nothing(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    before = engine.contents()
    engine.explain(TENANT, sam.id)
    assert engine.contents() == before


def test_an_unknown_enrolment_is_not_found(engine: Engine) -> None:
    with engine.refused(EnrollmentNotFound):
        engine.explain(TENANT, uuid4())
