"""What makes a message late, and what does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

SKIP = {"stale_after": "1 day", "on_stale": "skip"}
HOLD = timedelta(days=3)


@pytest.mark.parametrize(
    ("config", "days", "queued"),
    [
        ({}, 2.9, 1),
        ({}, 3.1, 0),
        ({"kind": "marketing"}, 3.1, 0),
        ({"kind": "transactional"}, 300, 1),
        ({"on_stale": "send"}, 300, 1),
        ({"stale_after": "300 days"}, 299, 1),
        ({"kind": "transactional", "stale_after": "1 day"}, 2, 1),
        ({"kind": "transactional", "on_stale": "skip"}, 3.1, 0),
    ],
)
def test_marketing_that_is_days_old_is_held_unless_its_step_says_otherwise(
    engine: Engine, clock: Clock, config: dict[str, Any], days: float, queued: int
) -> None:
    engine.author(email("welcome", config=config))
    sam = engine.join()
    clock.advance(days=days)
    assert engine.tick().queued == queued
    if not queued:
        state = "skipped" if "on_stale" in config else "scheduled"
        assert (engine.last(sam.id).state, engine.last(sam.id).reason) == (state, "stale")


def test_check_says_what_is_held_and_how_it_goes_on(engine: Engine, clock: Clock) -> None:
    engine.start()
    engine.author()
    engine.join()
    clock.advance(days=4)
    engine.tick()
    (held,) = (row for row in engine.startup_check() if row.problem == "held_as_stale")
    assert "release()" in held.hint
    assert "skip_held()" in held.hint


def test_waiting_for_a_cap_is_no_lateness(engine: Engine, clock: Clock) -> None:
    """Ten a day for forty people, and a day's patience: all of them are sent to."""
    engine.author(email("welcome", config=SKIP))
    adapter = engine.get_default_adapter(TENANT, "email")
    engine.set_adapter_limits(TENANT, adapter.id, daily_cap=10)
    people = [engine.join(f"user{number}") for number in range(40)]
    for _ in range(24 * 5):
        engine.deliver()
        clock.advance(hours=1)
    states = [engine.last(person.id).state for person in people]
    assert states.count("sent") == 40


def test_waiting_for_a_sender_that_rests_is_no_lateness(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config=SKIP))
    adapter = engine.get_default_adapter(TENANT, "email")
    sam = engine.join()
    engine.pause_adapter(TENANT, adapter.id, clock.now + timedelta(days=5))
    engine.tick()
    clock.advance(days=5)
    engine.deliver()
    assert engine.last(sam.id).state == "sent"


def test_after_waiting_it_is_as_late_as_it_was_before(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config=SKIP))
    adapter = engine.get_default_adapter(TENANT, "email")
    sam = engine.join()
    clock.advance(hours=20)
    engine.pause_adapter(TENANT, adapter.id, clock.now + timedelta(days=5))
    engine.tick()
    clock.advance(days=2)
    engine.resume_adapter(TENANT, adapter.id)
    clock.advance(hours=3)
    assert engine.explain(TENANT, sam.id)[0].next_action == "send"
    clock.advance(hours=2)
    assert engine.tick().skipped == 1
    assert engine.last(sam.id).reason == "stale"


def test_waiting_for_the_other_sequence_of_a_group_is_no_lateness(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome", config=SKIP), exclusive_group="offers")
    other = {"key": "other", "name": "Other", "exclusive_group": "offers"}
    engine.apply(
        TENANT,
        other | {"steps": [email("tip", timing="in 30 days"), email("last", timing="in 30 days")]},
    )
    first = engine.enroll(TENANT, "other", "User", "sam", {"email": "sam@example.com"})
    clock.advance(seconds=1)
    sam = engine.join()
    engine.tick()
    assert engine.last(sam.id).waits_for == "rival"
    clock.advance(days=9)
    engine.unenroll(TENANT, first.id)
    engine.deliver()
    assert engine.last(sam.id).state == "sent"
