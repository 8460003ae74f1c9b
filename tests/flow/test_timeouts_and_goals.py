"""Where a goal is reached, a wait that has timed out at the same moment does not matter."""

from __future__ import annotations

from tests.conftest import Clock
from tests.engine import Engine, email


def test_a_goal_goes_before_a_timeout(engine: Engine, clock: Clock) -> None:
    wait = {"type": "event", "trigger_event": "x", "timeout": "1 day", "on_timeout": "exit"}
    engine.author(
        email("welcome", timing=wait),
        goals=[{"name": "late", "start": "09:00", "end": "10:00", "days": ["tue"]}],
    )
    sam = engine.join()
    clock.advance(days=1)
    engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "late"


def test_a_predicate_that_looks_everywhere_sees_earlier_steps(engine: Engine) -> None:
    anywhere = '$.*.welcome.state == "sent"'
    engine.author(email("welcome"), email("tip", conditions=[{"predicate": anywhere}]))
    sam = engine.join()
    engine.deliver()
    engine.deliver()
    assert engine.last(sam.id).state == "sent"
