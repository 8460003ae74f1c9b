"""track_event() and track_events(): what happened, and to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import DripdropError, EnrollmentNotFound, InvalidArgument, InvalidTenantKey
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

PAID = {"type": "event", "trigger_event": "paid"}
WAITING = email("thanks", timing=PAID)
RECEIPT = email("receipt", timing=PAID | {"recurring": True})


def events(engine: Engine) -> list[Any]:
    """Return what was recorded."""
    return engine.rows("select * from dripdrop.events order by id")


def test_an_event_of_an_enrolment_names_its_subscriber(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    data = {"amount": 10, "coupon": None}
    event = engine.track_event(TENANT, "paid", data, enrollment_id=sam.id)
    assert (event.subscriber_type, event.subscriber_id) == ("User", "sam")
    assert (event.enrollment_id, event.event_key, event.event_data) == (sam.id, "paid", data)
    assert (event.event_type, event.occurred_at) == ("custom", clock.now)


def test_an_event_may_come_before_any_enrolment(engine: Engine) -> None:
    event = engine.track_event(TENANT, "visited", subscriber_id="sam")
    assert (event.enrollment_id, event.subscriber_type) == (None, "User")


def test_an_id_that_looks_like_a_uuid_is_a_text_like_any_other(engine: Engine) -> None:
    engine.author(WAITING)
    someone = str(uuid4())
    enrollment = engine.join(someone, data={"email": "sam@example.com"})
    engine.track_event(TENANT, "paid", subscriber_id=someone)
    assert engine.last(enrollment.id).awaited_event is None


def test_an_event_of_one_enrolment_wakes_no_other(engine: Engine) -> None:
    engine.author(WAITING)
    first, second = engine.join(entry_key="1"), engine.join(entry_key="2")
    engine.track_event(TENANT, "paid", enrollment_id=first.id)
    assert engine.last(first.id).awaited_event is None
    assert engine.last(second.id).awaited_event == "paid"


def test_an_event_of_a_subscriber_is_one_of_each_of_their_enrolments(engine: Engine) -> None:
    engine.author(WAITING)
    engine.author(WAITING, key="other")
    data = {"email": "sam@example.com"}
    theirs = [
        engine.join(entry_key="1"),
        engine.join(entry_key="2"),
        engine.enroll(TENANT, "other", "User", "sam", data),
    ]
    others = [engine.join("kim"), engine.enroll(TENANT, "other", "Team", "sam", data)]
    engine.track_event(TENANT, "paid", subscriber_id="sam")
    assert [engine.last(e.id).awaited_event for e in theirs] == [None, None, None]
    assert [engine.last(e.id).awaited_event for e in others] == ["paid", "paid"]


@pytest.mark.parametrize("other_tenant", ["umbrella", None])
def test_an_event_stays_in_its_tenant(engine: Engine, other_tenant: str | None) -> None:
    engine.author(WAITING)
    sam = engine.join()
    before = engine.executions(sam.id)
    engine.track_event(other_tenant, "paid", subscriber_id="sam")
    assert engine.executions(sam.id) == before


def test_an_enrolment_of_another_tenant_is_not_found(engine: Engine) -> None:
    engine.author(WAITING)
    sam = engine.join()
    for tenant in ("umbrella", None):
        with engine.refused(EnrollmentNotFound):
            engine.track_event(tenant, "paid", enrollment_id=sam.id)


def test_one_event_id_happens_once(engine: Engine, clock: Clock) -> None:
    engine.author(RECEIPT)
    sam = engine.join()
    first = engine.track_event(TENANT, "paid", {"n": 1}, enrollment_id=sam.id, event_id="o-7")
    before = engine.contents()
    clock.advance(hours=1)
    again = engine.track_event(TENANT, "paid", {"n": 2}, enrollment_id=sam.id, event_id="o-7")
    assert again == first
    assert engine.contents() == before


def test_one_event_id_in_two_tenants_is_two_events(engine: Engine) -> None:
    ids = {
        engine.track_event(tenant, "paid", subscriber_id="sam", event_id="o-7").id
        for tenant in (TENANT, "umbrella", None)
    }
    assert len(ids) == 3


@pytest.mark.slow
@pytest.mark.parametrize("enrolled", [True, False])
def test_one_event_id_at_the_same_time_happens_once(
    engine: Engine, other: Engine, enrolled: bool
) -> None:
    engine.author(RECEIPT)
    sam = engine.join("sam" if enrolled else "kim")

    def track(on: Engine) -> Any:
        return on.track_event(TENANT, "paid", subscriber_id="sam", event_id="o-7")

    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            first = track(engine)
            second = pool.submit(track, other)
            engine.wait_until_blocked(other.connection)
        assert second.result(20) == first
    assert len(events(engine)) == 1
    assert len(engine.executions(sam.id)) == int(enrolled)


@pytest.mark.slow
def test_an_event_whose_twin_is_rolled_back_happens(engine: Engine, other: Engine) -> None:
    engine.author(RECEIPT)
    sam = engine.join()

    def track(on: Engine) -> Any:
        return on.track_event(TENANT, "paid", subscriber_id="sam", event_id="o-7")

    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction(force_rollback=True):
            track(engine)
            second = pool.submit(track, other)
            engine.wait_until_blocked(other.connection)
        second.result(20)
    assert len(engine.executions(sam.id)) == 1


def test_what_is_rolled_back_never_happened(engine: Engine) -> None:
    engine.author(WAITING, goals=[{"event": "paid"}])
    engine.join()
    before = engine.contents()
    with engine.connection.transaction(force_rollback=True):
        engine.track_event(TENANT, "paid", subscriber_id="sam")
        assert engine.contents() != before
    assert engine.contents() == before


@pytest.mark.parametrize("end", ["completed", "unenrolled"])
def test_an_event_of_an_ended_enrolment_is_recorded_and_no_more(engine: Engine, end: str) -> None:
    engine.author(email("welcome"), RECEIPT, goals=[{"event": "paid"}])
    sam = engine.join()
    if end == "completed":
        engine.deliver()
    else:
        engine.unenroll(TENANT, sam.id)
    ended = engine.enrollment(sam.id)
    executions = engine.executions(sam.id)
    engine.track_event(TENANT, "paid", enrollment_id=sam.id)
    assert [event.enrollment_id for event in events(engine)] == [sam.id]
    assert (engine.enrollment(sam.id), engine.executions(sam.id)) == (ended, executions)


def test_many_events_are_one_statement(engine: Engine) -> None:
    engine.author(WAITING)
    people = [engine.join(f"person-{number}") for number in range(50)]
    tracked = engine.track_events(
        TENANT,
        [{"event_key": "paid", "subscriber_id": p.subscriber_id} for p in people]
        + [{"event_key": "paid", "enrollment_id": str(people[0].id), "event_id": "twice"}] * 2,
    )
    assert len(tracked) == 52
    assert len(events(engine)) == 51
    assert engine.tick().queued == 50


def test_of_many_events_the_earliest_wakes_a_step(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=PAID | {"delay_amount": 2, "delay_unit": "days"}))
    sam = engine.join()
    clock.advance(hours=6)
    times = [clock.now - timedelta(hours=hours) for hours in (1, 5, 3)]
    engine.track_events(
        TENANT,
        [
            {"event_key": "paid", "subscriber_id": "sam", "occurred_at": time.isoformat()}
            for time in times
        ],
    )
    execution = engine.last(sam.id)
    assert execution.due_at == min(times) + timedelta(days=2)
    (event,) = engine.rows("select * from dripdrop.events where id = %s", execution.event_id)
    assert event.occurred_at == min(times)


def test_one_bad_element_refuses_all_and_is_named(engine: Engine) -> None:
    engine.author(WAITING)
    sam = engine.join()
    good = {"event_key": "paid", "enrollment_id": str(sam.id)}
    with engine.refused(InvalidArgument) as refusal:
        engine.track_events(TENANT, [good, {"event_key": "paid"}])
    assert refusal.value.diag.column_name == "subscriber_id"
    assert "2" in (refusal.value.diag.message_detail or "")


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"tenant_key": ":global"}, InvalidTenantKey, "tenant_key"),
        ({"event_key": ""}, InvalidArgument, "event_key"),
        ({"event_key": None}, InvalidArgument, "event_key"),
        ({"subscriber_id": None}, InvalidArgument, "subscriber_id"),
        ({"subscriber_id": ""}, InvalidArgument, "subscriber_id"),
        ({"enrollment_id": uuid4()}, InvalidArgument, "subscriber_id"),
        ({"subscriber_id": None, "enrollment_id": uuid4()}, EnrollmentNotFound, None),
        ({"subscriber_type": ""}, InvalidArgument, "subscriber_type"),
        ({"event_data": []}, InvalidArgument, "event_data"),
        ({"event_id": ""}, InvalidArgument, "event_id"),
        ({"event_key": "e" * 501}, InvalidArgument, "event_key"),
        ({"subscriber_type": "e" * 501}, InvalidArgument, "subscriber_type"),
        ({"subscriber_id": "e" * 501}, InvalidArgument, "subscriber_id"),
        ({"event_id": "e" * 501}, InvalidArgument, "event_id"),
    ],
)
def test_a_bad_argument_is_named(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str | None
) -> None:
    event: dict[str, Any] = {"tenant_key": TENANT, "event_key": "paid", "subscriber_id": "sam"}
    with engine.refused(error) as refusal:
        engine.track_event(**event | fields)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize(
    "elements",
    [
        {},
        None,
        ["paid"],
        [{"event_key": "paid", "enrollment_id": "seven"}],
        [{"event_key": "paid", "subscriber_id": "sam", "occurred_at": "soon"}],
    ],
)
def test_malformed_events_are_refused(engine: Engine, elements: Any) -> None:
    with engine.refused(InvalidArgument):
        engine.track_events(TENANT, elements)


def test_no_events_are_no_error(engine: Engine) -> None:
    assert engine.track_events(TENANT, []) == []
