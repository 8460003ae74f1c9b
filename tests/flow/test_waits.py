"""A step on the path that waits for an event."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

PAID = {"type": "event", "trigger_event": "paid"}
TIMEOUT = PAID | {"timeout": "3 days"}
BACK_ON_TIMEOUT = PAID | {"timeout": "1 day", "on_timeout": "reminder"}
TWO_DAYS_LATER = PAID | {"delay_amount": 2, "delay_unit": "days"}


def waiting(**timing: Any) -> dict[str, Any]:
    """Return a step that waits for a payment."""
    return email("thanks", timing=PAID | timing)


def paid(engine: Engine, **fields: Any) -> Any:
    return engine.track_event(TENANT, "paid", **{"subscriber_id": "sam"} | fields)


def steps(engine: Engine, enrollment: Any) -> list[tuple[str, str, str | None]]:
    return [(x.step, x.state, x.reason) for x in engine.executions(enrollment.id)]


@pytest.mark.parametrize("way", ["first", "by position", "by transition", "starting step"])
def test_a_step_waits_for_its_event_however_it_was_reached(
    engine: Engine, clock: Clock, way: str
) -> None:
    if way == "first":
        engine.author(waiting())
        sam = engine.join()
    elif way == "starting step":
        engine.author(email("welcome"), waiting())
        sam = engine.join(starting_step="thanks")
    else:
        transitions = [{"to": "thanks"}] if way == "by transition" else []
        engine.author(email("welcome", transitions=transitions), waiting())
        sam = engine.join()
        engine.deliver()
    clock.advance(days=400)
    assert engine.deliver() == []
    execution = engine.last(sam.id)
    assert (execution.awaited_event, execution.due_at) == ("paid", None)
    assert engine.ledger() == []
    paid(engine)
    assert len(engine.deliver()) == 1


def test_a_woken_step_knows_its_event_and_is_due_at_once(engine: Engine, clock: Clock) -> None:
    engine.author(waiting())
    sam = engine.join()
    clock.advance(days=5)
    event = paid(engine)
    execution = engine.last(sam.id)
    assert (execution.event_id, execution.due_at, execution.reason) == (
        event.id,
        clock.now,
        "event",
    )
    assert execution.scheduled_for == clock.now


def test_an_event_that_came_before_the_wait_does_not_count(engine: Engine) -> None:
    engine.author(email("welcome"), waiting())
    sam = engine.join()
    paid(engine)
    engine.deliver()
    assert engine.last(sam.id).awaited_event == "paid"


@pytest.mark.parametrize(
    ("wanted", "data", "woken"),
    [
        ({"plan": "pro"}, {"plan": "pro", "seats": 3}, True),
        ({"plan": "pro"}, {"plan": "free"}, False),
        ({"plan": "pro"}, {}, False),
        ({"seats": 3}, {"seats": 3.0}, True),
        ({"plan": {"tier": 1}}, {"plan": {"tier": 1, "name": "x"}}, True),
        ({"coupon": None}, {"coupon": None}, True),
        ({"coupon": None}, {}, False),
    ],
)
@pytest.mark.parametrize("spelling", ["match", "trigger_data"])
def test_only_a_matching_event_wakes(
    engine: Engine, wanted: Any, data: Any, woken: bool, spelling: str
) -> None:
    engine.author(waiting(**{spelling: wanted}))
    sam = engine.join()
    paid(engine, event_data=data)
    assert (engine.last(sam.id).awaited_event is None) == woken


def test_a_delay_counts_from_the_event_in_local_time(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TWO_DAYS_LATER))
    sam = engine.join(data={"email": "sam@example.com", "time_zone": "Europe/Berlin"})
    berlin = ZoneInfo("Europe/Berlin")
    clock.set(clock.now.replace(month=3, day=28, hour=12))
    paid(engine, occurred_at=clock.now - timedelta(hours=2))
    due_at = engine.last(sam.id).due_at.astimezone(berlin)
    assert due_at.isoformat() == "2026-03-30T11:00:00+02:00"


def test_a_late_report_of_an_event_is_not_due_in_the_past(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TWO_DAYS_LATER, config={"kind": "transactional"}))
    sam = engine.join()
    clock.advance(days=9)
    paid(engine, occurred_at=clock.now - timedelta(days=8))
    assert engine.last(sam.id).due_at == clock.now


def test_who_stays_on_an_archived_version_is_still_woken_and_only_there(engine: Engine) -> None:
    engine.author(waiting())
    former = engine.join("former")
    engine.author(email("welcome"), waiting())
    newer = engine.join("newer")
    for subscriber_id in ("former", "newer"):
        paid(engine, subscriber_id=subscriber_id)
    assert [x.awaited_event for x in engine.executions(former.id)] == [None]
    assert [x.step for x in engine.executions(newer.id)] == ["welcome"]


def test_a_second_event_changes_nothing_about_the_first(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TWO_DAYS_LATER))
    sam = engine.join()
    paid(engine)
    before = engine.executions(sam.id)
    clock.advance(days=1)
    paid(engine)
    assert engine.executions(sam.id) == before


def test_since_enrolment_an_event_before_the_wait_counts(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), waiting(since="enrollment"))
    sam = engine.join()
    clock.advance(hours=1)
    event = paid(engine)
    engine.deliver()
    execution = engine.last(sam.id)
    assert (execution.awaited_event, execution.event_id) == (None, event.id)
    assert len(engine.deliver()) == 1


def test_since_enrolment_a_delay_still_counts_from_the_event(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("welcome", timing=after(1, "days")),
        email("thanks", timing=TWO_DAYS_LATER | {"since": "enrollment"}),
    )
    sam = engine.join()
    happened = clock.now
    paid(engine)
    clock.advance(days=1)
    engine.deliver()
    assert engine.last(sam.id).due_at == happened + timedelta(days=2)


@pytest.mark.parametrize("fields", [{"event_data": {"plan": "free"}}, {"subscriber_id": "kim"}])
def test_since_enrolment_what_does_not_match_does_not_count(
    engine: Engine, fields: dict[str, Any]
) -> None:
    engine.author(email("welcome"), waiting(since="enrollment", match={"plan": "pro"}))
    sam = engine.join()
    paid(engine, **{"event_data": {"plan": "pro"}} | fields)
    engine.deliver()
    assert engine.last(sam.id).awaited_event == "paid"


def test_what_was_before_the_enrolment_never_counts(engine: Engine, clock: Clock) -> None:
    engine.author(waiting(since="enrollment"))
    paid(engine)
    clock.advance(seconds=1)
    assert engine.last(engine.join().id).awaited_event == "paid"


def test_since_enrolment_an_event_of_another_enrolment_does_not_count(engine: Engine) -> None:
    engine.author(email("welcome"), waiting(since="enrollment"))
    first, second = engine.join(entry_key="1"), engine.join(entry_key="2")
    paid(engine, subscriber_id=None, enrollment_id=first.id)
    engine.deliver()
    assert engine.last(first.id).awaited_event is None
    assert engine.last(second.id).awaited_event == "paid"


def test_a_wait_that_times_out_is_skipped_and_the_flow_goes_on(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("thanks", timing=TIMEOUT), email("reminder"))
    sam = engine.join()
    clock.advance(days=2, hours=23)
    assert engine.tick().skipped == 0
    clock.advance(hours=1)
    assert engine.tick().skipped == 1
    assert steps(engine, sam) == [
        ("thanks", "skipped", "event_timeout"),
        ("reminder", "scheduled", None),
    ]


def test_a_wait_that_times_out_may_end_the_enrolment(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TIMEOUT | {"on_timeout": "exit"}), email("reminder"))
    sam = engine.join()
    clock.advance(days=3)
    assert engine.tick().ended == 1
    ended = engine.enrollment(sam.id)
    assert (ended.state, ended.exit_reason) == ("cancelled", "event_timeout")


def test_a_wait_that_times_out_may_lead_to_a_step(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("thanks", timing=TIMEOUT | {"on_timeout": "discount"}, transitions=[{"to": None}]),
        email("reminder", active=False),
        email("discount"),
    )
    sam = engine.join()
    clock.advance(days=3)
    engine.tick()
    assert steps(engine, sam)[-1] == ("discount", "scheduled", None)


def test_a_wait_that_times_out_goes_by_the_transitions_when_it_continues(
    engine: Engine, clock: Clock
) -> None:
    engine.author(
        email("thanks", timing=TIMEOUT, transitions=[{"to": "last"}]),
        email("reminder", active=False),
        email("last"),
    )
    sam = engine.join()
    clock.advance(days=3)
    engine.tick()
    assert steps(engine, sam)[-1] == ("last", "scheduled", None)


def test_a_timeout_is_counted_on_the_wall_clock(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TIMEOUT))
    clock.set(clock.now.replace(month=3, day=28, hour=12))
    sam = engine.join(data={"email": "sam@example.com", "time_zone": "Europe/Berlin"})
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=3, hours=-1)


def test_an_event_ends_the_timeout(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("thanks", timing=TIMEOUT | {"delay_amount": 5, "delay_unit": "days"}),
        email("reminder"),
    )
    sam = engine.join()
    clock.advance(days=2)
    paid(engine)
    clock.advance(days=2)
    assert engine.tick() == (0,) * 7
    clock.advance(days=3)
    assert engine.tick().queued == 1
    assert engine.executions(sam.id)[0].reason == "event"


def test_an_event_after_the_timeout_sends_nothing(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TIMEOUT), email("later", timing=after(9, "days")))
    sam = engine.join()
    clock.advance(days=3)
    engine.tick()
    before = engine.executions(sam.id)
    paid(engine)
    assert engine.executions(sam.id) == before


def test_an_event_before_anyone_saw_the_timeout_still_wakes(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TIMEOUT))
    engine.join()
    clock.advance(days=4)
    paid(engine)
    assert len(engine.deliver()) == 1


def test_an_event_while_paused_is_remembered(engine: Engine, clock: Clock) -> None:
    engine.author(waiting())
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    paid(engine)
    clock.advance(days=1)
    assert engine.deliver() == []
    assert engine.ledger() == []
    engine.resume_enrollment(TENANT, sam.id)
    assert len(engine.deliver()) == 1


def test_what_remains_of_a_delay_is_waited_after_the_resume(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TWO_DAYS_LATER))
    sam = engine.join()
    paid(engine)
    clock.advance(days=1)
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=10)
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=1)


@pytest.mark.parametrize("timing", [PAID, TIMEOUT])
def test_a_resume_sends_no_step_whose_event_has_not_come(
    engine: Engine, clock: Clock, timing: dict[str, Any]
) -> None:
    engine.author(email("thanks", timing=timing))
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=1)
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.deliver() == []
    execution = engine.last(sam.id)
    assert execution.awaited_event == "paid"
    expected = clock.now + timedelta(days=3) if "timeout" in timing else None
    assert execution.due_at == expected
    paid(engine)
    assert len(engine.deliver()) == 1


def test_a_wait_ends_with_its_enrolment(engine: Engine) -> None:
    engine.author(waiting())
    sam = engine.join()
    engine.unenroll(TENANT, sam.id)
    execution = engine.last(sam.id)
    assert (execution.state, execution.awaited_event) == ("cancelled", None)


def test_explain_says_what_is_waited_for(engine: Engine, clock: Clock) -> None:
    engine.author(email("thanks", timing=TIMEOUT))
    sam = engine.join()
    (shut,) = [gate for gate in engine.explain(TENANT, sam.id) if not gate.open]
    assert (shut.gate, shut.reason, shut.detail) == ("event", "waiting_for_event", "paid")
    assert (shut.next_action, shut.next_at) == ("wait", clock.now + timedelta(days=3))


def test_a_late_answer_of_a_hook_does_not_hurry_a_step_whose_event_came_meanwhile(
    engine: Engine, clock: Clock
) -> None:
    engine.author(
        email(
            "thanks",
            timing=TWO_DAYS_LATER | {"timeout": "3 days"},
            conditions=[{"hook": "score", "expected_value": 1}],
        ),
        hooks=[{"key": "score", "url": "https://crm.example.com"}],
    )
    sam = engine.join()
    clock.advance(days=3)
    assert engine.tick().asked == 1
    (claim,) = engine.claim_hooks()
    paid(engine)
    due_at = engine.last(sam.id).due_at
    engine.complete_hooks(
        [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "values": {"score": {"value": 1}},
            }
        ]
    )
    assert engine.last(sam.id).due_at == due_at == clock.now + timedelta(days=2)


def test_a_timeout_may_lead_back(engine: Engine, clock: Clock) -> None:
    engine.author(email("reminder"), email("thanks", timing=BACK_ON_TIMEOUT))
    sam = engine.join()
    engine.deliver()
    clock.advance(days=1)
    engine.tick()
    engine.deliver()
    assert [(x.step, x.occurrence, x.state) for x in engine.executions(sam.id)] == [
        ("reminder", 0, "sent"),
        ("thanks", 0, "skipped"),
        ("reminder", 1, "sent"),
        ("thanks", 1, "scheduled"),
    ]


def test_timeouts_that_lead_back_for_ever_reach_the_hop_limit(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("reminder"), email("thanks", timing=BACK_ON_TIMEOUT), config={"hop_limit": 3}
    )
    sam = engine.join()
    for _ in range(3):
        engine.deliver()
        clock.advance(days=1)
        engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "hop_limit"
    assert [x.step for x in engine.executions(sam.id)].count("reminder") == 3
    assert engine.ledger() == []


def test_an_event_in_time_leads_on(engine: Engine, clock: Clock) -> None:
    engine.author(email("reminder"), email("thanks", timing=BACK_ON_TIMEOUT))
    sam = engine.join()
    engine.deliver()
    engine.track_event(TENANT, "paid", enrollment_id=sam.id)
    engine.deliver()
    assert engine.enrollment(sam.id).state == "completed"
