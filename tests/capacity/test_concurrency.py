"""Several ticks and claimers at once: limits are kept, used, and reach everybody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.capacity.conftest import Sender, most_in_any
from tests.conftest import Clock
from tests.engine import Engine

WORKERS = 3
STEP = timedelta(seconds=10)


@pytest.fixture
def workers(dsn: str, clock: Clock) -> Iterator[list[Engine]]:
    """Engines on connections of their own, under the test's clock."""
    connections: list[psycopg.Connection[Any]] = [
        psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) for _ in range(WORKERS)
    ]
    clock.connections = (*clock.connections, *connections)
    clock.set(clock.now)
    yield [Engine(connection) for connection in connections]
    for connection in connections:
        connection.close()


def work(engine: Engine, chance: random.Random) -> None:
    """Do one worker's round: a tick, some rendering, a claim and its outcome."""
    engine.tick(chance.randint(5, 50))
    engine.render()
    claims = engine.claim_sends("email", chance.randint(1, 30))
    engine.record(claims)


@pytest.mark.parametrize("seed", range(4))
def test_no_limit_is_exceeded_none_is_left_unused_and_nobody_starves(
    sender: Sender, workers: list[Engine], seed: int
) -> None:
    chance = random.Random(seed)
    rate = chance.randint(1, 12)
    gap = chance.choice([0, 0, 10, 20])
    cap = chance.choice([None, 40])
    sender.limit(rate_limits={"adapter": f"{rate}/m"}, min_gap_seconds=gap, daily_cap=cap)
    sender.sequence("news")
    people = 60
    sender.crowd(people // 2)
    rounds = 0
    started = sender.clock.now
    with ThreadPoolExecutor(WORKERS) as pool:
        while rounds < 90:
            list(pool.map(work, workers, [random.Random(chance.random()) for _ in workers]))
            rounds += 1
            if rounds == 5:
                sender.crowd(people // 2, sequence="news", domain="example.org")
            sender.clock.advance(STEP)
    sent = sender.engine.rows(
        "select x.claimed_at, q.key from dripdrop.step_executions as x"
        " join dripdrop.enrollments as e on e.id = x.enrollment_id"
        " join dripdrop.sequences as q on q.id = e.sequence_id where x.state = 'sent'"
    )
    times = [row.claimed_at for row in sent]
    assert most_in_any(timedelta(minutes=1), times) <= rate
    if gap:
        assert most_in_any(timedelta(seconds=gap), times) <= 1
    assert len(times) <= (cap or people)
    # What a fifteen-minute run could send at all, less a minute to begin and to change over.
    minutes = (sender.clock.now - started) / timedelta(minutes=1) - 1
    pace = min(rate, 60 / gap if gap else rate)
    assert len(times) >= min(people, cap or people, int(minutes * pace * 0.8))
    late = [row for row in sent if row.key == "news"]
    assert late or len(times) < rate
    assert sender.engine.ledger() == []
