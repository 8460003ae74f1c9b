"""How often one person hears from us, and from which sequence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dripdrop.errors import DripdropError, InvalidArgument, TopicNotFound, UnknownProvider
from tests.capacity.conftest import Sender
from tests.engine import TENANT, Engine, email, onboarding

WEEK = timedelta(days=7)


def test_a_cap_holds_over_all_sequences(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 2, WEEK)
    for key in ("news", "offers"):
        sender.sequence(key)
        sender.crowd(1, sequence=key)
    sender.crowd(1)
    assert len(sender.work()) == 2
    (waiting,) = sender.waiting()
    assert (waiting.reason, waiting.due_at) == ("frequency_cap", sender.clock.now + WEEK)
    sender.clock.set(waiting.due_at)
    assert len(sender.work()) == 1


def test_a_cap_is_each_persons_own(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    sender.crowd(3)
    assert len(sender.work()) == 3


def test_what_is_transactional_passes_a_cap_for_marketing(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    engine.author(
        email("receipt", config={"kind": "transactional"}),
        email("invoice", config={"kind": "transactional"}),
        email("offer"),
        email("another"),
    )
    engine.join()
    assert len(sender.work()) == 3
    assert sender.waiting()[0].reason == "frequency_cap"


def test_a_cap_for_all_counts_what_is_transactional(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK, kind="all")
    engine.author(email("receipt", config={"kind": "transactional"}), email("offer"))
    engine.join()
    assert len(sender.work()) == 1


def test_a_cap_of_a_channel_counts_that_channel_only(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK, channel="email")
    hook = {"key": "hook", "channel": "webhook", "template": {"url": "https://example.com/"}}
    engine.author(hook, email("welcome"), email("tip"))
    engine.join()
    engine.tick()
    engine.render()
    engine.record(engine.claim_sends("webhook"))
    assert len(sender.work()) == 1
    assert sender.waiting()[0].reason == "frequency_cap"


def test_a_cap_of_a_topic_counts_that_topic_only(engine: Engine, sender: Sender) -> None:
    engine.create_topic(TENANT, "news", "News")
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK, topic="news")
    news = {"topic": "news"}
    engine.author(email("welcome"), email("tip"), email("a", config=news), email("b", config=news))
    engine.join()
    assert len(sender.work()) == 3
    assert sender.waiting()[0].reason == "frequency_cap"


def test_a_cap_for_every_tenant_counts_in_each_by_itself(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(None, "weekly", 1, WEEK)
    engine.create_channel_adapter("umbrella", "email", "email", "smtp", is_default=True)
    steps = [email("welcome"), email("tip")]
    for tenant in (TENANT, "umbrella"):
        engine.apply(tenant, onboarding(*steps))
        engine.enroll(tenant, "onboarding", "User", "sam", data={"email": "sam@example.com"})
    assert len(sender.work()) == 2
    assert [each.reason for each in sender.waiting()] == ["frequency_cap"] * 2


def test_a_minimum_distance_is_one_message_per_interval(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "distance", 1, timedelta(hours=4))
    engine.author(email("welcome"), email("tip"), email("offer"))
    engine.join()
    start = sender.clock.now
    left = sender.run(timedelta(days=1))
    assert [at - start for at in left] == [timedelta(hours=n) for n in (0, 4, 8)]


def test_the_higher_priority_takes_the_last_slot(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    sender.crowd(1)
    sender.sequence("urgent", priority=10)
    sender.crowd(1, sequence="urgent")
    sender.work()
    assert [each.sequence for each in sender.waiting()] == ["onboarding"]


@pytest.mark.slow
@pytest.mark.parametrize("at", ["tick", "fence"])
def test_two_sequences_at_once_never_both_take_the_last_slot(
    engine: Engine, other: Engine, sender: Sender, at: str
) -> None:
    def take(engine: Engine) -> int:
        return engine.tick(1).queued if at == "tick" else len(engine.claim_sends("email", 1))

    sender.sequence("news")
    for sequence in ("onboarding", "news"):
        sender.crowd(1, sequence=sequence)
    if at == "fence":
        engine.tick()
        engine.render()
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert take(engine) == 1
            second = pool.submit(take, other)
            engine.wait_until_blocked(other.connection)
        assert second.result(20) == 0
    engine.tick()
    assert [each.reason for each in sender.waiting()] == ["frequency_cap"]


@pytest.mark.parametrize("outcome", ["retry", "rate_limited", "auth_error"])
def test_what_did_not_leave_is_tried_again_before_the_cap_is_over(
    engine: Engine, sender: Sender, outcome: str
) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    engine.join()
    assert len(engine.deliver(outcome)) == 1
    sender.clock.advance(minutes=2)
    assert len(sender.work()) == 1


def test_what_failed_counts_for_no_cap(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    sender.crowd(1)
    assert len(engine.deliver("failed")) == 1
    sender.sequence("news")
    sender.crowd(1, sequence="news")
    assert len(sender.work()) == 1


STOPS = {
    "opt_out": lambda engine, sam: engine.set_subscription(
        TENANT, "User", "sam", "news", "unsubscribed", "page"
    ),
    "unenrol": lambda engine, sam: engine.unenroll(TENANT, sam.id),
    "pause": lambda engine, sam: engine.pause_enrollment(TENANT, sam.id),
}


@pytest.mark.parametrize("stop", STOPS)
def test_what_is_stopped_before_it_leaves_makes_room_for_the_next(
    engine: Engine, sender: Sender, stop: str
) -> None:
    engine.create_topic(TENANT, "news", "News")
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    engine.author(email("welcome", config={"topic": "news"}))
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    sender.sequence("offers")
    engine.enroll(TENANT, "offers", "User", "sam", data={"email": "sam@example.com"})
    assert engine.tick().queued == 0
    STOPS[stop](engine, sam)
    assert engine.claim_sends("email") == []
    engine.tick()
    engine.reconcile()
    assert len(sender.work()) == 1


def test_a_cap_that_is_dropped_holds_no_more(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    assert [cap.key for cap in engine.list_frequency_caps(TENANT)] == ["weekly"]
    engine.drop_frequency_cap(TENANT, "weekly")
    engine.author(email("welcome"), email("tip"))
    engine.join()
    assert len(sender.work()) == 2


@pytest.mark.parametrize("tenant", [TENANT, None])
def test_who_waits_for_a_cap_goes_when_it_is_dropped_or_raised(
    engine: Engine, sender: Sender, tenant: str | None
) -> None:
    engine.set_frequency_cap(tenant, "weekly", 1, WEEK)
    engine.author(email("welcome"), email("tip"), email("offer"))
    engine.join()
    assert len(sender.work()) == 1
    engine.set_frequency_cap(tenant, "weekly", 2, WEEK)
    assert len(sender.work()) == 1
    engine.drop_frequency_cap(tenant, "weekly")
    assert len(sender.work()) == 1


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"key": "Weekly"}, InvalidArgument, "key"),
        ({"max_messages": 0}, InvalidArgument, "max_messages"),
        ({"max_messages": 101}, InvalidArgument, "max_messages"),
        ({"per": timedelta(0)}, InvalidArgument, "per"),
        ({"per": timedelta(days=365 * 1000)}, InvalidArgument, "per"),
        ({"kind": "spam"}, InvalidArgument, "kind"),
        ({"channel": "fax"}, UnknownProvider, None),
        ({"topic": "weather"}, TopicNotFound, "topic"),
    ],
)
def test_a_cap_that_makes_no_sense_is_refused(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str | None
) -> None:
    given: dict[str, Any] = {"key": "weekly", "max_messages": 1, "per": WEEK} | fields
    with engine.refused(error) as refusal:
        engine.set_frequency_cap(TENANT, **given)
    assert field is None or refusal.value.diag.column_name == field


def test_of_an_exclusive_group_one_is_heard_at_a_time(engine: Engine, sender: Sender) -> None:
    engine.author(email("welcome"), email("tip", timing="in 1 day"), exclusive_group="lifecycle")
    sam = engine.join()
    sender.sequence("winback", exclusive_group="lifecycle")
    engine.enroll(TENANT, "winback", "User", "sam", data={"email": "sam@example.com"})
    assert len(sender.work()) == 1
    (waiting,) = [each for each in sender.waiting() if each.sequence == "winback"]
    assert waiting.reason == "exclusive_group"
    (gate,) = [g for g in engine.explain(TENANT, waiting.enrollment_id) if g.open is False]
    assert (gate.gate, gate.detail) == ("frequency", "onboarding")
    engine.unenroll(TENANT, sam.id)
    assert [claim.recipient for claim in sender.work()] == ["sam@example.com"]


def test_of_an_exclusive_group_the_higher_priority_is_heard(engine: Engine, sender: Sender) -> None:
    engine.author(email("welcome"), exclusive_group="lifecycle")
    sender.sequence("sale", exclusive_group="lifecycle", priority=5)
    engine.join()
    engine.enroll(TENANT, "sale", "User", "sam", data={"email": "sam@example.com"})
    (sequence,) = engine.rows(
        "select q.key from dripdrop.step_executions as x"
        " join dripdrop.enrollments as e on e.id = x.enrollment_id"
        " join dripdrop.sequences as q on q.id = e.sequence_id"
        " where x.id = %s",
        sender.work()[0].execution_id,
    )
    assert sequence.key == "sale"
