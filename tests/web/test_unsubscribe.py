"""unsubscribe() and its page in SQL: what is recorded, what stops, what ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import DripdropError, ExecutionNotFound, InvalidArgument, TopicNotFound
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email, onboarding

TIP = email("tip", timing=after(3, "days"))


def sent(engine: Engine, *steps: Any, subscriber: str = "sam", **fields: Any) -> Any:
    """Send somebody the first message of a sequence; return its execution."""
    engine.author(*(steps or (email("welcome"), TIP)), **fields)
    enrollment = engine.join(subscriber)
    engine.deliver()
    execution = engine.executions(enrollment.id)[0]
    assert execution.state == "sent"
    return execution


def second(engine: Engine, subscriber: str = "sam", **fields: Any) -> Any:
    """Enrol somebody in another sequence; return the enrolment."""
    engine.apply(TENANT, onboarding(email("hello"), key="other", name="Other") | fields)
    data = {"email": "sam@example.com"}
    return engine.enroll(TENANT, "other", "User", subscriber, data)


@pytest.fixture
def topics(engine: Engine) -> None:
    """The topics news and offers."""
    engine.create_topic(TENANT, "news", "News")
    engine.create_topic(TENANT, "offers", "Offers")


ABOUT_NEWS = email("welcome", config={"topic": "news"})


def test_the_address_is_suppressed_and_the_enrolment_ends(engine: Engine) -> None:
    execution = sent(engine)
    suppression = engine.unsubscribe(TENANT, execution.id)
    assert (suppression.recipient, suppression.channel) == ("sam@example.com", "email")
    assert (suppression.reason, suppression.source) == ("unsubscribe", "one_click")
    assert (suppression.topic, suppression.expires_at) == (None, None)
    enrollment = engine.enrollment(execution.enrollment_id)
    assert (enrollment.state, enrollment.exit_reason) == ("cancelled", "unsubscribed")
    assert [each.state for each in engine.executions(enrollment.id)] == ["sent", "cancelled"]
    assert engine.ledger() == []


def test_it_is_an_event_of_the_message_and_of_the_subscriber(engine: Engine, clock: Clock) -> None:
    execution = sent(engine)
    now = clock.advance(hours=1)
    engine.unsubscribe(TENANT, execution.id, source="page")
    (message,) = engine.rows(
        "select * from dripdrop.message_events where event_type = 'unsubscribed'"
    )
    assert (message.step_execution_id, message.provider) == (execution.id, "dripdrop")
    assert (message.tenant_key, message.occurred_at) == (TENANT, now)
    (event,) = engine.rows("select * from dripdrop.events")
    assert (event.event_key, event.event_type) == ("unsubscribed", "enrollment_event")
    assert (event.subscriber_type, event.subscriber_id) == ("User", "sam")
    assert event.event_data == {
        "channel": "email",
        "execution": str(execution.id),
        "source": "page",
    }


def test_the_address_is_the_one_the_message_went_to(engine: Engine) -> None:
    execution = sent(engine)
    engine.rows(
        'update dripdrop.enrollments set data = \'{"email": "new@example.com"}\' returning 1'
    )
    assert engine.unsubscribe(TENANT, execution.id).recipient == "sam@example.com"
    assert not engine.is_suppressed(TENANT, "email", "new@example.com")


def test_a_second_time_records_nothing_more(engine: Engine, clock: Clock) -> None:
    execution = sent(engine)
    first = engine.unsubscribe(TENANT, execution.id)
    clock.advance(days=1)
    assert engine.unsubscribe(TENANT, execution.id).id == first.id
    counts = engine.rows(
        "select (select count(*) from dripdrop.events) as events,"
        " (select count(*) from dripdrop.suppression_history) as history,"
        " (select count(*) from dripdrop.message_events where event_type = 'unsubscribed') as m"
    )
    assert counts == [(1, 1, 1)]


def test_a_link_works_after_the_sequence_has_ended(engine: Engine) -> None:
    execution = sent(engine, email("welcome"))
    assert engine.enrollment(execution.enrollment_id).state == "completed"
    assert engine.unsubscribe(TENANT, execution.id).recipient == "sam@example.com"
    assert engine.enrollment(execution.enrollment_id).state == "completed"


def test_a_message_that_is_on_its_way_is_the_last(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), TIP)
    sam = engine.join()
    claims = engine.claim()
    engine.unsubscribe(TENANT, claims[0].execution_id)
    engine.record(claims)
    clock.advance(days=3)
    assert engine.deliver() == []
    assert [each.state for each in engine.executions(sam.id)] == ["sent"]
    assert engine.ledger() == []


def test_an_exit_rule_of_another_sequence_sees_it(engine: Engine) -> None:
    execution = sent(engine)
    other = second(engine, exit_when=[{"name": "opted out", "event": "unsubscribed"}])
    engine.unsubscribe(TENANT, execution.id)
    enrollment = engine.enrollment(other.id)
    assert (enrollment.state, enrollment.exit_reason) == ("cancelled", "opted out")


def test_a_rule_of_its_own_sequence_has_the_first_word(engine: Engine) -> None:
    execution = sent(engine, exit_when=[{"name": "opted out", "event": "unsubscribed"}])
    engine.unsubscribe(TENANT, execution.id)
    assert engine.enrollment(execution.enrollment_id).exit_reason == "opted out"


def test_what_else_goes_to_the_address_is_skipped_and_explained(engine: Engine) -> None:
    execution = sent(engine)
    other = second(engine)
    engine.bring_to("rendered", other.id)
    engine.unsubscribe(TENANT, execution.id)
    closed = [row for row in engine.explain(TENANT, other.id) if row.open is False]
    assert [(row.gate, row.reason) for row in closed] == [("suppression", "suppressed")]
    assert engine.deliver() == []
    engine.tick()
    assert engine.executions(other.id)[0].reason == "suppressed"
    timeline = engine.simulate(TENANT, "other", {"email": "sam@example.com"})
    assert ("skip", "suppressed") in [(row.action, row.reason) for row in timeline]


def test_nobody_else_is_touched(engine: Engine) -> None:
    execution = sent(engine)
    ada = engine.join("ada")
    engine.unsubscribe(TENANT, execution.id)
    assert engine.enrollment(ada.id).state == "active"
    assert [claim.recipient for claim in engine.deliver()] == ["ada@example.com"]


def test_a_tenants_unsubscription_is_no_other_tenants(engine: Engine) -> None:
    engine.unsubscribe(TENANT, sent(engine).id)
    assert not engine.is_suppressed("umbrella", "email", "sam@example.com")
    assert not engine.is_suppressed(None, "email", "sam@example.com")


@pytest.mark.usefixtures("topics")
def test_a_topic_stops_by_itself(engine: Engine, clock: Clock) -> None:
    offer = email("offer", timing=after(3, "days"), config={"topic": "offers"})
    execution = sent(engine, ABOUT_NEWS, offer)
    assert engine.unsubscribe(TENANT, execution.id).topic == "news"
    (said,) = engine.get_subscriptions(TENANT, "User", "sam")[:1]
    assert (said.topic, said.state, said.source) == ("news", "unsubscribed", "one_click")
    assert engine.enrollment(execution.enrollment_id).state == "active"
    clock.advance(days=3)
    assert len(engine.deliver()) == 1


@pytest.mark.usefixtures("topics")
def test_a_topic_that_is_named_comes_before_the_steps(engine: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS)
    assert engine.unsubscribe(TENANT, execution.id, "offers").topic == "offers"
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com", "news")


@pytest.mark.usefixtures("topics")
def test_everything_is_the_channel_whatever_the_topic(engine: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS, TIP)
    assert engine.unsubscribe(TENANT, execution.id, everything=True).topic is None
    assert engine.enrollment(execution.enrollment_id).exit_reason == "unsubscribed"


@pytest.mark.usefixtures("topics")
def test_a_topic_that_is_gone_is_left_with_everything(engine: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS, TIP)
    with engine.unguarded():
        engine.connection.execute("delete from dripdrop.topics")
    assert engine.unsubscribe(TENANT, execution.id).topic is None
    assert engine.enrollment(execution.enrollment_id).exit_reason == "unsubscribed"


def test_a_topic_there_is_not_is_refused(engine: Engine) -> None:
    execution = sent(engine)
    with engine.refused(TopicNotFound):
        engine.unsubscribe(TENANT, execution.id, "weather")


@pytest.mark.parametrize("function", ["unsubscribe", "subscription_page", "update_subscriptions"])
@pytest.mark.parametrize("whose", ["umbrella", None, "nobody", "unwritten"])
def test_a_message_that_is_not_there_is_not_found(
    engine: Engine, function: str, whose: str | None
) -> None:
    execution = sent(engine).id
    if whose == "nobody":
        execution = uuid4()
    if whose == "unwritten":
        execution = engine.last(engine.join("ada").id).id
    tenant = TENANT if whose in ("nobody", "unwritten") else whose
    arguments: list[dict[str, bool]] = [{}] if function == "update_subscriptions" else []
    with engine.refused(ExecutionNotFound):
        getattr(engine, function)(tenant, execution, *arguments)


@pytest.mark.usefixtures("topics")
def test_a_page_has_the_address_and_the_topics(engine: Engine) -> None:
    engine.create_topic(TENANT, "beta", "Beta", "For the brave", True)
    engine.create_topic("umbrella", "other", "Other")
    execution = sent(engine, ABOUT_NEWS)
    engine.set_subscription(TENANT, "User", "sam", "offers", "unsubscribed", "app")
    page = engine.subscription_page(TENANT, execution.id)
    assert (page.channel, page.recipient) == ("email", "sam@example.com")
    assert (page.suppressed, page.topic) == (False, "news")
    assert page.topics == [
        {"key": "beta", "name": "Beta", "description": "For the brave", "subscribed": False},
        {"key": "news", "name": "News", "description": None, "subscribed": True},
        {"key": "offers", "name": "Offers", "description": None, "subscribed": False},
    ]


def test_a_page_without_topics_has_an_empty_list(engine: Engine) -> None:
    assert engine.subscription_page(TENANT, sent(engine).id).topics == []


@pytest.mark.usefixtures("topics")
def test_coming_back_lifts_what_unsubscribing_suppressed(engine: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS)
    engine.update_subscriptions(TENANT, execution.id, {"news": False})
    assert engine.is_suppressed(TENANT, "email", "sam@example.com", "news")
    engine.update_subscriptions(TENANT, execution.id, {"news": True})
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com", "news")
    (history,) = engine.rows(
        "select * from dripdrop.suppression_history where action = 'unsuppressed'"
    )
    assert (history.removed_by, history.why) == ("the subscriber", "page")


@pytest.mark.usefixtures("topics")
def test_coming_back_does_not_lift_a_complaint(engine: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS)
    engine.suppress(TENANT, "email", "sam@example.com", "complaint", topic="news")
    engine.update_subscriptions(TENANT, execution.id, {"news": True})
    assert engine.is_suppressed(TENANT, "email", "sam@example.com", "news")


@pytest.mark.usefixtures("topics")
def test_a_choice_that_is_no_change_records_nothing(engine: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS)
    before = engine.contents()
    engine.update_subscriptions(TENANT, execution.id, {"news": True, "offers": True})
    assert engine.contents() == before


@pytest.mark.parametrize(
    ("topics_", "error"),
    [
        ([], InvalidArgument),
        ({"news": "no"}, InvalidArgument),
        ({"weather": False}, TopicNotFound),
        ({"weather": True}, TopicNotFound),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(
    engine: Engine, topics_: Any, error: type[DripdropError]
) -> None:
    execution = sent(engine)
    with engine.refused(error):
        engine.update_subscriptions(TENANT, execution.id, topics_)


@pytest.mark.usefixtures("topics")
def test_coming_back_with_two_clicks_at_once_is_coming_back(engine: Engine, other: Engine) -> None:
    execution = sent(engine, ABOUT_NEWS)
    engine.unsubscribe(TENANT, execution.id)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            engine.update_subscriptions(TENANT, execution.id, {"news": True})
            clicking = pool.submit(other.update_subscriptions, TENANT, execution.id, {"news": True})
            engine.wait_until_blocked(other.connection)
        clicking.result(20)
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com", "news")


def test_nothing_leaves_while_somebody_unsubscribes(engine: Engine, other: Engine) -> None:
    execution = sent(engine)
    elsewhere = second(engine, "lead")
    engine.bring_to("rendered", elsewhere.id)
    with other.connection.transaction():
        other.unsubscribe(TENANT, execution.id)
        assert engine.claim_sends("email") == []
        assert engine.executions(elsewhere.id)[0].state == "rendered"
    assert engine.claim_sends("email") == []
    stopped = engine.executions(elsewhere.id)[0]
    assert (stopped.state, stopped.reason) == ("skipped", "suppressed")


def test_unsubscribing_waits_for_a_claim_that_is_under_way(engine: Engine, other: Engine) -> None:
    execution = sent(engine)
    elsewhere = second(engine, "lead")
    engine.bring_to("rendered", elsewhere.id)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert len(engine.claim_sends("email")) == 1
            leaving = pool.submit(other.unsubscribe, TENANT, execution.id)
            engine.wait_until_blocked(other.connection)
        assert leaving.result(20).reason == "unsubscribe"
    assert engine.executions(elsewhere.id)[0].state == "sending"


def test_two_clicks_at_once_are_one(engine: Engine, other: Engine) -> None:
    execution = sent(engine)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            first = engine.unsubscribe(TENANT, execution.id)
            clicking = pool.submit(other.unsubscribe, TENANT, execution.id)
            engine.wait_until_blocked(other.connection)
        assert clicking.result(20).id == first.id
    assert len(engine.rows("select from dripdrop.events")) == 1
