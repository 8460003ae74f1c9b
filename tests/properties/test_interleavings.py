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
from functools import partial
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
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

pytestmark = pytest.mark.slow

PEOPLE = ["ada", "bob", "sam"]
STEPS = [
    email("welcome", config={"max_retries": 2}),
    email("tip", timing=after(1, "hours"), config={"on_max_retry": "continue"}),
    email("offer", timing=after(1, "days")),
]
RATED = {"hook": "rating", "operator": ">", "expected_value": 3}
BRANCHES = [
    email("welcome", config={"max_retries": 2}),
    email(
        "purchase",
        timing={
            "type": "event",
            "trigger_event": "bought",
            "since": "enrollment",
            "timeout": "1 day",
            "on_timeout": "nudge",
        },
        transitions=[{"to": "tip", "conditions": [RATED]}, {"to": "nudge"}],
    ),
    email(
        "tip",
        timing=after(1, "hours"),
        conditions=[{"predicate": '$.steps.purchase.state == "sent"'}],
        transitions=[
            {"to": "purchase", "conditions": [{"event": "clicked", "within": "1 day"}]},
            {"to": "nudge"},
        ],
    ),
    email(
        "nudge",
        timing=after(1, "hours"),
        config={"on_max_retry": "continue"},
        conditions=[RATED],
        transitions=[{"to": None}],
    ),
    email("digest", timing={"type": "cron", "cron_expression": "0 10 * * *", "recurring": True}),
    email("thanks", timing={"type": "event", "trigger_event": "clicked", "recurring": True}),
]
RULES = {
    "config": {"hop_limit": 3},
    "reentry": "always",
    "hooks": [{"key": "rating", "url": "https://example.com/rating"}],
    "goals": [{"event": "upgraded"}],
    "exit_when": [{"event": "left", "match": {"for": "good"}}],
}
FATES = {
    "sent": (True, "sent"),
    "retry": (False, "retry"),
    "failed": (False, "failed"),
    "bounced": (False, "bounced"),
    "rate limited": (False, "rate_limited"),
    "its server is away": (False, "unreachable"),
    "its server refuses it": (False, "refused"),
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
events = st.sampled_from(["bought", "bought", "clicked", "clicked", "upgraded", "left"])
endings = st.sampled_from(["commit", "commit", "commit", "stay open", "stay open", "roll back"])


class Worker:
    """Somebody whose transaction stays open between calls."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Begin."""
        self.engine = Engine(connection)
        self.recorded: list[Result] = []
        self.open = False

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
            truncate dripdrop.enrollments, dripdrop.events, dripdrop.message_reports,
              dripdrop.suppressions, pgmq.q_dripdrop_hooks, pgmq.q_dripdrop_render,
              pgmq.q_dripdrop_send_email cascade
        """)
        sender.connection.execute("truncate dripdrop.sender_states, dripdrop.faults")
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

    @rule(
        worker=workers,
        stage=st.sampled_from(["render", "send"]),
        person=people,
        ending=endings,
    )
    def stumble(self, worker: int, stage: str, person: str, ending: str) -> None:
        """A stage of the daemon could not deal with somebody's message."""
        it = self.workers[worker]
        for row in self.sender.rows(
            "select id from dripdrop.step_executions"
            " where enrollment_id = %s and state in ('queued', 'rendered') limit 1",
            self.enrollment_of(person),
        ):
            it.attempt(it.engine.note_fault, row.id, stage, "ZD203", "could not be read")
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def reconcile(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(it.engine.reconcile)
        self.end(worker, ending)

    @rule(worker=workers, ending=endings)
    def record(self, worker: int, ending: str) -> None:
        it = self.workers[worker]
        newest = {r["execution"]: r for r in sorted(self.results, key=lambda r: r["fence"])}
        self.results = list(newest.values())
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
        it.open = ending == "stay open"
        if it.open:
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
                        "stage": "mail_from",
                        "code": "451",
                        "detail": "451 4.3.2 try again later",
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
            "truncate pgmq.q_dripdrop_hooks, pgmq.q_dripdrop_render, pgmq.q_dripdrop_send_email"
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
            # What nobody has looked at for days is held.
            self.sender.release(TENANT, sequence="onboarding")
            self.prepare()
            self.send("sent")
            self.record(0, "commit")
            self.nothing_is_out_of_place()
        assert self.sender.list_active_enrollments(TENANT) == []


class Branches(Journeys):
    """The same over a sequence that waits, asks, branches, jumps back and has steps beside it."""

    @initialize()
    def begin(self) -> None:
        """Everybody has been welcomed and waits."""
        self.go_on()

    @rule()
    def go_on(self) -> None:
        self.prepare()
        self.send("sent")
        self.record(0, "commit")

    @rule(person=people, stop=st.sampled_from(["pause", "unenroll", "upgraded"]))
    def stop_while_sending(self, person: str, stop: str) -> None:
        """The message has left when the stop comes, and is recorded after it."""
        self.prepare()
        self.send("sent")
        if stop == "upgraded":
            self.track(0, person, stop, True, None, "commit")
        else:
            getattr(self, stop)(0, person, "commit")
        self.record(0, "commit")

    @rule(
        worker=workers,
        person=people,
        key=events,
        by_subscriber=st.booleans(),
        event_id=st.sampled_from([None, None, "once"]),
        ending=endings,
    )
    def track(
        self,
        worker: int,
        person: str,
        key: str,
        by_subscriber: bool,
        event_id: str | None,
        ending: str,
    ) -> None:
        it = self.workers[worker]
        whom = (
            {"subscriber_id": person}
            if by_subscriber
            else {"enrollment_id": str(self.enrollment_of(person))}
        )
        event = {"event_key": key, "event_data": {"for": "good"}, "event_id": event_id} | whom
        it.attempt(it.engine.track_events, TENANT, [event])
        self.end(worker, ending)

    @rule(worker=workers, otherwise=st.sampled_from(["resend", "failed"]), ending=endings)
    def resolve(self, worker: int, otherwise: str, ending: str) -> None:
        """An operator knows what arrived."""
        it = self.workers[worker]
        for row in self.sender.rows(
            "select id, dripdrop.idempotency_key("
            "   enrollment_id, step_id, occurrence, attempt_window"
            " ) as key"
            " from dripdrop.step_executions where state = 'unknown' limit 1"
        ):
            outcome = "sent" if row.key in self.arrived else otherwise
            it.attempt(it.engine.resolve, TENANT, row.id, outcome)
        self.end(worker, ending)

    @rule(
        worker=workers,
        answer=st.sampled_from(
            [
                {"value": 5},
                {"value": 5},
                {"value": 1},
                {"error": "hook_timeout"},
                {"error": "http_404"},
            ]
        ),
        ending=endings,
    )
    def answer(self, worker: int, answer: Result, ending: str) -> None:
        it = self.workers[worker]
        it.attempt(self.ask, it.engine, answer)
        self.end(worker, ending)

    def ask(self, engine: Engine, answer: Result) -> None:
        engine.complete_hooks(
            [
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    "values": {claim.key: answer},
                }
                for claim in engine.claim_hooks()
            ]
        )

    @rule()
    def prepare(self) -> None:
        for stage in (
            self.sender.tick,
            lambda: self.ask(self.sender, {"value": 5}),
            self.sender.tick,
            self.sender.render,
        ):
            with suppress(LockNotAvailable):
                stage()

    @invariant()
    def there_is_one_way_to_go(self) -> None:
        assert not self.sender.rows("""
            select x.enrollment_id
            from dripdrop.step_executions as x
            join dripdrop.steps as s on s.id = x.step_id
            where x.ended_at is null and (s.key = 'digest' or not s.recurring)
            group by x.enrollment_id, case when s.recurring then s.id end
            having count(*) > 1
        """), "two messages to come on one way"

    @invariant()
    def schedules_go_on(self) -> None:
        assert not self.sender.rows("""
            select e.id
            from dripdrop.enrollments as e
            join dripdrop.steps as s on s.sequence_version_id = e.sequence_version_id
            where e.state = 'active' and s.key = 'digest'
              and not exists (
                select from dripdrop.step_executions as x
                where x.enrollment_id = e.id and x.step_id = s.id and x.ended_at is null
              )
        """), "a schedule that has stopped"

    @invariant()
    def what_has_come_is_waited_for_no_longer(self) -> None:
        assert not self.sender.rows("""
            select from dripdrop.step_executions as x
            where x.event_id is not null
              and (x.awaited_event is not null or x.reason = 'event_timeout')
        """)

    @invariant()
    def an_event_sets_off_a_step_once(self) -> None:
        assert not self.sender.rows("""
            select x.enrollment_id
            from dripdrop.step_executions as x
            join dripdrop.steps as s on s.id = x.step_id
            where s.key = 'thanks'
            group by x.enrollment_id, x.event_id
            having count(*) > 1
        """)


@pytest.fixture
def play(engine: Engine, dsn: str, clock: Clock) -> Iterator[Callable[..., None]]:
    """Return a function that plays a machine many times over, on the same connections."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                psycopg.connect(dsn, row_factory=namedtuple_row, options="-c lock_timeout=20ms")
            )
            for _ in range(2)
        ]
        clock.connections = (*clock.connections, *connections)
        clock.set(clock.now)
        engine.connection.execute("set lock_timeout = '20ms'")
        for connection in connections:
            connection.commit()

        def play(machine: type[Journeys], max_examples: int) -> None:
            workers = [Worker(connection) for connection in connections]
            begin: Any = partial(machine, engine, workers, clock)
            run_state_machine_as_test(
                begin,
                settings=settings(
                    max_examples=max_examples,
                    stateful_step_count=50,
                    phases=[Phase.reuse, Phase.generate, Phase.shrink],
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow],
                ),
            )

        yield play
        clock.connections = clock.connections[:1]


def test_nothing_is_lost_sent_twice_or_sent_after_a_stop(engine: Engine, play: Any) -> None:
    engine.author(*STEPS)
    play(Journeys, max_examples=8)


def test_branches_events_and_side_steps_change_none_of_it(engine: Engine, play: Any) -> None:
    engine.author(*BRANCHES, **RULES)
    play(Branches, max_examples=20)
