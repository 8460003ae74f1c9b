"""Changing and deleting what nothing depends on; else the refusal says what does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    AlreadyExists,
    DripdropError,
    HookNotFound,
    InvalidArgument,
    InvalidTiming,
    RuleNotFound,
    StepNotFound,
    StillUsed,
    TopicNotFound,
    VersionNotDraft,
)
from tests.engine import TEMPLATE, TENANT, Engine, after, email

PRO = {"field_path": "plan", "operator": "==", "expected_value": "pro"}
FREE = {"field_path": "plan", "operator": "==", "expected_value": "free"}


@pytest.fixture
def welcome(engine: Engine, draft_id: UUID) -> Any:
    """A step of a draft."""
    return engine.create_step(TENANT, draft_id, "welcome", "email", TEMPLATE)


@pytest.fixture
def tip(engine: Engine, draft_id: UUID, welcome: Any) -> Any:
    """Another one, after it."""
    return engine.create_step(TENANT, draft_id, "tip", "email", TEMPLATE, timing=after(1, "days"))


def test_a_step_of_a_draft_is_changed_in_what_is_given(engine: Engine, welcome: Any) -> None:
    mail = engine.create_channel_adapter(TENANT, "Mail", "email", "smtp")
    words = {"subject": "Hi", "text": "Hi"}
    changed = engine.update_step(
        TENANT,
        welcome.id,
        name="Hello",
        timing="in 3 days",
        template=words,
        adapter="Mail",
        active=False,
    )
    assert (changed.name, changed.template_content) == ("Hello", words)
    assert changed.timing["delay_amount"] == 3
    assert (changed.channel_adapter_id, changed.active) == (mail.id, False)
    assert (changed.key, changed.position, changed.config) == ("welcome", 1, welcome.config)
    again = engine.update_step(TENANT, welcome.id, position=7)
    assert (again.position, again.name, again.channel_adapter_id) == (7, "Hello", mail.id)
    assert engine.update_step(TENANT, welcome.id, adapter="").channel_adapter_id is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"timing": "whenever"}, InvalidTiming),
        ({"template": {"text": 1}}, InvalidArgument),
        ({"adapter": "nobody"}, AdapterNotFound),
        ({"config": {"weather": 1}}, InvalidArgument),
        ({"position": 2}, AlreadyExists),
    ],
)
def test_what_create_step_refuses_no_change_brings_about(
    engine: Engine, welcome: Any, tip: Any, change: dict[str, Any], error: type[DripdropError]
) -> None:
    with engine.refused(error):
        engine.update_step(TENANT, welcome.id, **change)


def test_a_step_goes_with_what_is_its_own(
    engine: Engine, draft_id: UUID, welcome: Any, tip: Any
) -> None:
    engine.create_condition(TENANT, PRO, welcome.id)
    engine.create_step_transition(TENANT, draft_id, "welcome", "tip")
    assert engine.delete_step(TENANT, welcome.id) == welcome
    assert [step.key for step in engine.list_steps(TENANT, draft_id)] == ["tip"]
    for table in ("conditions", "step_transitions"):
        assert engine.rows(f"select 1 from dripdrop.{table}") == []


def test_a_step_that_others_lead_to_stays(
    engine: Engine, draft_id: UUID, welcome: Any, tip: Any
) -> None:
    way = engine.create_step_transition(TENANT, draft_id, "welcome", "tip")
    with engine.refused(StillUsed) as refusal:
        engine.delete_step(TENANT, tip.id)
    assert 'step "welcome" leads to' in str(refusal.value)
    engine.update_step_transition(TENANT, way.id, to_step="")
    wait = {"type": "event", "trigger_event": "paid", "timeout": "1 day", "on_timeout": "tip"}
    engine.update_step(TENANT, welcome.id, timing=wait)
    with engine.refused(StillUsed) as refusal:
        engine.delete_step(TENANT, tip.id)
    assert 'timeout of step "welcome"' in str(refusal.value)
    engine.update_step(TENANT, welcome.id, timing="immediate")
    engine.delete_step(TENANT, tip.id)


def test_a_transition_of_a_draft_is_changed_and_deleted(
    engine: Engine, draft_id: UUID, welcome: Any, tip: Any
) -> None:
    first = engine.create_step_transition(TENANT, draft_id, "welcome", "tip", "all")
    second = engine.create_step_transition(TENANT, draft_id, "welcome", None)
    changed = engine.update_step_transition(TENANT, first.id, condition_mode="any", priority=5)
    assert (changed.to_step_id, changed.condition_mode, changed.priority) == (tip.id, "any", 5)
    assert engine.update_step_transition(TENANT, first.id, to_step="").to_step_id is None
    for wrong, error in (
        ({"priority": second.priority}, AlreadyExists),
        ({"condition_mode": "some"}, InvalidArgument),
        ({"to_step": "nowhere"}, StepNotFound),
    ):
        with engine.refused(error):
            engine.update_step_transition(TENANT, first.id, **wrong)
    assert engine.delete_step_transition(TENANT, first.id).id == first.id
    with engine.refused(RuleNotFound):
        engine.delete_step_transition(TENANT, first.id)


def test_a_condition_is_replaced_in_its_place_and_deleted(engine: Engine, welcome: Any) -> None:
    first = engine.create_condition(TENANT, PRO, welcome.id)
    engine.create_condition(TENANT, PRO, welcome.id)
    changed = engine.update_condition(TENANT, first.id, {"predicate": "$.enrollment.n > 1"})
    assert (changed.id, changed.position, changed.step_id) == (first.id, 1, welcome.id)
    assert (changed.field_path, changed.condition_type) == (None, "predicate")
    assert engine.delete_condition(TENANT, first.id).id == first.id
    for function in (engine.delete_condition, engine.drop_exit_rule):
        with engine.refused(RuleNotFound):
            function(TENANT, first.id)


def test_an_exit_rule_is_replaced_also_under_people(engine: Engine) -> None:
    engine.author(goals=[{"name": "upgraded", **PRO}])
    sam = engine.join(data={"email": "sam@example.com", "plan": "free"})
    (rule,) = engine.rows("select * from dripdrop.conditions where sequence_id is not null")
    changed = engine.update_exit_rule(TENANT, rule.id, {"name": "freed", **FREE})
    assert (changed.id, changed.outcome, changed.name) == (rule.id, "goal", "freed")
    engine.deliver()
    assert engine.enrollment(sam.id).exit_reason == "freed"
    with engine.refused(RuleNotFound):
        engine.update_condition(TENANT, rule.id, PRO)


def test_an_active_version_stays_as_it_is(engine: Engine) -> None:
    version = engine.author(
        email("welcome", conditions=[PRO], transitions=[{"to": "tip"}]), email("tip")
    )
    welcome, _ = engine.list_steps(TENANT, version.id)
    (way,) = engine.rows("select id from dripdrop.step_transitions")
    (condition,) = engine.rows("select id from dripdrop.conditions")
    calls: list[Callable[[], Any]] = [
        lambda: engine.update_step(TENANT, welcome.id, name="Hello"),
        lambda: engine.update_step(TENANT, welcome.id, timing="in 1 day"),
        lambda: engine.delete_step(TENANT, welcome.id),
        lambda: engine.update_step_transition(TENANT, way.id, priority=3),
        lambda: engine.delete_step_transition(TENANT, way.id),
        lambda: engine.update_condition(TENANT, condition.id, FREE),
        lambda: engine.delete_condition(TENANT, condition.id),
    ]
    for call in calls:
        with engine.refused(VersionNotDraft):
            call()


def test_a_topic_is_changed_and_deleted_while_nobody_said_anything(engine: Engine) -> None:
    engine.create_topic(TENANT, "news", "News")
    changed = engine.update_topic(TENANT, "news", "Latest", "Once a week", opt_in=True)
    assert (changed.name, changed.description, changed.opt_in) == ("Latest", "Once a week", True)
    assert engine.update_topic(TENANT, "news", opt_in=False).name == "Latest"
    with engine.refused(InvalidArgument):
        engine.update_topic(TENANT, "news", " ")
    assert engine.delete_topic(TENANT, "news").key == "news"
    with engine.refused(TopicNotFound):
        engine.delete_topic(TENANT, "news")


@pytest.mark.parametrize(
    ("user", "use"),
    [
        ('step "welcome"', lambda e: e.author(email("welcome", config={"topic": "news"}))),
        (
            'frequency cap "week"',
            lambda e: e.set_frequency_cap(TENANT, "week", 1, timedelta(7), topic="news"),
        ),
        (
            "what subscribers said",
            lambda e: e.set_subscription(TENANT, "User", "42", "news", "unsubscribed", "page"),
        ),
        ("a suppression", lambda e: e.suppress(TENANT, "email", "s@example.com", topic="news")),
    ],
)
def test_a_topic_that_something_is_about_stays(
    engine: Engine, user: str, use: Callable[[Engine], Any]
) -> None:
    engine.create_topic(TENANT, "news", "News")
    use(engine)
    with engine.refused(StillUsed) as refusal:
        engine.delete_topic(TENANT, "news")
    assert f"is used by {user}" in str(refusal.value)


def test_a_sender_that_nothing_names_is_deleted_with_its_credentials(engine: Engine) -> None:
    mail = engine.create_channel_adapter(TENANT, "Mail", "email", "smtp")
    engine.set_adapter_limits(TENANT, mail.id, daily_cap=5)
    assert engine.delete_channel_adapter(TENANT, mail.id).name == "Mail"
    assert engine.list_channel_adapters(TENANT) == []
    with engine.refused(AdapterNotFound):
        engine.delete_channel_adapter(TENANT, mail.id)


def test_a_sender_that_is_named_or_busy_stays(engine: Engine) -> None:
    engine.create_channel_adapter(TENANT, "Mail", "email", "smtp")
    engine.author(email("welcome", adapter="Mail"))
    named = {adapter.name: adapter.id for adapter in engine.list_channel_adapters(TENANT)}
    with engine.refused(StillUsed) as refusal:
        engine.delete_channel_adapter(TENANT, named["Mail"])
    assert 'step "welcome"' in str(refusal.value)
    engine.author(email("welcome"), key="trial")
    engine.enroll(TENANT, "trial", "User", "42", {"email": "sam@example.com"})
    engine.claim()
    with engine.refused(StillUsed) as refusal:
        engine.delete_channel_adapter(TENANT, named["email"])
    assert "a message under way" in str(refusal.value)


def test_a_hook_that_nothing_asks_is_deleted(engine: Engine) -> None:
    asked = {"hook": "score", "expected_value": 1}
    engine.author(
        email("welcome", conditions=[asked]),
        hooks=[
            {"key": key, "url": "https://example.com"} for key in ("score", "spare", "end", "word")
        ],
        goals=[{"hook": "end", "expected_value": 1}],
    )
    engine.author(
        email("tip", template={"subject": "{{ word }}", "text": "Hi"}),
        email("welcome", conditions=[asked]),
        activate=False,
        hooks=[
            {"key": key, "url": "https://example.com"} for key in ("score", "spare", "end", "word")
        ],
        goals=[{"hook": "end", "expected_value": 1}],
    )
    hooks = {row.key: row.id for row in engine.rows("select * from dripdrop.http_hooks")}
    for key, user in (("score", "step"), ("end", "an exit rule"), ("word", "step")):
        with engine.refused(StillUsed) as refusal:
            engine.delete_http_hook(TENANT, hooks[key])
        assert f"is used by {user}" in str(refusal.value)
    assert engine.delete_http_hook(TENANT, hooks["spare"]).key == "spare"
    with engine.refused(HookNotFound):
        engine.delete_http_hook(TENANT, uuid4())
