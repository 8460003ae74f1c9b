"""Reading what was authored: exactly one tenant's, and null is the global scope alone."""

from __future__ import annotations

import pytest

from dripdrop.documents import ENGINE_VARIABLES
from tests.engine import TENANT, Engine, after, email, onboarding
from tests.hooks.conftest import add_function

TENANTS = [TENANT, "other", None]


def test_a_sequence_is_found_by_its_key(engine: Engine) -> None:
    sequence = engine.create_sequence(TENANT, "trial", "Trial")
    assert engine.get_sequence(TENANT, "trial") == sequence


def test_the_versions_come_by_number(engine: Engine) -> None:
    sequence = engine.create_sequence(TENANT, "trial", "Trial")
    for number in (2, 1, 3):
        engine.create_sequence_version(TENANT, sequence.id, version=number)
    versions = engine.list_sequence_versions(TENANT, sequence.id)
    assert [version.version for version in versions] == [1, 2, 3]


def test_versions_of_another_sequence_do_not_mix_in(engine: Engine) -> None:
    trial, winback = (engine.create_sequence(TENANT, key, key) for key in ("trial", "winback"))
    engine.create_sequence_version(TENANT, trial.id)
    assert engine.list_sequence_versions(TENANT, winback.id) == []


def test_the_active_version_is_found_among_drafts_and_archived_ones(engine: Engine) -> None:
    engine.author()
    active = engine.author(email("welcome"))
    engine.author(email("hello"), activate=False)
    assert engine.get_active_sequence_version(TENANT, active.sequence_id) == active


def test_drafts_alone_are_no_active_version(engine: Engine) -> None:
    draft = engine.author(activate=False)
    assert engine.get_active_sequence_version(TENANT, draft.sequence_id) is None


def test_the_steps_come_in_the_order_of_the_flow_and_those_without_a_place_last(
    engine: Engine,
) -> None:
    version = engine.author(email("zeta"), email("alpha", timing=after(1, "days")))
    with engine.unguarded():
        engine.connection.execute(
            "insert into dripdrop.steps (sequence_version_id, tenant_key, key, name, channel)"
            " values (%s, %s, 'aside', 'Aside', 'email')",
            [version.id, TENANT],
        )
    steps = engine.list_steps(TENANT, version.id)
    assert [step.key for step in steps] == ["zeta", "alpha", "aside"]


def test_the_latest_step_is_that_of_the_newest_version_that_has_one(engine: Engine) -> None:
    engine.author(email("welcome", name="First"), email("tip"))
    draft = engine.author(email("welcome", name="Second"), activate=False)
    latest = engine.latest_step_by_key(TENANT, draft.sequence_id, "welcome")
    assert (latest.name, latest.sequence_version_id) == ("Second", draft.id)
    assert engine.latest_step_by_key(TENANT, draft.sequence_id, "tip").name == "tip"


def test_what_is_not_there_is_no_row(engine: Engine) -> None:
    version = engine.author()
    assert engine.get_sequence(TENANT, "trial") is None
    assert engine.latest_step_by_key(TENANT, version.sequence_id, "trial") is None


@pytest.mark.parametrize("owner", TENANTS)
@pytest.mark.parametrize("asking", TENANTS)
def test_each_reader_sees_exactly_its_tenant(
    engine: Engine, owner: str | None, asking: str | None
) -> None:
    version = engine.apply(owner, onboarding(email("welcome")))
    found = [
        engine.get_sequence(asking, "onboarding"),
        engine.get_active_sequence_version(asking, version.sequence_id),
        engine.latest_step_by_key(asking, version.sequence_id, "welcome"),
        engine.list_sequence_versions(asking, version.sequence_id),
        engine.list_steps(asking, version.id),
    ]
    assert [bool(each) for each in found] == [owner == asking] * 5


def test_the_variables_of_a_template_come_from_the_engine_from_hooks_and_from_data(
    engine: Engine,
) -> None:
    engine.author(email("welcome"), hooks=[{"key": "score", "url": "https://crm.example.com"}])
    add_function(engine, "select '1'::jsonb", key="plan")
    engine.join("ann", data={"email": "ann@example.com", "city": "Rome"})
    engine.join("ben", data={"email": "ben@example.com", "name": "Ben"})
    found = engine.template_variables(TENANT, "onboarding")
    assert [(row.source, row.variable) for row in found if row.source != "engine"] == [
        ("data", "city"),
        ("data", "email"),
        ("data", "name"),
        ("hook", "plan"),
        ("hook", "score"),
    ]
    assert {row.variable for row in found if row.source == "engine"} == ENGINE_VARIABLES


def test_a_sequence_that_is_not_there_yet_has_the_engines_variables(engine: Engine) -> None:
    found = engine.template_variables(TENANT, "nowhere")
    assert {row.source for row in found} == {"engine"}
