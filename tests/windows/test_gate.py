"""What happens to messages that come due outside their send window."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

DAYTIME = {"start": "08:00", "end": "21:00"}


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Return a time in March 2026."""
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def windowed(engine: Engine, window: Any = DAYTIME, **config: Any) -> None:
    """Author a welcome that keeps to a window."""
    engine.author(email("welcome", config={"send_window": window} | config))


def test_a_message_waits_for_its_window_and_leaves_when_it_opens(
    engine: Engine, clock: Clock
) -> None:
    windowed(engine)
    clock.set(at(2, 22))
    sam = engine.join()
    assert engine.tick().deferred == 1
    execution = engine.last(sam.id)
    assert (execution.state, execution.reason, execution.due_at) == (
        "scheduled",
        "outside_window",
        at(3, 8),
    )
    clock.set(at(3, 7, 59))
    assert engine.deliver() == []
    clock.set(at(3, 8))
    assert len(engine.deliver()) == 1


def test_an_overnight_window_is_open_on_both_sides_of_midnight(
    engine: Engine, clock: Clock
) -> None:
    windowed(engine, {"start": "22:00", "end": "06:30"})
    for day, hour, minute, queued in [(2, 23, 0, 1), (3, 6, 29, 1), (3, 6, 30, 0)]:
        clock.set(at(day, hour, minute))
        sam = engine.join(f"{day}-{hour}-{minute}")
        assert engine.tick().queued == queued
    assert engine.last(sam.id).due_at == at(3, 22)


def test_explain_names_the_window_and_the_opening(engine: Engine, clock: Clock) -> None:
    windowed(engine, DAYTIME | {"days": ["mon", "wed"], "calendar": "de"})
    clock.set(at(2, 22))
    sam = engine.join()
    (gate,) = (g for g in engine.explain(TENANT, sam.id) if not g.open)
    assert (gate.gate, gate.reason, gate.until) == ("window", "outside_window", at(4, 8))
    assert gate.detail == "08:00 to 21:00, mon wed, less the holidays of de, UTC"
    assert (gate.next_action, gate.next_at) == ("defer", at(4, 8))


def test_a_simulation_keeps_to_the_window(engine: Engine, clock: Clock) -> None:
    windowed(engine)
    clock.set(at(2, 22))
    rows = engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(row.at, row.action, row.reason) for row in rows] == [
        (at(2, 22), "defer", "outside_window"),
        (at(3, 8), "send", None),
        (at(3, 8), "completed", "completed"),
    ]


@pytest.mark.parametrize(
    ("data", "step", "hour"),
    [
        ({"time_zone": "America/New_York"}, "Europe/Berlin", 13),
        ({}, "Europe/Berlin", 7),
        ({}, None, 23),
    ],
)
def test_the_window_is_that_of_the_subscribers_clock(
    engine: Engine, clock: Clock, data: dict[str, Any], step: str | None, hour: int
) -> None:
    """New York is five hours behind, Berlin one ahead, Tokyo nine."""
    engine.update_tenant_settings(TENANT, "Asia/Tokyo")
    windowed(engine, **({"time_zone": step} if step else {}))
    clock.set(at(2, 13) if hour == 23 else at(2, 2))
    sam = engine.join(data={"email": "sam@example.com"} | data)
    engine.tick()
    assert engine.last(sam.id).due_at.hour == hour


def test_a_message_that_was_ready_in_time_does_not_leave_after_the_window(
    engine: Engine, clock: Clock
) -> None:
    windowed(engine)
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    clock.set(at(2, 21))
    assert engine.claim_sends("email") == []
    engine.tick()
    assert engine.last(sam.id).due_at == at(3, 8)
    clock.set(at(3, 8))
    assert len(engine.deliver()) == 1


@pytest.mark.usefixtures("dsn")  # a session of its own: calls are counted by session
@pytest.mark.parametrize(("window", "lookups"), [(DAYTIME, 3), (False, 0)])
def test_a_window_is_looked_up_once_per_zone_and_not_where_there_is_none(
    engine: Engine, clock: Clock, window: Any, lookups: int
) -> None:
    windowed(engine, window)
    clock.set(at(2, 22))
    zones = ["Europe/Berlin", "Europe/Paris", "UTC"]
    engine.enroll_many(
        TENANT,
        "onboarding",
        [
            {
                "subscriber_id": str(n),
                "data": {"email": f"{n}@example.com", "time_zone": zones[n % 3]},
            }
            for n in range(60)
        ],
    )
    engine.rows("select set_config('track_functions', 'pl', false)")
    with engine.connection.transaction():
        before = lookups_made(engine)
        engine.tick()
        assert lookups_made(engine) - before == lookups


