"""A wait that ends without its event may lead back to a step that was there before."""

from __future__ import annotations

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

WAIT = {"type": "event", "trigger_event": "replied", "timeout": "1 day", "on_timeout": "reminder"}


def test_a_timeout_may_lead_back(engine: Engine, clock: Clock) -> None:
    engine.author(email("reminder"), email("thanks", timing=WAIT))
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
    engine.author(email("reminder"), email("thanks", timing=WAIT), config={"hop_limit": 3})
    sam = engine.join()
    for _ in range(3):
        engine.deliver()
        clock.advance(days=1)
        engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "hop_limit"
    assert [x.step for x in engine.executions(sam.id)].count("reminder") == 3
    assert engine.ledger() == []


def test_an_event_in_time_leads_on(engine: Engine, clock: Clock) -> None:
    engine.author(email("reminder"), email("thanks", timing=WAIT))
    sam = engine.join()
    engine.deliver()
    engine.track_event(TENANT, "replied", enrollment_id=sam.id)
    engine.deliver()
    assert engine.enrollment(sam.id).state == "completed"
