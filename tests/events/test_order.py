"""What was tracked before an enrolment is none of its, what comes after is: the calls decide."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dripdrop.errors import EventNotFound
from tests.conftest import Clock
from tests.engine import TEMPLATE, TENANT, Engine, after, email

ORDERED = {"type": "event", "trigger_event": "ordered"}
SINCE = ORDERED | {"since": "enrollment"}
GOAL = [{"name": "bought", "event": "ordered"}]
TRACK = "dripdrop.track_event('acme', 'ordered', '{}', null, 'User', 'sam')"
ENROLL = "dripdrop.enroll('acme', 'onboarding', 'User', 'sam', '{\"email\": \"sam@example.com\"}')"


def ordered(engine: Engine, **fields: Any) -> Any:
    """Track an order of Sam's."""
    return engine.track_event(TENANT, "ordered", subscriber_id="sam", **fields)


def state(engine: Engine) -> tuple[str, str | None]:
    """Return where Sam's enrolment and what it waits for stand, after a tick."""
    engine.tick()
    row = engine.rows(
        "select e.state, x.awaited_event from dripdrop.enrollments as e"
        " left join dripdrop.step_executions as x on x.enrollment_id = e.id"
    )[0]
    return row.state, row.awaited_event


def call_both(engine: Engine, how: str, *calls: str) -> None:
    """Make two calls in a statement, a transaction or one after the other."""
    if how == "statement":
        engine.rows(
            f"with first as materialized (select {calls[0]} as x offset 0),"
            f" second as materialized ("
            f"select {calls[1]} as y from first where (x).id is not null offset 0)"
            " select (y).id from second"
        )
    elif how == "transaction":
        with engine.connection.transaction():
            for call in calls:
                engine.rows(f"select {call}")
    else:
        for call in calls:
            engine.rows(f"select {call}")


HOW = pytest.mark.parametrize("how", ["statement", "transaction", "two transactions"])


@HOW
def test_what_came_before_reaches_no_goal(engine: Engine, how: str) -> None:
    engine.author(email("welcome", timing=after(1, "days")), goals=GOAL)
    call_both(engine, how, TRACK, ENROLL)
    assert state(engine) == ("active", None)


@HOW
def test_what_comes_after_reaches_it(engine: Engine, how: str) -> None:
    engine.author(email("welcome", timing=after(1, "days")), goals=GOAL)
    call_both(engine, how, ENROLL, TRACK)
    assert state(engine) == ("completed", None)


@HOW
@pytest.mark.parametrize("timing", [ORDERED, SINCE])
def test_what_came_before_wakes_nothing(engine: Engine, how: str, timing: dict[str, Any]) -> None:
    engine.author(email("thanks", timing=timing))
    call_both(engine, how, TRACK, ENROLL)
    assert state(engine) == ("active", "ordered")


@HOW
@pytest.mark.parametrize("timing", [ORDERED, SINCE])
def test_what_comes_after_wakes(engine: Engine, how: str, timing: dict[str, Any]) -> None:
    engine.author(email("thanks", timing=timing))
    call_both(engine, how, ENROLL, TRACK)
    assert state(engine) == ("active", None)


@pytest.mark.parametrize("timing", [ORDERED, SINCE])
@pytest.mark.parametrize("first", ["event", "enrolment"])
def test_of_two_sessions_the_calls_decide_and_not_the_commits(
    engine: Engine, other: Engine, first: str, timing: dict[str, Any]
) -> None:
    engine.author(email("thanks", timing=timing), goals=[GOAL[0] | {"expected_value": 2}])
    with engine.connection.transaction():
        if first == "event":
            ordered(engine)
            other.join()
        else:
            engine.join()
            ordered(other)
    engine.reconcile()
    assert state(engine) == ("active", "ordered" if first == "event" else None)


def test_of_two_sessions_a_goal_goes_by_the_calls_too(engine: Engine, other: Engine) -> None:
    engine.author(email("welcome"), goals=GOAL)
    with engine.connection.transaction():
        engine.join()
        ordered(other)
    assert state(engine)[0] == "completed"


def test_the_time_decides_nothing(engine: Engine) -> None:
    """Both at the same moment, the event said to be a little later."""
    engine.author(email("thanks", timing=SINCE))
    ordered(engine, occurred_at="2026-03-02T09:00:01Z")
    engine.join()
    assert state(engine) == ("active", "ordered")


