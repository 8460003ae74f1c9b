"""Stops that commit around a claim, and messages that come too late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

SWITCHES: dict[LiteralString, tuple[str, str]] = {
    "update dripdrop.sequences set active = false": ("cancelled", "sequence_inactive"),
    "update dripdrop.steps set active = false": ("skipped", "step_inactive"),
    "update dripdrop.channel_adapters set active = false": ("scheduled", "no_adapter"),
}
"""What is switched off, and what then becomes of a message that was about to leave."""


@pytest.mark.slow
@pytest.mark.parametrize(("switch_off", "outcome"), SWITCHES.items())
def test_no_claim_passes_while_something_is_being_switched_off(
    engine: Engine, other: Engine, switch_off: LiteralString, outcome: tuple[str, str]
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with other.connection.transaction():
        other.connection.execute(switch_off)
        assert engine.claim_sends("email") == []
        assert engine.executions(sam.id)[0].state == "rendered"
    assert engine.claim_sends("email") == []
    (execution,) = engine.executions(sam.id)
    assert (execution.state, execution.reason) == outcome


@pytest.mark.slow
@pytest.mark.parametrize("switch_off", SWITCHES)
def test_switching_off_waits_for_a_claim_that_is_under_way(
    engine: Engine, other: Engine, switch_off: LiteralString
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert len(engine.claim_sends("email")) == 1
            switching = pool.submit(other.connection.execute, switch_off)
            engine.wait_until_blocked(other.connection)
        switching.result(20)
    assert engine.executions(sam.id)[0].state == "sending"


@pytest.mark.parametrize("state", ["queued", "rendered"])
def test_a_message_that_grew_stale_in_a_queue_does_not_leave(
    engine: Engine, clock: Clock, state: str
) -> None:
    engine.author(email("welcome", config={"stale_after": "1 hour", "on_stale": "skip"}))
    sam = engine.join()
    engine.bring_to(state, sam.id)
    clock.advance(days=10)
    engine.render()
    assert engine.claim_sends("email") == []
    engine.tick()
    execution = engine.executions(sam.id)[0]
    assert (execution.state, execution.reason) == ("skipped", "stale")


def test_no_message_grows_stale_while_its_server_is_away(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", config={"stale_after": "1 hour", "on_stale": "skip"}))
    sam = engine.join()
    for _ in range(13):
        engine.deliver("auth_error")
        clock.advance(minutes=5)
        engine.tick()
        clock.advance(minutes=15)
    engine.deliver()
    assert engine.executions(sam.id)[0].state == "sent"


def test_a_pause_keeps_what_a_deferred_message_had_still_to_wait(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    sam = engine.join()
    engine.deliver("retry", retry_after=600)
    clock.advance(minutes=4)
    engine.pause_enrollment(TENANT, sam.id)
    clock.advance(days=3)
    engine.resume_enrollment(TENANT, sam.id)
    due_at = engine.executions(sam.id)[0].due_at
    assert (due_at - clock.now).total_seconds() == 360
