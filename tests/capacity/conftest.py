"""A sender with limits, and what leaves through it when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email, onboarding


class Sender:
    """The engine with one sequence, one sender, and a clock to drive them by."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        engine.author(email("welcome"))
        self.id = engine.get_default_adapter(TENANT, "email").id

    def limit(self, **limits: Any) -> None:
        """Set the sender's limits, and no other."""
        self.engine.set_adapter_limits(TENANT, self.id, **limits)

    def crowd(self, count: int, sequence: str = "onboarding", domain: str = "example.com") -> None:
        """Enrol so many people at once."""
        people = [
            {"subscriber_id": f"{domain}{n}", "data": {"email": f"user{n}@{domain}"}}
            for n in range(count)
        ]
        assert len(self.engine.enroll_many(TENANT, sequence, people)) == count

    def sequence(self, key: str, **fields: Any) -> Any:
        """Author another sequence of one message; return its version."""
        return self.engine.apply(TENANT, onboarding(email("welcome"), **fields) | {"key": key})

    def work(self) -> list[Any]:
        """Let everything that may leave now leave; return the claims."""
        gone: list[Any] = []
        while True:
            counts = self.engine.tick()
            self.engine.render()
            claims = self.engine.claim_sends("email", 500)
            self.engine.record(claims)
            gone += claims
            if not any(counts) and not claims:
                return gone

    def run(self, until: timedelta) -> list[datetime]:
        """Go from one moment at which something may happen to the next; return what left when."""
        end = self.clock.now + until
        left: list[datetime] = []
        while self.clock.now < end:
            left += [self.clock.now] * len(self.work())
            self.clock.set(min(self._next_moment(), end))
        return left

    def _next_moment(self) -> datetime:
        """Return when a tick may have something to do, or a message expects to leave."""
        (row,) = self.engine.rows(
            "select min(due_at) as at from dripdrop.step_executions where due_at > dripdrop._now()"
        )
        at = self.clock.now + timedelta(seconds=self.engine.next_due())
        return min(row.at or at, at)

    def waiting(self) -> list[Any]:
        """Return what waits, in the order of its slots."""
        return self.engine.rows(
            "select x.*, q.key as sequence from dripdrop.step_executions as x"
            " join dripdrop.enrollments as e on e.id = x.enrollment_id"
            " join dripdrop.sequences as q on q.id = e.sequence_id"
            " where x.due_at is not null order by x.due_at, x.id"
        )


def most_in_any(window: timedelta, times: Iterable[datetime]) -> int:
    """Return how many of the times lie in the fullest window of this length."""
    ordered = sorted(times)
    return max(
        (sum(start <= each < start + window for each in ordered) for start in ordered), default=0
    )


@pytest.fixture
def sender(engine: Engine, clock: Clock) -> Sender:
    """A sender without limits yet."""
    return Sender(engine, clock)
