"""One tenant's ids and keys mean nothing in another, and null is the global scope, not all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    DripdropError,
    EnrollmentNotFound,
    ExecutionNotFound,
    SequenceNotFound,
    VersionNotFound,
)
from tests.engine import TEMPLATE, TENANT, Engine

Call = Callable[[Engine, Any, Any], Any]

REFUSED: dict[str, tuple[type[DripdropError], Call]] = {
    "create_sequence_version": (
        SequenceNotFound,
        lambda e, t, ids: e.create_sequence_version(t, ids["sequence"]),
    ),
    "create_step": (
        VersionNotFound,
        lambda e, t, ids: e.create_step(t, ids["draft"], "more", "email", TEMPLATE),
    ),
    "validate_sequence_version": (
        VersionNotFound,
        lambda e, t, ids: e.validate_sequence_version(t, ids["draft"]),
    ),
    "activate_sequence_version": (
        VersionNotFound,
        lambda e, t, ids: e.activate_sequence_version(t, ids["draft"]),
    ),
    "update_channel_adapter": (
        AdapterNotFound,
        lambda e, t, ids: e.update_channel_adapter(t, ids["adapter"], active=False),
    ),
    "enroll": (
        SequenceNotFound,
        lambda e, t, ids: e.enroll(t, "onboarding", "User", "eve", {"email": "eve@x.org"}),
    ),
    "enroll_many": (
        SequenceNotFound,
        lambda e, t, ids: e.enroll_many(
            t, "onboarding", [{"subscriber_id": "eve", "data": {"email": "eve@x.org"}}]
        ),
    ),
    "pause_enrollment": (
        EnrollmentNotFound,
        lambda e, t, ids: e.pause_enrollment(t, ids["enrollment"]),
    ),
    "resume_enrollment": (
        EnrollmentNotFound,
        lambda e, t, ids: e.resume_enrollment(t, ids["enrollment"]),
    ),
    "unenroll": (EnrollmentNotFound, lambda e, t, ids: e.unenroll(t, ids["enrollment"])),
    "explain": (EnrollmentNotFound, lambda e, t, ids: e.explain(t, ids["enrollment"])),
    "replay": (ExecutionNotFound, lambda e, t, ids: e.replay(t, ids["execution"])),
    "resolve": (ExecutionNotFound, lambda e, t, ids: e.resolve(t, ids["execution"], "sent")),
}


@pytest.fixture
def ids(engine: Engine) -> dict[str, Any]:
    version = engine.author()
    sam = engine.join("sam")
    return {
        "sequence": version.sequence_id,
        "draft": engine.create_sequence_version(TENANT, version.sequence_id).id,
        "adapter": engine.get_default_adapter(TENANT, "email").id,
        "enrollment": sam.id,
        "execution": engine.last(sam.id).id,
    }


@pytest.mark.parametrize("tenant", ["other", None])
@pytest.mark.parametrize("function", REFUSED)
def test_an_id_or_key_of_another_tenant_is_not_found(
    engine: Engine, ids: dict[str, Any], function: str, tenant: str | None
) -> None:
    error, call = REFUSED[function]
    with engine.refused(error):
        call(engine, tenant, ids)


@pytest.mark.parametrize("tenant", ["other", None])
def test_another_tenant_sees_nothing(
    engine: Engine, ids: dict[str, Any], tenant: str | None
) -> None:
    before = engine.contents()
    assert engine.get_enrollment(tenant, "onboarding", "User", "sam") is None
    assert engine.list_active_enrollments(tenant) == []
    assert engine.list_channel_adapters(tenant) == []
    assert engine.get_default_adapter(tenant, "email") is None
    assert engine.reseal_adapter(tenant, ids["adapter"], b"new", b"old") is False
    assert engine.contents() == before


def test_a_row_of_the_global_scope_belongs_to_no_tenant(engine: Engine) -> None:
    sequence = engine.create_sequence(None, "trial", "Trial")
    with engine.refused(SequenceNotFound):
        engine.create_sequence_version(TENANT, sequence.id)
    assert engine.create_sequence_version(None, sequence.id).tenant_key is None
