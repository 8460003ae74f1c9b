"""The lock order holds: whatever runs at once, nobody waits in a circle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from dripdrop.errors import DripdropError
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email, onboarding

PEOPLE = [f"person-{number}" for number in range(6)]
SEQUENCES = ["news", "offers", "onboarding"]
CALLS = 150
CALLED = [
    *["send_some", "suppress_one", "pause_one", "replay_one", "answer_some", "track_one"],
    *["track_some", "simulate_one", "forecast_one", "publish_one", "edit_one", "configure"],
    *["change_ones_mind", "switch_off", "switch_on", "follow_a_link", "choose_topics"],
    *["correct_one", "forget_one"],
]


def document(key: str, name: str) -> dict[str, Any]:
    """Return a sequence with steps that wait, ask and stand beside the others."""
    asked = {"hook": "rating", "operator": ">", "expected_value": 3}
    return onboarding(
        email("first", name=name),
        email("second", conditions=[asked], config={"topic": "news"}),
        email("third", transitions=[{"to": None, "conditions": [asked]}, {"to": "fourth"}]),
        email("fourth", timing={"type": "event", "trigger_event": "bought", "timeout": "1 day"}),
        email("thanks", timing={"type": "event", "trigger_event": "clicked", "recurring": True}),
        key=key,
        reentry="after_exit",
        hooks=[{"key": "rating", "url": "https://example.com/rating"}],
        exit_when=[{"event": "left"}],
    )


class Caller(Engine):
    """One of many who call everything, in an order of their own."""

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        """Begin a life of chance."""
        super().__init__(connection)
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()

    def shuffled(self, rows: list[Any]) -> list[Any]:
        return self.random.sample(rows, len(rows))

    def person(self) -> str:
        return self.random.choice(PEOPLE)

    def anyone(self) -> Any:
        key = self.random.choice(SEQUENCES)
        enrollment = self.get_enrollment(TENANT, key, "User", self.person())
        return uuid4() if enrollment is None else enrollment.id

    def enrol_some(self) -> None:
        people = self.random.sample(PEOPLE, 3)
        subscribers = [{"subscriber_id": p, "data": {"email": f"{p}@example.com"}} for p in people]
        self.enroll_many(TENANT, self.random.choice(SEQUENCES), subscribers)

    def render_some(self) -> None:
        claims = self.shuffled(self.claim_renders(visibility=timedelta(0)))
        broken = self.random.random() < 0.1
        words = {"code": "broken"} if broken else {"payload": {"subject": "Hello", "text": "Hello"}}
        self.complete_renders(
            [
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    **words,
                }
                for claim in claims
            ]
        )

    def send_some(self) -> None:
        claims = self.shuffled(self.claim_sends("email", batch_size=20))
        outcomes = ["sent", "released", "bounced", "failed", "maybe_sent"]
        self.record(claims, self.random.choice(outcomes), hard=True)

    def answer_some(self) -> None:
        """Claims by key: each key of an execution is an answer of its own."""
        self.complete_hooks(
            [
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    "values": {claim.key: {"value": self.random.choice([1, 5])}},
                }
                for claim in self.shuffled(self.claim_hooks(visibility=timedelta(0)))
            ]
        )

    def track_one(self) -> None:
        whom = self.random.choice(
            [{"subscriber_id": self.person()}, {"enrollment_id": self.anyone()}]
        )
        self.track_event(TENANT, self.random.choice(["clicked", "bought"]), **whom)

    def track_some(self) -> None:
        self.track_events(
            TENANT,
            [
                {
                    "event_key": self.random.choice(["clicked", "bought", "left"]),
                    "subscriber_id": person,
                    "event_id": self.random.choice([None, f"{person}-{self.random.random():.2}"]),
                }
                for person in self.random.sample(PEOPLE, 4)
            ],
        )

    def simulate_one(self) -> None:
        self.simulate(
            TENANT, self.random.choice(SEQUENCES), {"email": "a@example.com"}, timedelta(days=1)
        )

    def forecast_one(self) -> None:
        self.forecast(TENANT, self.random.choice(SEQUENCES), timedelta(days=1))

    def active_version(self, key: str) -> Any:
        (sequence,) = self.rows("select id from dripdrop.sequences where key = %s", key)
        return self.get_active_sequence_version(TENANT, sequence.id)

    def publish_one(self) -> None:
        """A new version, or a former one again, and everybody on it."""
        key = self.random.choice(SEQUENCES)
        before = self.active_version(key).version
        name = self.random.choice(["old", "new"])
        version = self.apply(TENANT, document(key, name)).version
        if version != before:
            self.migrate_enrollments(TENANT, key, before, version)

    def edit_one(self) -> None:
        version = self.active_version(self.random.choice(SEQUENCES))
        (step, *_) = self.rows(
            "select id from dripdrop.steps where sequence_version_id = %s order by random()",
            version.id,
        )
        self.update_step_content(TENANT, step.id, {"subject": "Hi", "text": "Hi"})

    def configure(self) -> None:
        self.random.choice(
            [
                lambda: self.update_tenant_settings(TENANT, "Europe/Berlin"),
                lambda: self.set_holidays(TENANT, "default", []),
                lambda: self.update_channel_adapter(
                    TENANT, self.get_default_adapter(TENANT, "email").id, config={}
                ),
                lambda: self.update_http_hook(TENANT, self.hook(), timeout_ms=1000),
                self.swap_exit_rule,
            ]
        )()

    def hook(self) -> Any:
        return self.random.choice(self.rows("select id from dripdrop.http_hooks")).id

    def swap_exit_rule(self) -> None:
        sequence = self.random.choice(self.rows("select id from dripdrop.sequences"))
        rule = self.create_exit_rule(TENANT, sequence.id, "goal", {"event": "converted"})
        self.drop_exit_rule(TENANT, rule.id)

    def pause_one(self) -> None:
        self.pause_enrollment(TENANT, self.anyone())

    def resume_one(self) -> None:
        self.resume_enrollment(TENANT, self.anyone())

    def end_one(self) -> None:
        self.unenroll(TENANT, self.anyone())

    def correct_one(self) -> None:
        note = {"note": self.random.random()}
        self.update_enrollment(TENANT, self.anyone(), note)
        self.update_subscriber(TENANT, "User", self.person(), note)

    def forget_one(self) -> None:
        self.unenroll_subscriber(TENANT, "User", self.person())
        self.erase_subscriber(TENANT, "User", self.person())

    def suppress_one(self) -> None:
        scope = self.random.choice([TENANT, None])
        self.suppress(scope, "email", f"{self.person()}@example.com")

    def suppress_some(self) -> None:
        people = self.random.sample(PEOPLE, 3)
        addresses = [*(f"{person}@example.com" for person in people), "@example.org"]
        self.suppress_many(TENANT, [{"channel": "email", "recipient": a} for a in addresses])

    def change_ones_mind(self) -> None:
        state = self.random.choice(["subscribed", "unsubscribed"])
        self.set_subscription(TENANT, "User", self.person(), "news", state, "test")

    def written(self) -> list[Any]:
        query = "select id from dripdrop.step_executions where recipient is not null"
        return self.shuffled(self.rows(query))[:1]

    def follow_a_link(self) -> None:
        for message in self.written():
            self.unsubscribe(TENANT, message.id, everything=self.random.random() < 0.5)

    def choose_topics(self) -> None:
        for message in self.written():
            self.update_subscriptions(TENANT, message.id, {"news": self.random.random() < 0.5})

    def forgive_all(self) -> None:
        self.connection.execute(
            "delete from dripdrop.suppressions where id in ("
            " select id from dripdrop.suppressions order by id for update)"
        )

    def replay_one(self) -> None:
        failed = self.rows("select id from dripdrop.step_executions where state = 'failed'")
        if failed:
            self.replay(TENANT, self.random.choice(failed).id)

    def switch_off(self) -> None:
        self.pause_sending(TENANT, "sequence", self.random.choice(SEQUENCES))

    def switch_on(self) -> None:
        for key in SEQUENCES:
            self.resume_sending(TENANT, "sequence", key)

    def reconcile_all(self) -> None:
        self.reconcile(timedelta(0))

    def run(self) -> Counter[str]:
        """Make many calls; count those that were not refused."""
        calls: list[Callable[[], object]] = [
            *[self.tick, self.render_some, self.send_some, self.enrol_some, self.answer_some] * 3,
            *[self.track_one, self.track_some] * 2,
            self.simulate_one,
            self.forecast_one,
            self.publish_one,
            self.edit_one,
            self.configure,
            self.pause_one,
            *[self.resume_one] * 2,
            self.end_one,
            self.correct_one,
            self.forget_one,
            self.suppress_one,
            self.suppress_some,
            self.change_ones_mind,
            self.follow_a_link,
            self.choose_topics,
            self.forgive_all,
            self.replay_one,
            self.switch_off,
            *[self.switch_on] * 2,
            self.reconcile_all,
        ]
        for _ in range(CALLS):
            call = self.random.choice(calls)
            try:
                call()
                self.done[call.__name__] += 1
            except DripdropError:
                self.done["refused"] += 1
        return self.done


@pytest.mark.slow
def test_nobody_waits_in_a_circle(engine: Engine, dsn: str) -> None:
    engine.create_topic(TENANT, "news", "News")
    for key in SEQUENCES:
        engine.author(**document(key, "old"))
        for person in PEOPLE:
            engine.enroll(TENANT, key, "User", person, {"email": f"{person}@example.com"})

    def call(seed: int) -> Counter[str]:
        options = "-c deadlock_timeout=20ms"
        with psycopg.connect(
            dsn, autocommit=True, row_factory=namedtuple_row, options=options
        ) as connection:
            return Caller(connection, seed).run()

    with ThreadPoolExecutor(6) as pool:
        done = sum(pool.map(call, range(6)), Counter())
    assert all(done[name] for name in CALLED), done
    assert engine.ledger() == []


@pytest.mark.parametrize("stop", ["pause_enrollment", "unenroll", "track_event"])
def test_a_stop_and_a_renderer_do_not_wait_for_each_other(
    engine: Engine, other: Engine, dsn: str, stop: str
) -> None:
    """The renderer comes to the executions in the order of their ids, a stop in another one."""
    engine.author(
        email("thanks", timing={"type": "event", "trigger_event": "clicked", "recurring": True}),
        email("welcome"),
        exit_when=[{"event": "left"}],
    )
    sam = engine.join()
    engine.track_event(TENANT, "clicked", enrollment_id=sam.id)
    engine.tick()
    renders = [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "payload": {"subject": "Hello", "text": "Hello"},
        }
        for claim in engine.claim_renders()
    ]
    stops = {"track_event": lambda: other.track_event(TENANT, "left", enrollment_id=sam.id)}
    with (
        psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection,
        ThreadPoolExecutor(2) as pool,
    ):
        with engine.connection.transaction():
            engine.rows(
                "select from dripdrop.step_executions where id = %s for update",
                engine.last(sam.id).id,
            )
            stopping = pool.submit(stops.get(stop, lambda: getattr(other, stop)(TENANT, sam.id)))
            engine.wait_until_blocked(other.connection)
            rendering = pool.submit(Engine(connection).complete_renders, renders)
            with suppress(TimeoutError):
                rendering.result(timeout=1)
        stopping.result()
        rendering.result()
    engine.reconcile()
    assert engine.ledger() == []


@pytest.mark.slow
def test_a_forecast_waits_for_nobody_and_keeps_no_sender_waiting(
    engine: Engine, other: Engine
) -> None:
    engine.author(email("welcome"), email("tip"))
    sam = engine.join()
    bob = engine.join("bob")
    engine.tick()
    other.connection.execute("set lock_timeout = '1s'")
    with engine.connection.transaction():
        engine.rows("select from dripdrop.channel_adapters for no key update")
        engine.rows(
            "select from dripdrop.step_executions where enrollment_id = %s for update", sam.id
        )
        engine.rows("select from dripdrop.enrollments where id = %s for no key update", sam.id)
        assert [(row.step_key, row.messages) for row in other.forecast(TENANT, "onboarding")] == [
            ("tip", 1),
            ("welcome", 1),
        ]
    assert engine.enrollment(bob.id).state == "active"


@pytest.mark.slow
def test_ending_many_locks_their_messages_in_order(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    engine.author(email("first"), email("second"), goals=[{"event": "bought"}])
    early = engine.join("early")
    claims = engine.claim()
    start = clock.now
    clock.advance(minutes=1)
    late = engine.join("late")
    clock.set(start)
    engine.record(claims)
    engine.tick()
    clock.advance(minutes=1)
    engine.tick()
    first, last = engine.last(late.id).id, engine.last(early.id).id
    assert early.id < late.id and first < last
    lock = b"select from dripdrop.step_executions where id = %s for update nowait"

    events = [{"event_key": "bought", "subscriber_id": name} for name in ("early", "late")]
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.connection.execute(lock, [first])
            tracking = pool.submit(other.track_events, TENANT, events)
            engine.wait_until_blocked(other.connection)
            engine.connection.execute(lock, [last])
        tracking.result()
    assert [engine.enrollment(e.id).state for e in (early, late)] == ["completed", "completed"]