def lookups_made(engine: Engine) -> int:
    """Return how often this transaction has looked up when a window opens."""
    (calls,) = engine.rows("""
        select coalesce(sum(pg_stat_get_xact_function_calls(oid)), 0) as made
        from pg_proc
        where proname = '_next_window'
    """)
    return int(calls.made)


@pytest.mark.slow
def test_jitter_spreads_an_opening_and_is_the_same_each_time(engine: Engine, clock: Clock) -> None:
    windowed(engine, DAYTIME | {"jitter": "30 minutes"})
    clock.set(at(2, 22))
    people = [engine.join(f"person-{n}") for n in range(50)]
    foreseen = {
        person.id: {gate.next_at for gate in engine.explain(TENANT, person.id)} for person in people
    }
    engine.tick()
    due = {person.id: engine.last(person.id).due_at for person in people}
    assert {key: {value} for key, value in due.items()} == foreseen
    spread = sorted(value - at(3, 8) for value in due.values())
    assert timedelta(0) <= spread[0] < timedelta(minutes=6)
    assert timedelta(minutes=24) < spread[-1] < timedelta(minutes=30)
    assert len(set(spread)) == 50


def test_jitter_never_goes_past_the_end_of_the_window(engine: Engine, clock: Clock) -> None:
    windowed(engine, {"start": "08:00", "end": "08:05", "jitter": "3 hours"})
    people = [engine.join(f"person-{n}") for n in range(50)]
    engine.tick()
    due = [engine.last(person.id).due_at for person in people]
    assert min(due) >= at(3, 8)
    assert at(3, 8, 4) < max(due) < at(3, 8, 5)


def test_the_wait_for_a_window_is_no_lateness(engine: Engine, clock: Clock) -> None:
    windowed(engine, stale_after="1 hour", on_stale="skip")
    clock.set(at(2, 22))
    sam = engine.join()
    engine.tick()
    clock.set(at(3, 9))
    assert len(engine.deliver()) == 1
    assert engine.last(sam.id).state == "sent"


@pytest.mark.parametrize(("minute", "state"), [(0, "queued"), (1, "skipped")])
def test_after_an_outage_lateness_counts_from_the_opening(
    engine: Engine, clock: Clock, minute: int, state: str
) -> None:
    """Nobody ticked at night, and so nobody put it off."""
    windowed(engine, stale_after="1 hour", on_stale="skip")
    clock.set(at(2, 22))
    sam = engine.join()
    clock.set(at(3, 9, minute))
    engine.tick()
    assert engine.last(sam.id).state == state


def test_what_was_late_before_its_window_closed_stays_late(engine: Engine, clock: Clock) -> None:
    windowed(engine, stale_after="1 hour", on_stale="skip")
    clock.set(at(2, 20))
    sam = engine.join()
    clock.set(at(2, 22))
    engine.tick()
    assert engine.last(sam.id).state == "skipped"


def test_a_holiday_that_leaves_no_day_is_no_error_and_is_looked_at_again(
    engine: Engine, clock: Clock
) -> None:
    windowed(engine, {"calendar": "never"})
    first = clock.now.date()
    engine.set_holidays(TENANT, "never", [first + timedelta(days=n) for n in range(1000)])
    sam = engine.join()
    engine.tick()
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=400)


def test_a_holiday_moves_a_message_to_the_next_day(engine: Engine, clock: Clock) -> None:
    engine.set_holidays(None, "de", [date(2026, 3, 3)])
    windowed(engine, DAYTIME | {"calendar": "de"})
    clock.set(at(2, 22))
    sam = engine.join()
    engine.tick()
    assert engine.last(sam.id).due_at == at(4, 8)


def test_a_paused_enrolment_keeps_to_the_window_when_it_is_resumed(
    engine: Engine, clock: Clock
) -> None:
    windowed(engine)
    clock.set(at(2, 22))
    sam = engine.join()
    engine.tick()
    engine.pause_enrollment(TENANT, sam.id)
    clock.set(at(3, 12))
    engine.resume_enrollment(TENANT, sam.id)
    assert engine.last(sam.id).due_at == at(3, 22)
    clock.set(at(3, 22))
    engine.tick()
    assert engine.last(sam.id).due_at == at(4, 8)


def test_a_delay_counts_from_when_the_message_left(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("welcome", config={"send_window": DAYTIME}), email("tip", timing=after(1, "days"))
    )
    clock.set(at(2, 22))
    sam = engine.join()
    engine.tick()
    clock.set(at(3, 8))
    engine.deliver()
    assert engine.last(sam.id).due_at == at(4, 8)
