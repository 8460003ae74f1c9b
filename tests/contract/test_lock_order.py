"""The lock order holds: whatever runs at once, nobody waits in a circle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from dripdrop.errors import DripdropError
from tests.engine import TENANT, Engine, email

PEOPLE = [f"person-{number}" for number in range(6)]
SEQUENCES = ["news", "offers", "onboarding"]
CALLS = 300


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
        return self.get_enrollment(TENANT, self.random.choice(SEQUENCES), "User", self.person()).id

    def enrol_some(self) -> None:
        people = self.random.sample(PEOPLE, 3)
        subscribers = [{"subscriber_id": p, "data": {"email": f"{p}@example.com"}} for p in people]
        self.enroll_many(TENANT, self.random.choice(SEQUENCES), subscribers)

    def render_some(self) -> None:
        claims = self.shuffled(self.claim_renders(visibility=timedelta(0)))
        broken = self.random.random() < 0.1
        words = {"code": "broken"} if broken else {"payload": {"subject": "Hello"}}
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

    def pause_one(self) -> None:
        self.pause_enrollment(TENANT, self.anyone())

    def resume_one(self) -> None:
        self.resume_enrollment(TENANT, self.anyone())

    def end_one(self) -> None:
        self.unenroll(TENANT, self.anyone())

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
        self.connection.execute("delete from dripdrop.suppressions")

    def replay_one(self) -> None:
        failed = self.rows("select id from dripdrop.step_executions where state = 'failed'")
        if failed:
            self.replay(TENANT, self.random.choice(failed).id)

    def reconcile_all(self) -> None:
        self.reconcile(timedelta(0))

    def run(self) -> Counter[str]:
        """Make many calls; count those that were not refused."""
        calls: list[Callable[[], object]] = [
            *[self.tick, self.render_some, self.send_some, self.enrol_some] * 3,
            self.pause_one,
            *[self.resume_one] * 2,
            self.end_one,
            self.suppress_one,
            self.suppress_some,
            self.change_ones_mind,
            self.follow_a_link,
            self.choose_topics,
            self.forgive_all,
            self.replay_one,
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


def test_nobody_waits_in_a_circle(engine: Engine, dsn: str) -> None:
    engine.create_topic(TENANT, "news", "News")
    steps = [email("first"), email("second", config={"topic": "news"}), email("third")]
    for key in SEQUENCES:
        engine.author(*steps, key=key, reentry="after_exit")
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
    assert all(
        done[name]
        for name in (
            "send_some",
            "suppress_one",
            "pause_one",
            "replay_one",
            "change_ones_mind",
            "follow_a_link",
            "choose_topics",
        )
    )
    assert engine.ledger() == []