@pytest.mark.parametrize("by", ["event_id", "id"])
def test_the_event_that_set_it_off_is_its_own(engine: Engine, by: str) -> None:
    template = TEMPLATE | {"text": "Order {{ event.data.number }}"}
    engine.author(
        email("thanks", timing=SINCE, template=template),
        email("tip", template=template),
        goals=GOAL,
    )
    event = ordered(engine, event_id="order:7", event_data={"number": 7})
    sam = engine.join(event_id="order:7" if by == "event_id" else event.id)
    assert sam.event_id == event.id
    assert state(engine) == ("active", None)
    for _ in range(2):
        engine.tick()
        claims = engine.claim_renders()
        assert [claim.variables["event"]["data"] for claim in claims] == [{"number": 7}]
        engine.complete_renders(
            [
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    "payload": {"subject": "Hello", "text": "Hello"},
                }
                for claim in claims
            ]
        )
        engine.record(engine.claim_sends("email"))
    assert engine.enrollment(sam.id).exit_reason == "completed"


def test_the_event_that_set_it_off_counts_since_enrolment(engine: Engine) -> None:
    engine.author(
        email("thanks", conditions=[{"event": "ordered", "since": "enrollment"}]), email("tip")
    )
    ordered(engine)
    event = ordered(engine)
    sam = engine.join(event_id=event.id)
    engine.join("kim")
    assert engine.tick() == (1, 0, 0, 0, 1, 0, 0)
    assert [x.state for x in engine.executions(sam.id)] == ["queued"]


def test_each_of_a_list_may_name_its_event(engine: Engine) -> None:
    engine.author(email("thanks", timing=SINCE))
    event = ordered(engine, event_id="order:7")
    engine.enroll_many(
        TENANT,
        "onboarding",
        [
            {"subscriber_id": "sam", "data": {"email": "a@example.com"}, "event_id": "order:7"},
            {"subscriber_id": "kim", "data": {"email": "b@example.com"}},
        ],
    )
    rows = engine.rows("select event_id from dripdrop.enrollments order by subscriber_id desc")
    assert [row.event_id for row in rows] == [event.id, None]


@pytest.mark.parametrize("subscriber", ["kim", "sam"])
def test_an_event_that_is_not_theirs_is_refused(engine: Engine, subscriber: str) -> None:
    engine.author()
    ordered(engine, event_id="order:7")
    with engine.refused(EventNotFound):
        engine.join(subscriber, event_id="order:7" if subscriber == "kim" else "order:8")


@pytest.mark.parametrize(
    ("timing", "config"),
    [
        (ORDERED, {}),
        (SINCE, {}),
        (ORDERED | {"recurring": True}, {}),
        (ORDERED | {"recurring": True}, {"kind": "transactional"}),
    ],
)
def test_importing_history_sends_nothing(
    engine: Engine, clock: Clock, timing: dict[str, Any], config: dict[str, Any]
) -> None:
    engine.author(
        email("receipt", timing=timing, config=config),
        email("later", timing=after(99, "days")),
        goals=GOAL,
    )
    sam = engine.join()
    clock.advance(days=1)
    engine.track_events(
        TENANT,
        [
            {
                "event_key": "ordered",
                "subscriber_id": "sam",
                "occurred_at": (clock.now - timedelta(days=30 * (n + 1))).isoformat(),
            }
            for n in range(5)
        ],
    )
    assert engine.tick().queued == 0
    assert engine.enrollment(sam.id).state == "active"


def test_an_event_that_was_before_the_wait_wakes_nothing_however_late(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"), email("thanks", timing=ORDERED))
    sam = engine.join()
    clock.advance(hours=2)
    engine.deliver()
    clock.advance(hours=1)
    ordered(engine, occurred_at=clock.now - timedelta(hours=2))
    assert engine.last(sam.id).awaited_event == "ordered"
    ordered(engine, occurred_at=clock.now - timedelta(minutes=30))
    assert engine.last(sam.id).awaited_event is None


@pytest.mark.parametrize("recurring", [True, False])
@pytest.mark.parametrize(("hours", "queued"), [(23, 1), (25, 0)])
def test_an_event_that_is_reported_later_than_stale_after_wakes_nothing(
    engine: Engine, clock: Clock, recurring: bool, hours: int, queued: int
) -> None:
    timing = ORDERED | ({"recurring": True} if recurring else {})
    engine.author(
        email("receipt", timing=timing, config={"stale_after": "1 day"}),
        email("later", timing=after(99, "days")),
    )
    engine.join()
    clock.advance(days=9)
    ordered(engine, occurred_at=clock.now - timedelta(hours=hours))
    assert engine.tick().queued == queued


def test_an_event_of_the_journeys_first_days_counts_for_a_later_step(
    engine: Engine, clock: Clock
) -> None:
    engine.author(
        email("welcome", timing=after(30, "days")),
        email("thanks", timing=SINCE, config={"stale_after": "1 day"}),
    )
    sam = engine.join()
    clock.advance(days=1)
    ordered(engine)
    clock.advance(days=29)
    engine.deliver()
    assert engine.last(sam.id).awaited_event is None
