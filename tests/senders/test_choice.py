"""Which sender a message leaves through."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_without_a_sender_the_step_fails(engine: Engine) -> None:
    execution = chosen(engine, onboarding())
    assert (execution.state, execution.reason) == ("failed", "no_adapter")
    assert engine.enrollment(execution.enrollment_id).exit_reason == "step_failed"


def test_an_inactive_sender_is_not_replaced_by_a_default(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.apply(TENANT, onboarding(email("welcome", adapter="step")))
    engine.update_channel_adapter(TENANT, senders["step"], active=False)
    sam = engine.join()
    engine.tick()
    assert (engine.last(sam.id).state, engine.last(sam.id).reason) == (
        "failed",
        "adapter_inactive",
    )


def test_another_tenants_sender_is_never_chosen(engine: Engine) -> None:
    theirs = engine.create_channel_adapter("other", "theirs", "email", "smtp", is_default=True)
    metadata = {"channel_adapters": {"email": str(theirs.id)}}
    assert chosen(engine, onboarding(metadata=metadata)).reason == "no_adapter"
