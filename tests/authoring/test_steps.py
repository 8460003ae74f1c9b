"""Steps: what they may hold, and that they do not change under the people on them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    AlreadyExists,
    DripdropError,
    InvalidArgument,
    InvalidTiming,
    UnknownProvider,
    UnknownTimeZone,
    VersionNotDraft,
    VersionNotFound,
)
from tests.engine import TEMPLATE, TENANT, Engine, after, email


def test_a_step_comes_after_the_last_one(engine: Engine, draft_id: UUID) -> None:
    engine.create_step(TENANT, draft_id, "one", "email", TEMPLATE, position=4)
    assert engine.create_step(TENANT, draft_id, "two", "email", TEMPLATE).position == 5


def test_a_step_is_immediate_and_named_by_its_key_unless_it_says_else(
    engine: Engine, draft_id: UUID
) -> None:
    step = engine.create_step(TENANT, draft_id, "one", "email", TEMPLATE)
    assert (step.timing, step.name, step.active) == ({"type": "immediate"}, "one", True)


@pytest.mark.parametrize("fields", [{"key": "one"}, {"position": 1}])
def test_keys_and_positions_are_taken_once(
    engine: Engine, draft_id: UUID, fields: dict[str, Any]
) -> None:
    engine.create_step(TENANT, draft_id, "one", "email", TEMPLATE)
    step: dict[str, Any] = {"key": "two", "channel": "email", "template": TEMPLATE} | fields
    with engine.refused(AlreadyExists):
        engine.create_step(tenant_key=TENANT, sequence_version_id=draft_id, **step)


def test_a_step_needs_a_version(engine: Engine) -> None:
    with engine.refused(VersionNotFound):
        engine.create_step(TENANT, uuid4(), "one", "email", TEMPLATE)


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"key": "One"}, InvalidArgument, "key"),
        ({"key": None}, InvalidArgument, "key"),
        ({"position": -1}, InvalidArgument, "position"),
        ({"channel": "pigeon"}, UnknownProvider, "channel"),
        ({"channel": None}, UnknownProvider, "channel"),
        ({"adapter": "nobody"}, AdapterNotFound, "adapter"),
        ({"template": []}, InvalidArgument, "template"),
        ({"template": None}, InvalidArgument, "template"),
        ({"template": {"text": "Hello"}}, InvalidArgument, "template.subject"),
        ({"template": {"subject": " ", "text": "Hello"}}, InvalidArgument, "template.subject"),
        ({"template": {"subject": "Hello"}}, InvalidArgument, "template.html"),
        ({"template": TEMPLATE | {"to": "eve@example.com"}}, InvalidArgument, "template.to"),
        ({"timing": []}, InvalidTiming, "timing"),
        ({"timing": None}, InvalidTiming, "timing"),
        ({"timing": {}}, InvalidTiming, "timing.type"),
        ({"timing": {"type": "someday"}}, InvalidTiming, "timing.type"),
        ({"timing": {"type": "immediate", "at": 9}}, InvalidTiming, "timing.at"),
        ({"timing": after(0, "days")}, InvalidTiming, "timing.delay_amount"),
        ({"timing": after(-3, "days")}, InvalidTiming, "timing.delay_amount"),
        ({"timing": {"type": "delay", "delay_unit": "days"}}, InvalidTiming, "timing.delay_amount"),
        ({"timing": after(3, "fortnights")}, InvalidTiming, "timing.delay_unit"),
        ({"timing": {"type": "delay", "delay_amount": 3}}, InvalidTiming, "timing.delay_unit"),
        ({"timing": after(3, "days") | {"jitter": 1}}, InvalidTiming, "timing.jitter"),
        ({"config": []}, InvalidArgument, "config"),
        ({"config": None}, InvalidArgument, "config"),
        ({"config": {"max_retrys": 3}}, InvalidArgument, "config.max_retrys"),
        ({"config": {"max_retries": -1}}, InvalidArgument, "config.max_retries"),
        ({"config": {"max_retries": 1.5}}, InvalidArgument, "config.max_retries"),
        ({"config": {"on_max_retry": "stop"}}, InvalidArgument, "config.on_max_retry"),
        ({"config": {"on_unknown": "guess"}}, InvalidArgument, "config.on_unknown"),
        ({"config": {"on_stale": "drop"}}, InvalidArgument, "config.on_stale"),
        ({"config": {"stale_after": "a while"}}, InvalidArgument, "config.stale_after"),
        ({"config": {"stale_after": "-1 day"}}, InvalidArgument, "config.stale_after"),
        ({"config": {"stale_after": "9999999999 years"}}, InvalidArgument, "config.stale_after"),
        ({"config": {"recipient_key": ""}}, InvalidArgument, "config.recipient_key"),
        ({"config": {"time_zone": "foo5"}}, UnknownTimeZone, "config.time_zone"),
    ],
)
def test_a_bad_field_is_named(
    engine: Engine,
    draft_id: UUID,
    fields: dict[str, Any],
    error: type[DripdropError],
    field: str,
) -> None:
    step: dict[str, Any] = {"key": "one", "channel": "email", "template": TEMPLATE} | fields
    with engine.refused(error) as refusal:
        engine.create_step(tenant_key=TENANT, sequence_version_id=draft_id, **step)
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize("body", [{"html": "", "text": "Hello"}, {"html": "<p>Hello</p>"}])
def test_an_email_needs_only_one_of_html_and_text(
    engine: Engine, draft_id: UUID, body: dict[str, str]
) -> None:
    template = {"subject": "Hello"} | body
    step = engine.create_step(TENANT, draft_id, "one", "email", template)
    assert step.template_content == template


def test_a_step_prefers_the_tenants_adapter_to_the_global_one(
    engine: Engine, draft_id: UUID
) -> None:
    engine.create_channel_adapter(None, "post", "email", "smtp")
    own = engine.create_channel_adapter(TENANT, "post", "email", "smtp")
    step = engine.create_step(TENANT, draft_id, "one", "email", TEMPLATE, adapter="post")
    assert step.channel_adapter_id == own.id


def test_a_step_of_a_tenant_may_name_a_global_adapter(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "post", "email", "smtp")
    engine.author(email("welcome", adapter="post"))
    sam = engine.join()
    engine.tick()
    assert engine.executions(sam.id)[0].adapter_id == shared.id


@pytest.mark.parametrize(
    ("tenant", "channel", "provider"), [("other", "email", "smtp"), (TENANT, "webhook", "default")]
)
def test_a_step_cannot_name_an_adapter_of_another_tenant_or_channel(
    engine: Engine, draft_id: UUID, tenant: str, channel: str, provider: str
) -> None:
    engine.create_channel_adapter(tenant, "post", channel, provider)
    with engine.refused(AdapterNotFound):
        engine.create_step(TENANT, draft_id, "one", "email", TEMPLATE, adapter="post")


def test_an_active_version_takes_no_more_steps(engine: Engine) -> None:
    version = engine.author()
    with engine.refused(VersionNotDraft):
        engine.create_step(TENANT, version.id, "more", "email", TEMPLATE)


def test_an_archived_version_takes_no_more_steps(engine: Engine) -> None:
    former = engine.author()
    engine.author(email("hello"))
    with engine.refused(VersionNotDraft):
        engine.create_step(TENANT, former.id, "more", "email", TEMPLATE)


@pytest.mark.parametrize(
    "write",
    [
        "delete from dripdrop.steps where key = 'tip'",
        "update dripdrop.steps set key = 'trick' where key = 'tip'",
        "update dripdrop.steps set position = 9 where key = 'tip'",
        "update dripdrop.steps set channel = 'webhook' where key = 'tip'",
        """update dripdrop.steps set timing = '{"type": "immediate"}' where key = 'tip'""",
        "update dripdrop.steps set config = '{}' where key = 'tip'",
        "update dripdrop.steps set channel_adapter_id = (select id from dripdrop.channel_adapters"
        " limit 1) where key = 'tip'",
        "update dripdrop.steps set sequence_version_id = (select id from dripdrop.sequence_versions"
        " where state = 'draft') where key = 'tip'",
        "insert into dripdrop.steps (sequence_version_id, tenant_key, key, name, channel)"
        " select id, tenant_key, 'more', 'More', 'email' from dripdrop.sequence_versions"
        " where state = 'active'",
    ],
)
def test_the_structure_of_an_active_version_does_not_change_whoever_writes(
    engine: Engine, write: str
) -> None:
    version = engine.author()
    engine.create_sequence_version(TENANT, version.sequence_id)
    with engine.refused(VersionNotDraft):
        engine.rows(f"{write} returning 1")


def test_the_words_of_an_active_step_may_be_mended(engine: Engine) -> None:
    engine.author()
    hashes = "select template_hash from dripdrop.steps where key = 'tip'"
    before = engine.rows(hashes)
    engine.rows(
        "update dripdrop.steps set name = 'Tip', template_content = template_content"
        """ || '{"text": "Mended"}' where key = 'tip' returning 1"""
    )
    assert engine.rows(hashes) != before


def test_an_active_step_may_be_switched_off(engine: Engine) -> None:
    engine.author()
    engine.rows("update dripdrop.steps set active = false where key = 'tip' returning 1")


def test_a_sequence_can_be_deleted_with_its_steps(engine: Engine) -> None:
    engine.author()
    engine.rows("delete from dripdrop.sequences returning 1")
    assert engine.rows("select from dripdrop.steps") == []


@pytest.mark.slow
def test_a_step_waits_for_an_activation_that_is_under_way(
    engine: Engine, other: Engine, draft_id: UUID
) -> None:
    engine.create_step(TENANT, draft_id, "one", "email", TEMPLATE)
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.activate_sequence_version(TENANT, draft_id)
            adding = pool.submit(other.create_step, TENANT, draft_id, "two", "email", TEMPLATE)
            engine.wait_until_blocked(other.connection)
        with pytest.raises(VersionNotDraft):
            adding.result(20)


@pytest.mark.parametrize("key", ["continue", "exit"])
def test_the_words_of_on_timeout_are_no_keys(engine: Engine, key: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        engine.author(email(key))
    assert refusal.value.diag.column_name == "steps[0].key"
