"""Topics, opting in and out of them, and the record of who had agreed to what, when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dripdrop.errors import (
    AlreadyExists,
    DripdropError,
    InvalidArgument,
    InvalidTenantKey,
    InvalidVersion,
    TopicNotFound,
)
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

SAM = {"subscriber_type": "User", "subscriber_id": "sam"}


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """The engine with three messages: about news, about offers (opt-in), about nothing."""
    engine.create_topic(TENANT, "news", "News", "What is new")
    engine.create_topic(TENANT, "offers", "Offers", opt_in=True)
    engine.author(
        email("news", config={"topic": "news"}),
        email("offers", config={"topic": "offers"}),
        email("receipt"),
    )
    return engine


def say(engine: Engine, state: str, topic: str = "news", source: str = "preferences") -> Any:
    """Let Sam say something about a topic."""
    return engine.set_subscription(TENANT, **SAM, topic=topic, state=state, source=source)


def fates(engine: Engine, enrollment_id: Any) -> dict[str, tuple[str, str]]:
    """Let everything go its way; return what became of each message, and why."""
    for _ in range(4):
        engine.deliver()
    return {x.step: (x.state, x.reason) for x in engine.executions(enrollment_id)}


def consent(engine: Engine) -> list[tuple[Any, ...]]:
    """Return what the view says of each message that was sent."""
    return [
        (row.topic, row.had_consent, row.state, row.source)
        for row in engine.rows("select * from dripdrop.consent_at_send order by sent_at, topic")
    ]


def test_who_said_nothing_gets_what_is_not_opt_in(journey: Engine) -> None:
    sam = journey.join()
    assert fates(journey, sam.id) == {
        "news": ("sent", "sent"),
        "offers": ("skipped", "not_subscribed"),
        "receipt": ("sent", "sent"),
    }


def test_opting_in_lets_an_opt_in_topic_through(journey: Engine) -> None:
    sam = journey.join()
    say(journey, "subscribed", "offers")
    assert fates(journey, sam.id)["offers"] == ("sent", "sent")


def test_opting_out_stops_that_topic_only(journey: Engine) -> None:
    sam = journey.join()
    say(journey, "subscribed", "offers")
    say(journey, "unsubscribed", "news")
    assert fates(journey, sam.id) == {
        "news": ("skipped", "opted_out"),
        "offers": ("sent", "sent"),
        "receipt": ("sent", "sent"),
    }
    assert journey.ledger() == []


def test_opting_in_again_lets_the_topic_through(journey: Engine) -> None:
    sam = journey.join()
    say(journey, "unsubscribed")
    say(journey, "subscribed")
    assert fates(journey, sam.id)["news"] == ("sent", "sent")


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered"])
def test_an_opt_out_stops_what_has_not_left(journey: Engine, state: str) -> None:
    sam = journey.join()
    journey.bring_to(state, sam.id)
    say(journey, "unsubscribed")
    assert fates(journey, sam.id)["news"] == ("skipped", "opted_out")


def test_an_opt_out_is_of_one_subscriber(journey: Engine) -> None:
    journey.set_subscription(TENANT, "User", "eve", "news", "unsubscribed", "preferences")
    journey.set_subscription(TENANT, "Lead", "sam", "news", "unsubscribed", "preferences")
    sam = journey.join()
    assert fates(journey, sam.id)["news"] == ("sent", "sent")


def test_a_topic_of_the_same_name_in_another_tenant_is_another_topic(journey: Engine) -> None:
    journey.create_topic("other", "news", "News")
    journey.set_subscription("other", **SAM, topic="news", state="unsubscribed", source="form")
    sam = journey.join()
    assert fates(journey, sam.id)["news"] == ("sent", "sent")


# Around a claim


@pytest.mark.slow
def test_no_claim_takes_a_message_while_its_subscriber_opts_out(
    journey: Engine, other: Engine
) -> None:
    sam = journey.join()
    journey.bring_to("rendered", sam.id)
    with other.connection.transaction():
        say(other, "unsubscribed")
        assert journey.claim_sends("email") == []
        journey.tick()
        assert journey.executions(sam.id)[0].state == "rendered"
        assert journey.claim_sends("email") == []
    assert journey.claim_sends("email") == []
    journey.tick()
    assert journey.executions(sam.id)[0].reason == "opted_out"


@pytest.mark.slow
def test_an_enrolment_that_begins_while_its_subscriber_opts_out_is_stopped_too(
    journey: Engine, other: Engine
) -> None:
    with other.connection.transaction():
        say(other, "unsubscribed")
        sam = journey.join()
        journey.bring_to("rendered", sam.id)
        assert journey.claim_sends("email") == []
    assert journey.claim_sends("email") == []
    journey.tick()
    assert journey.executions(sam.id)[0].reason == "opted_out"


@pytest.mark.slow
def test_an_opt_out_waits_for_a_claim_of_its_subscriber(journey: Engine, other: Engine) -> None:
    sam = journey.join()
    journey.bring_to("rendered", sam.id)
    with ThreadPoolExecutor() as pool:
        with journey.connection.transaction():
            claims = journey.claim_sends("email")
            assert len(claims) == 1
            opting_out = pool.submit(say, other, "unsubscribed")
            journey.wait_until_blocked(other.connection)
        opting_out.result(20)
    journey.record(claims)
    assert journey.executions(sam.id)[0].state == "sent"


@pytest.mark.slow
def test_an_opt_out_that_is_rolled_back_stops_nothing(journey: Engine, other: Engine) -> None:
    sam = journey.join()
    journey.bring_to("rendered", sam.id)
    with other.connection.transaction(force_rollback=True):
        say(other, "unsubscribed")
        assert journey.claim_sends("email") == []
    journey.tick()
    assert len(journey.claim_sends("email")) == 1


@pytest.mark.slow
def test_an_opt_in_does_not_hold_up_a_claim(journey: Engine, other: Engine) -> None:
    sam = journey.join()
    journey.bring_to("rendered", sam.id)
    with other.connection.transaction():
        say(other, "subscribed", "offers")
        assert len(journey.claim_sends("email")) == 1


@pytest.mark.slow
def test_messages_without_a_topic_wait_for_no_opt_out(engine: Engine, other: Engine) -> None:
    engine.create_topic(TENANT, "news", "News")
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with other.connection.transaction():
        say(other, "unsubscribed")
        assert len(engine.claim_sends("email")) == 1


# The record


def test_that_there_was_consent_when_it_was_sent_is_one_query(engine: Engine, clock: Clock) -> None:
    engine.create_topic(TENANT, "news", "News")
    engine.create_topic(TENANT, "offers", "Offers", opt_in=True)
    engine.author(
        email("news", config={"topic": "news"}),
        email("offers", config={"topic": "offers"}),
        email("more", timing=after(1, "days"), config={"topic": "news"}),
        email("receipt"),
    )
    engine.join()
    say(engine, "subscribed", "offers", "signup")
    engine.deliver()
    engine.deliver()
    clock.advance(hours=1)
    say(engine, "unsubscribed", "offers")
    say(engine, "subscribed", "news", "phone")
    clock.advance(days=1)
    engine.deliver()
    engine.deliver()
    clock.advance(hours=1)
    say(engine, "unsubscribed", "news")
    assert consent(engine) == [
        ("news", True, None, None),
        ("offers", True, "subscribed", "signup"),
        ("news", True, "subscribed", "phone"),
    ]


def test_a_message_without_consent_would_show(journey: Engine) -> None:
    journey.join()
    journey.deliver()
    with journey.unguarded():
        journey.connection.execute("update dripdrop.topics set opt_in = true")
    assert consent(journey) == [("news", False, None, None)]


def test_an_opt_out_is_later_than_what_it_let_pass(journey: Engine) -> None:
    journey.join()
    journey.deliver()
    say(journey, "unsubscribed")
    assert consent(journey) == [("news", True, None, None)]


def test_each_change_of_mind_is_one_record(journey: Engine, clock: Clock) -> None:
    for state, source in [
        ("subscribed", "signup"),
        ("subscribed", "again"),
        ("unsubscribed", "link"),
        ("unsubscribed", "again"),
        ("subscribed", "phone"),
    ]:
        clock.advance(hours=1)
        say(journey, state, source=source)
    records = journey.rows("select * from dripdrop.consent_records order by id")
    assert [(r.state, r.source, (clock.now - r.at).seconds // 3600) for r in records] == [
        ("subscribed", "signup", 4),
        ("unsubscribed", "link", 2),
        ("subscribed", "phone", 0),
    ]
    assert {r.login for r in records} == {journey.rows("select session_user as name")[0].name}


def test_saying_it_again_returns_what_was_said_first(journey: Engine, clock: Clock) -> None:
    first = say(journey, "unsubscribed", source="link")
    clock.advance(days=1)
    assert say(journey, "unsubscribed", source="again") == first


@pytest.mark.slow
def test_two_at_once_agree_on_one_record_each(journey: Engine, other: Engine) -> None:
    with ThreadPoolExecutor() as pool:
        with journey.connection.transaction():
            say(journey, "unsubscribed")
            later = pool.submit(say, other, "unsubscribed")
            journey.wait_until_blocked(other.connection)
        assert later.result(20).state == "unsubscribed"
    assert len(journey.rows("select from dripdrop.consent_records")) == 1


# Readers


def test_the_preferences_of_a_subscriber_name_every_topic(journey: Engine, clock: Clock) -> None:
    journey.create_topic(TENANT, "tips", "Tips")
    journey.create_topic("other", "secret", "Secret")
    say(journey, "unsubscribed", "tips", "link")
    rows = journey.get_subscriptions(TENANT, "User", "sam")
    assert [(r.topic, r.name, r.subscribed, r.state, r.source, r.at) for r in rows] == [
        ("news", "News", True, None, None, None),
        ("offers", "Offers", False, None, None, None),
        ("tips", "Tips", False, "unsubscribed", "link", clock.now),
    ]


def test_topics_are_listed_by_tenant(journey: Engine) -> None:
    journey.create_topic(None, "all", "All")
    assert [(t.key, t.opt_in) for t in journey.list_topics(TENANT)] == [
        ("news", False),
        ("offers", True),
    ]
    assert [t.key for t in journey.list_topics(None)] == ["all"]


def test_explain_names_the_topic(journey: Engine) -> None:
    sam = journey.join()
    say(journey, "unsubscribed")
    (gate,) = (g for g in journey.explain(TENANT, sam.id) if g.gate == "topic")
    assert (gate.open, gate.reason, gate.detail, gate.next_action) == (
        False,
        "opted_out",
        "news",
        "skip",
    )


def test_a_simulation_leaves_out_what_one_must_opt_in_to(journey: Engine) -> None:
    rows = journey.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(r.step_key, r.action, r.reason) for r in rows if r.step_key] == [
        ("news", "send", None),
        ("offers", "skip", "not_subscribed"),
        ("receipt", "send", None),
    ]


# Refusals


def test_a_version_with_an_unknown_topic_is_not_activated(engine: Engine) -> None:
    engine.create_topic("other", "news", "News")
    engine.create_topic(None, "news", "News")
    with engine.refused(InvalidVersion) as refusal:
        engine.apply(
            TENANT,
            {"key": "x", "name": "X", "steps": [email("a", config={"topic": "news"})]},
        )
    assert "unknown_topic" in str(refusal.value.diag.message_detail)


def test_a_topic_that_is_gone_is_one_that_nobody_subscribed_to(journey: Engine) -> None:
    sam = journey.join()
    with journey.unguarded():
        journey.connection.execute("delete from dripdrop.topics")
    assert fates(journey, sam.id)["news"] == ("skipped", "not_subscribed")


@pytest.mark.parametrize("topic", ["", "News", "a b", 1.5, True, None, ["news"]])
def test_a_step_names_its_topic_by_its_key(engine: Engine, topic: Any) -> None:
    with engine.refused(DripdropError) as refusal:
        engine.apply(
            TENANT, {"key": "x", "name": "X", "steps": [email("a", config={"topic": topic})]}
        )
    assert str(refusal.value.diag.column_name).endswith("config.topic")


def test_a_topic_is_created_once(journey: Engine) -> None:
    with journey.refused(AlreadyExists):
        journey.create_topic(TENANT, "news", "Other news")


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"tenant_key": ""}, InvalidTenantKey, "tenant_key"),
        ({"key": "News"}, InvalidArgument, "key"),
        ({"key": None}, InvalidArgument, "key"),
        ({"name": " "}, InvalidArgument, "name"),
        ({"name": None}, InvalidArgument, "name"),
        ({"opt_in": None}, InvalidArgument, "opt_in"),
    ],
)
def test_a_topic_that_makes_no_sense_is_refused(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    with engine.refused(error) as refusal:
        engine.create_topic(**{"tenant_key": TENANT, "key": "news", "name": "News"} | fields)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"tenant_key": ""}, InvalidTenantKey, "tenant_key"),
        ({"tenant_key": "other"}, TopicNotFound, "topic"),
        ({"topic": "sport"}, TopicNotFound, "topic"),
        ({"topic": None}, TopicNotFound, "topic"),
        ({"subscriber_id": ""}, InvalidArgument, "subscriber_id"),
        ({"subscriber_type": None}, InvalidArgument, "subscriber_id"),
        ({"subscriber_id": "s" * 501}, InvalidArgument, "subscriber_id"),
        ({"subscriber_type": "s" * 501}, InvalidArgument, "subscriber_id"),
        ({"state": "maybe"}, InvalidArgument, "state"),
        ({"state": None}, InvalidArgument, "state"),
        ({"source": " "}, InvalidArgument, "source"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused(
    journey: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    said = {"tenant_key": TENANT, **SAM, "topic": "news", "state": "subscribed", "source": "form"}
    with journey.refused(error) as refusal:
        journey.set_subscription(**said | fields)
    assert refusal.value.diag.column_name == field
