"""Four clients at once on the same two hundred people."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from dripdrop.errors import DripdropError
from tests.conftest import Clock
from tests.engine import TENANT, Engine
from tests.properties.test_interleavings import BRANCHES, RULES

pytestmark = pytest.mark.slow

PEOPLE = [f"person-{number}" for number in range(200)]
CLIENTS = 4
ROUNDS = 25


class Client(Engine):
    """One of several who move everybody on, hold them up and let them go."""

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        """Begin with choices of one's own."""
        super().__init__(connection)
        self.random = random.Random(seed)
        self.sent: Counter[str] = Counter()

    def some(self) -> list[Any]:
        """Return some of those who are on their way, in the order in which all lock them."""
        everybody = self.rows("select id from dripdrop.enrollments where state <> 'completed'")
        return sorted(row.id for row in self.random.sample(everybody, min(5, len(everybody))))

    def move(self) -> None:
        self.tick(50)

    def answer(self) -> None:
        self.complete_hooks(
            [
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    "values": {claim.key: {"value": self.random.choice([1, 5])}},
                }
                for claim in self.claim_hooks(50)
            ]
        )

    def send(self) -> None:
        claims = self.claim_sends("email", 50)
        self.sent.update(claim.idempotency_key for claim in claims)
        self.record(claims)

    def bounce(self) -> None:
        self.record(self.claim_sends("email", 5), "bounced", hard=True)

    def track(self) -> None:
        key = self.random.choice(["bought", "clicked", "clicked", "upgraded"])
        events = [{"event_key": key, "subscriber_id": p} for p in self.random.sample(PEOPLE, 10)]
        self.track_events(TENANT, events)

    def pause(self) -> None:
        for enrollment_id in self.some():
            self.pause_enrollment(TENANT, enrollment_id)

    def resume(self) -> None:
        for enrollment_id in self.some():
            self.resume_enrollment(TENANT, enrollment_id)

    def leave(self) -> None:
        self.unenroll(TENANT, self.some()[0])

    def mend(self) -> None:
        self.reconcile()

    def run(self) -> Counter[str]:
        """Make many calls, some of which are refused; return what was sent."""
        calls: list[Callable[[], object]] = [
            *[self.move, self.answer, self.render, self.send, self.track] * 3,
            *[self.bounce, self.pause, self.resume, self.resume, self.leave, self.mend],
        ]
        for _ in range(ROUNDS):
            for call in self.random.sample(calls, len(calls)):
                try:
                    call()
                except DripdropError:
                    continue
        return self.sent


def test_four_clients_at_once_lose_nothing_and_send_nothing_twice(
    engine: Engine, dsn: str, clock: Clock
) -> None:
    engine.author(*BRANCHES, **RULES)
    engine.enroll_many(
        TENANT,
        "onboarding",
        [{"subscriber_id": p, "data": {"email": f"{p}@example.com"}} for p in PEOPLE],
    )

    def run(seed: int) -> Counter[str]:
        options = "-c deadlock_timeout=20ms -c dripdrop.now=" + clock.now.isoformat()
        with psycopg.connect(
            dsn, autocommit=True, row_factory=namedtuple_row, options=options
        ) as connection:
            return Client(connection, seed).run()

    sent: Counter[str] = Counter()
    for _ in range(3):
        with ThreadPoolExecutor(CLIENTS) as pool:
            sent = sum(pool.map(run, range(CLIENTS)), sent)
        assert engine.ledger() == []
        clock.advance(hours=12)
    assert sent and max(sent.values()) == 1
    states = Counter(x.state for x in engine.rows("select state from dripdrop.enrollments"))
    assert states["completed"] and states["cancelled"]
