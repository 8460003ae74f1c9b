"""An event that comes while something else happens to the enrolment: neither is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

PAID = {"type": "event", "trigger_event": "paid"}
SINCE = PAID | {"since": "enrollment"}


def paid(engine: Engine) -> Any:
    return engine.track_event(TENANT, "paid", subscriber_id="sam")


def about_to_wait(engine: Engine, timing: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Bring someone to where the next record plans a step that waits."""
    engine.author(email("welcome"), email("thanks", timing=timing))
    sam = engine.join()
    return sam, engine.claim()


@pytest.mark.parametrize("timing", [PAID, SINCE])
def test_an_event_waits_for_the_plan_and_wakes_the_step(
    engine: Engine, other: Engine, timing: dict[str, Any]
) -> None:
    sam, claims = about_to_wait(engine, timing)
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.record(claims)
            event = pool.submit(paid, other)
            engine.wait_until_blocked(other.connection)
        event_id = event.result(20).id
    execution = engine.last(sam.id)
    assert (execution.awaited_event, execution.event_id) == (None, event_id)


def test_a_plan_is_put_aside_for_the_event_and_finds_it(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    sam, claims = about_to_wait(engine, SINCE)
    with engine.connection.transaction():
        event = paid(engine)
        other.record(claims)
    clock.advance(seconds=1)
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.awaited_event, execution.event_id) == (None, event.id)


def test_a_plan_is_put_aside_for_an_event_that_is_rolled_back_and_then_waits_for_another(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    sam, claims = about_to_wait(engine, SINCE)
    with engine.connection.transaction(force_rollback=True):
        paid(engine)
        other.record(claims)
    clock.advance(seconds=1)
    engine.tick()
    assert engine.last(sam.id).awaited_event == "paid"


def test_an_event_tracked_before_its_enrolment_commits_is_found_later(
    engine: Engine, other: Engine
) -> None:
    engine.author(email("thanks", timing=SINCE))
    with engine.connection.transaction():
        sam = engine.join()
        event = paid(other)
    assert engine.last(sam.id).awaited_event == "paid"
    engine.reconcile()
    execution = engine.last(sam.id)
    assert (execution.awaited_event, execution.event_id) == (None, event.id)


@pytest.mark.parametrize("timing", [PAID, SINCE])
def test_an_event_that_commits_after_an_enrolment_it_did_not_see_is_found_later(
    engine: Engine, other: Engine, timing: dict[str, Any]
) -> None:
    """The calls decide, not the commits: see test_order."""
    engine.author(email("thanks", timing=timing))
    with engine.connection.transaction():
        sam = engine.join()
        with other.connection.transaction():
            event = paid(other)
    engine.reconcile()
    execution = engine.last(sam.id)
    assert (execution.awaited_event, execution.event_id) == (None, event.id)


@pytest.mark.parametrize("since", [PAID, SINCE])
def test_what_a_step_does_not_wait_for_is_not_found_later_either(
    engine: Engine, other: Engine, since: dict[str, Any]
) -> None:
    engine.author(email("thanks", timing=since | {"match": {"plan": "pro"}}))
    with engine.connection.transaction():
        sam = engine.join()
        paid(other)
    engine.reconcile()
    assert engine.last(sam.id).awaited_event == "paid"


def test_a_tick_leaves_alone_a_wait_whose_event_is_being_tracked(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    engine.author(email("thanks", timing=PAID | {"timeout": "3 days"}))
    sam = engine.join()
    clock.advance(days=3)
    with engine.connection.transaction():
        paid(engine)
        assert other.tick() == (0,) * 7
    assert other.tick().queued == 1
    assert engine.last(sam.id).reason == "event"


def test_an_event_waits_for_the_tick_that_times_its_step_out(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    engine.author(
        email("thanks", timing=PAID | {"timeout": "3 days"}), email("reminder", timing=SINCE)
    )
    sam = engine.join()
    clock.advance(days=3)
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            assert engine.tick().skipped == 1
            event = pool.submit(paid, other)
            engine.wait_until_blocked(other.connection)
        event.result(20)
    thanks, reminder = engine.executions(sam.id)
    assert (thanks.state, thanks.reason) == ("skipped", "event_timeout")
    assert reminder.awaited_event is None


def test_a_goal_waits_for_the_fence_and_what_left_is_recorded(
    engine: Engine, other: Engine
) -> None:
    engine.author(email("welcome"), goals=[{"event": "paid"}])
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            claims = engine.claim_sends("email")
            event = pool.submit(paid, other)
            engine.wait_until_blocked(other.connection)
        event.result(20)
    engine.record(claims)
    assert engine.executions(sam.id)[0].state == "sent"
    assert engine.enrollment(sam.id).exit_reason == "goal"
    assert engine.ledger() == []


def test_no_message_passes_the_fence_while_its_goal_is_being_reached(
    engine: Engine, other: Engine
) -> None:
    engine.author(email("welcome"), goals=[{"event": "paid"}])
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with engine.connection.transaction():
        paid(engine)
        assert other.claim_sends("email") == []
    assert other.claim_sends("email") == []
    assert engine.last(sam.id).state == "cancelled"


def test_an_event_and_a_pause_at_once_leave_a_paused_step_that_knows_its_event(
    engine: Engine, other: Engine
) -> None:
    engine.author(email("thanks", timing=PAID))
    sam = engine.join()
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.pause_enrollment(TENANT, sam.id)
            event = pool.submit(paid, other)
            engine.wait_until_blocked(other.connection)
        event.result(20)
    assert engine.ledger() == []
    engine.resume_enrollment(TENANT, sam.id)
    assert len(engine.deliver()) == 1
