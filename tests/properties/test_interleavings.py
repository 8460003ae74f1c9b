"""Whatever is called in whatever order, nothing is lost, sent twice, or sent after a stop.

Two people work in transactions that stay open while others go on; a sender claims and commits at
once, as senders do. Where one would wait for the other it gives up, so that one thread can play all
of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.errors import LockNotAvailable
from psycopg.rows import namedtuple_row

from dripdrop.errors import DripdropError, StaleFence
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

PEOPLE = ["ada", "bob", "sam"]
STEPS = [
    email("welcome", config={"max_retries": 2}),
    email("tip", timing=after(1, "hours"), config={"on_max_retry": "continue"}),
    email("offer", timing=after(1, "days")),
]
FATES = {
    "sent": (True, "sent"),
    "retry": (False, "retry"),
    "failed": (False, "failed"),
    "bounced": (False, "bounced"),
    "rate limited": (False, "rate_limited"),
    "released": (False, "released"),
    "reply lost": (True, "maybe_sent"),
    "lost": (False, "maybe_sent"),
    "sent, then the sender died": (True, None),
    "the sender died": (False, None),
}
"""What becomes of a claimed message: whether it arrives, and what is reported."""

Result: TypeAlias = dict[str, Any]

people = st.sampled_from(PEOPLE)
workers = st.sampled_from([0, 1])
endings = st.sampled_from(["commit", "commit", "commit", "stay open", "stay open", "roll back"])


class Worker:
    """Somebody whose transaction stays open between calls."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Begin."""
        self.engine = Engine(connection)
        self.recorded: list[Result] = []

    def attempt(self, call: Callable[..., object], *values: object) -> None:
        """Make a call; undo it, and nothing else, if it is refused or would have to wait."""
        with suppress(DripdropError, LockNotAvailable), self.savepoint():
            call(*values)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what fails, in a transaction that stays open."""
        self.engine.connection.execute("select")
        with self.engine.connection.transaction():
            yield

    @property
    def open(self) -> bool:
        return self.engine.connection.info.transaction_status.name != "IDLE"


class Journeys(RuleBasedStateMachine):
    """Enrolments, two workers and a sender."""

    def __init__(self, sender: Engine, workers: list[Worker], clock: Clock) -> None:
        """Begin with empty tables."""
        super().__init__()
        self.sender = sender
        self.workers = workers
        self.clock = clock
        self.arrived: set[str] = set()
        self.results: list[Result] = []
        sender.connection.execute("""
            truncate dripdrop.enrollments, dripdrop.message_events, dripdrop.suppressions,
              pgmq.q_dripdrop_render, pgmq.q_dripdrop_send_email cascade
        """)
        sender.connection.execute("update dripdrop.channel_adapters set resting_until = null")
        for person in PEOPLE:
            sender.join(person)

    def enrollment_of(self, person: str) -> Any:
        found = self.sender.get_enrollment(TENANT, "onboarding", "User", person)
        return found.id if found else None

    @rule(worker=workers, person=people, ending=endings)
    def enrol(self, worker: int, person: str, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.join, person)
        self.end(worker, ending)

    @rule(worker=workers, person=people, ending=endings)
    def pause(self, worker: int, person: str, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.pause_enrollment, TENANT, self.enrollment_of(person))
        self.end(worker, ending)

    @rule(worker=workers, person=people, ending=endings)
    def resume(self, worker: int, person: str, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.resume_enrollment, TENANT, self.enrollment_of(person))
        self.end(worker, ending)

    @rule(worker=workers, person=people, ending=endings)
    def unenroll(self, worker: int, person: str, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.unenroll, TENANT, self.enrollment_of(person))
        self.end(worker, ending)

    @rule(worker=workers, person=people, ending=endings)
    def suppress(self, worker: int, person: str, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.suppress, TENANT, "email", f"{person}@example.com")
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def replay(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        for row in self.sender.rows(
            "select id from dripdrop.step_executions where state = 'failed' limit 1"
        ):
            it.attempt(it.engine.replay, TENANT, row.id)
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def tick(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.tick)
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def render(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.render)
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def reconcile(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.reconcile)
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def record(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        try:
            with it.savepoint():
                it.engine.complete_sends(self.results)
        except StaleFence as error:
            stale = json.loads(error.diag.message_detail or "")
            self.results = [r for r in self.results if r["execution"] not in stale]
        except LockNotAvailable:
            pass
        else:
            it.recorded += self.results
            self.results = []
        self.end(worker, ending)

    @rule(worker=workers, ending=st.sampled_from(["commit", "roll back"]))
    def end(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        if ending == "stay open":
            return
        if ending == "commit":
            it.engine.connection.commit()
        else:
            it.engine.connection.rollback()
            self.results += it.recorded
        it.recorded = []

    @rule()
    def prepare(self) -> None:
        self.sender.tick()
        self.sender.render()

    @rule(fate=st.sampled_from(sorted(FATES)))
    def send(self, fate: str) -> None:
        arrives, outcome = FATES[fate]
        for claim in self.sender.claim_sends("email"):
            (stop,) = self.sender.rows(
                """
                select e.state, p.id is not null as suppressed
                from dripdrop.step_executions as x
                join dripdrop.enrollments as e on e.id = x.enrollment_id
                left join dripdrop.suppressions as p on p.recipient_normalized = x.recipient
                where x.id = %s
                """,
                claim.execution_id,
            )
            assert stop == ("active", False), "sent after a stop"
            assert claim.idempotency_key not in self.arrived, "sent twice"
            if arrives:
                self.arrived.add(claim.idempotency_key)
            if outcome is not None:
                self.results.append(
                    {
                        "execution": str(claim.execution_id),
                        "fence": claim.fence,
                        "outcome": outcome,
                        "hard": True,
                    }
                )

    @precondition(lambda self: not any(worker.open for worker in self.workers))
    @rule(hours=st.sampled_from([0.02, 1, 24]))
    def wait(self, hours: float) -> None:
        self.clock.advance(timedelta(hours=hours))
        for worker in self.workers:
            worker.engine.connection.commit()
        self.sender.reconcile()

    @precondition(lambda self: not any(worker.open for worker in self.workers))
    @rule()
    def lose_the_queues(self) -> None:
        self.sender.connection.execute(
            "truncate pgmq.q_dripdrop_render, pgmq.q_dripdrop_send_email"
        )
        self.sender.reconcile()

    @invariant()
    def nothing_is_out_of_place(self) -> None:
        assert self.sender.ledger() == []

    def teardown(self) -> None:
        """Drive everything to its end."""
        self.end(0, "roll back")
        self.end(1, "roll back")
        for _ in range(12):
            for person in PEOPLE:
                found = self.sender.get_enrollment(TENANT, "onboarding", "User", person)
                if found and found.state == "paused":
                    self.sender.resume_enrollment(TENANT, found.id)
            self.wait(24)
            self.prepare()
            self.send("sent")
            self.record(0, "commit")
            self.nothing_is_out_of_place()
        assert self.sender.list_active_enrollments(TENANT) == []


@pytest.fixture
def machine(engine: Engine, dsn: str, clock: Clock) -> Iterator[Callable[[], Journeys]]:
    """Return a function that begins anew, on the same connections."""
    engine.author(*STEPS)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                psycopg.connect(dsn, row_factory=namedtuple_row, options="-c lock_timeout=20ms")
            )
            for _ in range(2)
        ]
        clock.connections = (*clock.connections, *connections)
        clock.set(clock.now)
        for connection in connections:
            connection.commit()
        yield lambda: Journeys(engine, [Worker(connection) for connection in connections], clock)
        clock.connections = clock.connections[:1]


def test_nothing_is_lost_sent_twice_or_sent_after_a_stop(machine: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
