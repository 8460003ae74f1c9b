"""Words of a step that change under way."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from dripdrop.errors import InvalidArgument, StepNotFound
from tests.engine import TEMPLATE, TENANT, Engine, email, onboarding

MENDED = {"subject": "Hello again", "text": "Hello again"}


@pytest.fixture
def step_id(engine: Engine) -> UUID:
    engine.author(email("welcome"))
    step: UUID = engine.rows("select id from dripdrop.steps")[0].id
    return step


def test_an_active_step_gets_new_words(engine: Engine, step_id: UUID) -> None:
    step = engine.update_step_content(TENANT, step_id, MENDED, "Welcome back")
    assert (step.template_content, step.name) == (MENDED, "Welcome back")


def test_what_was_replaced_is_kept(engine: Engine, step_id: UUID) -> None:
    engine.update_step_content(TENANT, step_id, MENDED)
    engine.update_step_content(TENANT, step_id, name="Welcome back")
    kept = engine.rows("select name, template_content from dripdrop.step_revisions order by id")
    assert kept == [("welcome", TEMPLATE), ("welcome", MENDED)]


def test_the_same_words_again_change_nothing(engine: Engine, step_id: UUID) -> None:
    before = engine.contents()
    engine.update_step_content(TENANT, step_id, TEMPLATE, "welcome")
    engine.update_step_content(TENANT, step_id)
    assert engine.contents() == before


def test_a_queued_message_renders_the_new_words(engine: Engine, step_id: UUID) -> None:
    engine.join()
    engine.tick()
    engine.update_step_content(TENANT, step_id, MENDED)
    assert [claim.template for claim in engine.claim_renders()] == [MENDED]


def test_a_rendered_message_keeps_its_words(engine: Engine, step_id: UUID) -> None:
    sam = engine.join()
    rendered = engine.bring_to("rendered", sam.id)
    engine.update_step_content(TENANT, step_id, MENDED)
    (claim,) = engine.claim_sends("email")
    assert claim.payload == rendered.payload


def test_the_old_document_makes_a_new_version(engine: Engine, step_id: UUID) -> None:
    engine.update_step_content(TENANT, step_id, MENDED)
    version = engine.apply(TENANT, onboarding(email("welcome")))
    assert version.version == 2
    assert engine.rows("select template_content from dripdrop.steps order by id") == [
        (MENDED,),
        (TEMPLATE,),
    ]


def test_a_hook_that_the_new_words_name_is_asked(engine: Engine) -> None:
    engine.author(email("welcome"), hooks=[{"key": "score", "url": "https://crm.example.com"}])
    (step,) = engine.rows("select id from dripdrop.steps")
    words = TEMPLATE | {"text": "Your score is {{ score }}"}
    assert engine.update_step_content(TENANT, step.id, words).hooks == ["score"]


def test_words_its_channel_cannot_use_are_refused(engine: Engine, step_id: UUID) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.update_step_content(TENANT, step_id, {"subject": "Hello"})
    assert refusal.value.diag.column_name == "template.html"


@pytest.mark.parametrize("tenant", ["other", None])
def test_a_step_of_another_tenant_is_not_found(
    engine: Engine, step_id: UUID, tenant: str | None
) -> None:
    with engine.refused(StepNotFound):
        engine.update_step_content(tenant, step_id, MENDED)
    with engine.refused(StepNotFound):
        engine.update_step_content(TENANT, uuid4(), MENDED)
