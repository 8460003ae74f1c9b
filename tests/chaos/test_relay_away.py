"""A relay is away for twenty minutes while thousands are due.

The worker's clock runs much faster than the machine's until the relay is asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from dripdrop import Vault
from dripdrop.channels import ChannelSettings
from dripdrop.daemon import Settings, Worker
from tests.chaos.conftest import Senders, Serve
from tests.chaos.relay import Mode, Relay, most_in_any
from tests.conftest import START
from tests.daemon.conftest import KEY

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]

RATE = 40
SECONDS = 8
"""Of the machine's clock, in which the rate is watched once the relay is back."""
AWAY = timedelta(minutes=20)
FAST = 60.0
FASTER = 120.0
"""While nothing leaves."""
REST = timedelta(minutes=15)
"""The longest for which nobody asks."""
LATE = timedelta(seconds=2 * FASTER)
"""A stage looks once in a second of the machine's, and what it finds takes time."""
CONNECTIONS = 8
PATIENCE = 120.0


class Time:
    """A clock that begins at START and can run faster than the machine's."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._start = START
        self._speed = 1.0

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=self._speed * (time.monotonic() - self._began))

    def run(self, speed: float) -> datetime:
        """Go on at a speed; return what time it is."""
        now = self()
        self._start, self._began, self._speed = now, time.monotonic(), speed
        return now


async def until(condition: Callable[[], object]) -> None:
    """Wait beside the worker."""
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("mode", "people"), [("away", 3000), ("closing", 500)])
async def test_a_relay_away_for_twenty_minutes_costs_nobody_anything(
    dsn: str, senders: Senders, serve: Serve[Relay], mode: Mode, people: int
) -> None:
    clock = Time()
    relay = Relay()
    serve(relay)
    engine = senders.engine
    senders.add(relay, rate_limits={"adapter": f"{RATE}/1s"})
    senders.crowd(people)
    settings = Settings(
        reconcile_interval=1.0,
        channels=ChannelSettings(allow_http=True, allow_private=True, timeout=5),
    )
    async with Worker(dsn, settings, vault=lambda: Vault(KEY), clock=clock) as worker:
        run = asyncio.create_task(worker.run())
        await until(lambda: len(relay.receipts) >= 3 * RATE)
        relay.become(mode)
        came, tried = len(relay.receipts), len(relay.connections)
        back = clock.run(FASTER) + AWAY
        await until(lambda: clock() > back)
        tried = len(relay.connections) - tried

        def pause(moment: str) -> float:
            if moment == "greeting":
                clock.run(1)
                relay.pause = lambda moment: 0.0
            return 0.0

        relay.pause = pause
        relay.become("serving")
        await until(lambda: len(relay.receipts) > came)
        assert clock() - back < REST + LATE
        await asyncio.sleep(SECONDS)
        again = relay.times[came:]

        # The rest may go faster; what is not known is presumed after a quarter of an hour.
        clock.run(FAST)
        await until(lambda: set(senders.states()) == {"sent"})
        worker.stop()
        await run

    # The probes of twenty minutes, and a second look at each connection that was lost at work.
    assert tried <= 8 + 2 * CONNECTIONS, relay.connections
    assert relay.repeated() == []
    # The probe was on its way when the clock changed its speed: it left at no time that both know.
    assert most_in_any(again[1:], 1 - 0.1) <= RATE
    assert len(again) >= 0.9 * RATE * (SECONDS - 1)
    rows = engine.rows("select recipient, reason, retry_count from dripdrop.step_executions")
    assert len(rows) == people
    lost = {row.recipient for row in rows} - {each.recipient for each in relay.receipts}
    doubted = {row.recipient for row in rows if row.reason == "presumed_sent"}
    assert lost <= doubted
    assert len(doubted) <= CONNECTIONS
    # Who was cut off within the content has had a try; nobody else has.
    assert {row.recipient for row in rows if row.retry_count} <= doubted
    states = engine.rows("select distinct state from dripdrop.enrollments")
    assert [row.state for row in states] == ["completed"]
    assert engine.ledger() == []
