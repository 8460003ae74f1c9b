"""Versions: numbering, validation, activation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidVersion,
    SecondActiveVersion,
    SequenceNotFound,
    VersionNotFound,
)
from tests.engine import TEMPLATE, TENANT, Engine, email


def states(engine: Engine) -> list[tuple[int, str]]:
    return [
        (row.version, row.state)
        for row in engine.rows("select version, state from dripdrop.sequence_versions order by 1")
    ]


def problems(engine: Engine, version_id: UUID) -> list[tuple[str, str | None]]:
    return [(p.problem, p.step_key) for p in engine.validate_sequence_version(TENANT, version_id)]


def test_versions_are_drafts_numbered_from_one(engine: Engine, sequence_id: UUID) -> None:
    for _ in range(2):
        engine.create_sequence_version(TENANT, sequence_id)
    assert states(engine) == [(1, "draft"), (2, "draft")]


def test_a_number_may_be_given(engine: Engine, sequence_id: UUID) -> None:
    engine.create_sequence_version(TENANT, sequence_id, version=7)
    assert engine.create_sequence_version(TENANT, sequence_id).version == 8


def test_a_number_is_taken_once(engine: Engine, sequence_id: UUID) -> None:
    engine.create_sequence_version(TENANT, sequence_id, version=1)
    with engine.refused(AlreadyExists):
        engine.create_sequence_version(TENANT, sequence_id, version=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"version": 0}, "version"),
        ({"mode": "sideways"}, "mode"),
        ({"mode": None}, "mode"),
        ({"config": []}, "config"),
        ({"config": None}, "config"),
    ],
)
def test_a_bad_field_is_named(
    engine: Engine, sequence_id: UUID, fields: dict[str, Any], field: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.create_sequence_version(TENANT, sequence_id, **fields)
    assert refusal.value.diag.column_name == field


def test_a_version_needs_a_sequence(engine: Engine) -> None:
    with engine.refused(SequenceNotFound):
        engine.create_sequence_version(TENANT, uuid4())


@pytest.mark.slow
def test_two_at_once_take_different_numbers(
    engine: Engine, other: Engine, sequence_id: UUID
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.create_sequence_version(TENANT, sequence_id)
            second = pool.submit(other.create_sequence_version, TENANT, sequence_id)
            engine.wait_until_blocked(other.connection)
        assert second.result().version == 2


def test_activating_makes_a_draft_the_active_version(engine: Engine, sequence_id: UUID) -> None:
    version = engine.create_sequence_version(TENANT, sequence_id)
    engine.create_step(TENANT, version.id, "hello", "email", TEMPLATE)
    activated = engine.activate_sequence_version(TENANT, version.id)
    assert activated.state == "active"
    assert activated.published_at is not None


def test_activating_archives_the_former_version(engine: Engine, sequence_id: UUID) -> None:
    for _ in range(2):
        version = engine.create_sequence_version(TENANT, sequence_id)
        engine.create_step(TENANT, version.id, "hello", "email", TEMPLATE)
        engine.activate_sequence_version(TENANT, version.id)
    assert states(engine) == [(1, "archived"), (2, "active")]


@pytest.mark.slow
def test_of_two_activations_at_once_the_later_wins(
    engine: Engine, other: Engine, sequence_id: UUID
) -> None:
    first, second = (engine.create_sequence_version(TENANT, sequence_id) for _ in range(2))
    for version in (first, second):
        engine.create_step(TENANT, version.id, "hello", "email", TEMPLATE)
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.activate_sequence_version(TENANT, first.id)
            later = pool.submit(other.activate_sequence_version, TENANT, second.id)
            engine.wait_until_blocked(other.connection)
        assert later.result().state == "active"
    assert states(engine) == [(1, "archived"), (2, "active")]


def test_an_empty_version_is_not_activated(engine: Engine, sequence_id: UUID) -> None:
    version = engine.create_sequence_version(TENANT, sequence_id)
    with engine.refused(InvalidVersion) as refusal:
        engine.activate_sequence_version(TENANT, version.id)
    assert "no_entry_path" in (refusal.value.diag.message_detail or "")


def test_a_refused_activation_lists_every_problem(engine: Engine, sequence_id: UUID) -> None:
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp")
    version = engine.create_sequence_version(TENANT, sequence_id)
    for key in ("one", "two"):
        engine.create_step(TENANT, version.id, key, "email", TEMPLATE, adapter=adapter.name)
    engine.update_channel_adapter(TENANT, adapter.id, active=False)
    with engine.refused(InvalidVersion) as refusal:
        engine.activate_sequence_version(TENANT, version.id)
    detail = refusal.value.diag.message_detail or ""
    assert "adapter_inactive one" in detail
    assert "adapter_inactive two" in detail


def test_a_version_of_inactive_steps_has_no_entry(engine: Engine, sequence_id: UUID) -> None:
    version = engine.create_sequence_version(TENANT, sequence_id)
    engine.create_step(TENANT, version.id, "hello", "email", TEMPLATE, active=False)
    assert problems(engine, version.id) == [("no_entry_path", None)]


def test_a_step_without_a_position_is_unreachable(engine: Engine, sequence_id: UUID) -> None:
    version = engine.create_sequence_version(TENANT, sequence_id)
    for key in ("hello", "lost"):
        engine.create_step(TENANT, version.id, key, "email", TEMPLATE)
    engine.rows("update dripdrop.steps set position = null where key = 'lost' returning 1")
    assert problems(engine, version.id) == [("unreachable_step", "lost")]


@pytest.mark.parametrize(
    ("tenant", "channel", "provider", "problem"),
    [
        (TENANT, "webhook", "default", "adapter_channel_mismatch"),
        ("other", "email", "smtp", "missing_channel_adapter"),
    ],
)
def test_a_step_with_a_sender_it_cannot_use_is_a_problem(
    engine: Engine, sequence_id: UUID, tenant: str, channel: str, provider: str, problem: str
) -> None:
    version = engine.create_sequence_version(TENANT, sequence_id)
    engine.create_step(TENANT, version.id, "hello", "email", TEMPLATE)
    adapter = engine.create_channel_adapter(tenant, "wrong", channel, provider)
    engine.rows("update dripdrop.steps set channel_adapter_id = %s returning 1", adapter.id)
    assert problems(engine, version.id) == [(problem, "hello")]


def test_a_sound_version_has_no_problems(engine: Engine) -> None:
    assert problems(engine, engine.author().id) == []


def test_an_unknown_version_is_neither_validated_nor_activated(engine: Engine) -> None:
    with engine.refused(VersionNotFound):
        engine.validate_sequence_version(TENANT, uuid4())
    with engine.refused(VersionNotFound):
        engine.activate_sequence_version(TENANT, uuid4())


def test_a_second_active_version_is_refused_whoever_writes_it(engine: Engine) -> None:
    version = engine.author()
    draft = engine.create_sequence_version(TENANT, version.sequence_id)
    with engine.refused(SecondActiveVersion):
        engine.rows(
            "update dripdrop.sequence_versions set state = 'active' where id = %s returning 1",
            draft.id,
        )


def test_people_stay_on_the_version_they_were_enrolled_in(engine: Engine) -> None:
    first = engine.author(email("welcome"), email("tip"))
    sam = engine.join("sam")
    second = engine.author(email("welcome"), email("offer"))
    eve = engine.join("eve")
    for _ in range(2):
        engine.deliver()
    assert (sam.sequence_version_id, eve.sequence_version_id) == (first.id, second.id)
    assert [x.step for x in engine.executions(sam.id)] == ["welcome", "tip"]
    assert [x.step for x in engine.executions(eve.id)] == ["welcome", "offer"]
