"""Which sender a message leaves through."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from dripdrop.errors import AdapterNotFound, InvalidArgument
from tests.engine import TENANT, Engine, email, onboarding


@pytest.fixture
def senders(engine: Engine) -> dict[str, Any]:
    """One adapter for each place a sender can come from."""
    return {
        name: engine.create_channel_adapter(tenant, name, "email", "smtp", is_default=default).id
        for name, tenant, default in [
            ("step", TENANT, False),
            ("sequence", TENANT, False),
            ("tenant", TENANT, True),
            ("global", None, True),
        ]
    }


def chosen(engine: Engine, definition: dict[str, Any]) -> Any:
    engine.apply(TENANT, definition)
    sam = engine.join()
    engine.tick()
    return engine.executions(sam.id)[0]


def test_the_steps_own_sender_comes_first(engine: Engine, senders: dict[str, Any]) -> None:
    definition = onboarding(
        email("welcome", adapter="step"),
        metadata={"channel_adapters": {"email": str(senders["sequence"])}},
    )
    assert chosen(engine, definition).adapter_id == senders["step"]


def test_then_the_sequences(engine: Engine, senders: dict[str, Any]) -> None:
    metadata = {"channel_adapters": {"email": str(senders["sequence"])}}
    assert chosen(engine, onboarding(metadata=metadata)).adapter_id == senders["sequence"]


def test_then_the_tenants_default(engine: Engine, senders: dict[str, Any]) -> None:
    assert chosen(engine, onboarding()).adapter_id == senders["tenant"]


def test_then_the_global_default(engine: Engine, senders: dict[str, Any]) -> None:
    engine.update_channel_adapter(TENANT, senders["tenant"], is_default=False)
    assert chosen(engine, onboarding()).adapter_id == senders["global"]


def test_the_global_default_stands_in_for_an_inactive_one(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.update_channel_adapter(TENANT, senders["tenant"], active=False)
    assert chosen(engine, onboarding()).adapter_id == senders["global"]


def test_without_a_sender_the_message_waits(engine: Engine) -> None:
    execution = chosen(engine, onboarding())
    assert (execution.state, execution.reason) == ("scheduled", "no_adapter")
    assert engine.enrollment(execution.enrollment_id).state == "active"


def test_an_inactive_sender_is_not_replaced_by_a_default(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.apply(TENANT, onboarding(email("welcome", adapter="step")))
    engine.update_channel_adapter(TENANT, senders["step"], active=False)
    sam = engine.join()
    engine.tick()
    assert (engine.last(sam.id).state, engine.last(sam.id).reason) == (
        "scheduled",
        "adapter_inactive",
    )


def test_a_step_whose_own_sender_is_off_leaves_the_other_steps_theirs(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.apply(
        TENANT,
        onboarding(
            email("a"),
            email("b", adapter="step"),
            email("c"),
        ),
    )
    engine.update_channel_adapter(TENANT, senders["step"], active=False)
    sam = engine.join()
    for _ in range(3):
        engine.deliver()
    engine.update_channel_adapter(TENANT, senders["step"], active=True)
    for _ in range(3):
        engine.deliver()
    assert [(x.state, x.adapter_id) for x in engine.executions(sam.id)] == [
        ("sent", senders["tenant"]),
        ("sent", senders["step"]),
        ("sent", senders["tenant"]),
    ]
    assert engine.enrollment(sam.id).adapter_id is None


def test_another_tenants_default_is_never_chosen(engine: Engine) -> None:
    engine.create_channel_adapter("other", "theirs", "email", "smtp", is_default=True)
    assert chosen(engine, onboarding()).reason == "no_adapter"


NOBODY = UUID(int=0)


@pytest.mark.parametrize("whose", ["other", "nobody"])
def test_a_sequence_cannot_name_a_sender_that_is_not_the_tenants(
    engine: Engine, whose: str
) -> None:
    theirs = engine.create_channel_adapter("other", "theirs", "email", "smtp").id
    adapter = theirs if whose == "other" else NOBODY
    metadata = {"channel_adapters": {"email": str(adapter)}}
    with engine.refused(AdapterNotFound) as refusal:
        engine.apply(TENANT, onboarding(metadata=metadata))
    assert refusal.value.diag.column_name == "metadata.channel_adapters.email"
    with engine.refused(AdapterNotFound):
        engine.create_sequence(TENANT, "news", "News", metadata=metadata)


def test_a_sequence_cannot_name_a_sender_of_another_channel_or_one_that_is_off(
    engine: Engine,
) -> None:
    hook = engine.create_channel_adapter(TENANT, "hook", "webhook", "default").id
    off = engine.create_channel_adapter(TENANT, "off", "email", "smtp", active=False).id
    with engine.refused(AdapterNotFound):
        engine.apply(TENANT, onboarding(metadata={"channel_adapters": {"email": str(hook)}}))
    with engine.refused(InvalidArgument):
        engine.apply(TENANT, onboarding(metadata={"channel_adapters": {"email": str(off)}}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("active = false", "adapter_inactive"),
        ("channel = 'webhook'", "adapter_channel_mismatch"),
        ("tenant_key = 'other'", "missing_channel_adapter"),
        ("id = gen_random_uuid()", "missing_channel_adapter"),
    ],
)
@pytest.mark.parametrize("named_by", ["step", "sequence"])
def test_a_named_sender_that_became_unusable_is_a_reason_not_another_sender(
    engine: Engine, senders: dict[str, Any], named_by: str, change: str, reason: str
) -> None:
    definition = (
        onboarding(email("welcome", adapter="step"))
        if named_by == "step"
        else onboarding(metadata={"channel_adapters": {"email": str(senders["sequence"])}})
    )
    engine.apply(TENANT, definition)
    with engine.unguarded():
        engine.connection.execute(
            f"update dripdrop.channel_adapters set {change} where name = %s".encode(), [named_by]
        )
    sam = engine.join()
    engine.tick()
    assert (engine.last(sam.id).state, engine.last(sam.id).reason) == ("scheduled", reason)


def test_what_is_said_of_another_tenants_sender_does_not_name_it(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.apply(TENANT, onboarding(email("welcome", adapter="step")))
    with engine.unguarded():
        engine.connection.execute(
            "update dripdrop.channel_adapters set tenant_key = 'other', name = 'secret'"
            " where name = 'step'"
        )
    sam = engine.join()
    (gate,) = [g for g in engine.explain(TENANT, sam.id) if not g.open]
    assert (gate.gate, gate.reason, gate.detail) == (
        "sender",
        "missing_channel_adapter",
        str(senders["step"]),
    )
    version_id = engine.get_enrollment(TENANT, "onboarding", "User", "sam").sequence_version_id
    (problem,) = engine.validate_sequence_version(TENANT, version_id)
    assert problem.problem == "missing_channel_adapter"
    assert "secret" not in problem.detail


def test_explain_names_the_sender_that_cannot_send(engine: Engine, senders: dict[str, Any]) -> None:
    engine.apply(TENANT, onboarding(email("welcome", adapter="step")))
    engine.update_channel_adapter(TENANT, senders["step"], active=False)
    (gate,) = [g for g in engine.explain(TENANT, engine.join().id) if not g.open]
    assert (gate.gate, gate.reason, gate.detail) == ("sender", "adapter_inactive", "step")
