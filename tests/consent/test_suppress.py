"""Addresses that must not be written to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dripdrop.errors import DripdropError, InvalidArgument, InvalidTenantKey, UnknownProvider
from tests.engine import TENANT, Engine


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered"])
@pytest.mark.parametrize("tenant", [TENANT, None])
def test_nothing_more_goes_to_a_suppressed_address(
    engine: Engine, tenant: str | None, state: str
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    engine.suppress(tenant, "email", "sam@example.com", "unsubscribe")
    assert engine.deliver() == []
    engine.tick()
    execution = engine.executions(sam.id)[0]
    assert (execution.state, execution.reason) == ("skipped", "suppressed")
    assert engine.ledger() == []


@pytest.mark.slow
@pytest.mark.parametrize("address", ["sam@example.com", "@example.com"])
def test_no_claim_takes_a_message_while_its_recipient_is_being_suppressed(
    engine: Engine, other: Engine, address: str
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with other.connection.transaction():
        other.suppress(TENANT, "email", address)
        assert engine.claim_sends("email") == []
        assert engine.executions(sam.id)[0].state == "rendered"
    assert engine.claim_sends("email") == []
    engine.tick()
    assert engine.executions(sam.id)[0].reason == "suppressed"


@pytest.mark.slow
def test_a_suppression_that_is_rolled_back_stops_nothing(engine: Engine, other: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with other.connection.transaction(force_rollback=True):
        other.suppress(TENANT, "email", "sam@example.com")
        assert engine.claim_sends("email") == []
    assert [claim.execution_id for claim in engine.claim_sends("email")] == [
        engine.executions(sam.id)[0].id
    ]


@pytest.mark.slow
@pytest.mark.parametrize("address", ["sam@example.com", "@example.com"])
def test_a_suppression_waits_for_a_claim_of_its_recipient(
    engine: Engine, other: Engine, address: str
) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert len(engine.claim_sends("email")) == 1
            suppressing = pool.submit(other.suppress, TENANT, "email", address)
            engine.wait_until_blocked(other.connection)
        suppressing.result(20)
    assert engine.executions(sam.id)[0].state == "sending"


@pytest.mark.parametrize("address", ["SAM@Example.com", "  sam@example.com "])
def test_addresses_are_compared_without_case_and_outer_spaces(engine: Engine, address: str) -> None:
    engine.author()
    sam = engine.join()
    suppression = engine.suppress(TENANT, "email", address)
    assert (suppression.recipient, suppression.recipient_normalized) == (address, "sam@example.com")
    engine.tick()
    assert engine.executions(sam.id)[0].reason == "suppressed"


def test_one_tenants_suppression_leaves_another_tenant_alone(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.bring_to("queued", engine.get_enrollment(TENANT, "onboarding", "User", "sam").id)
    engine.suppress("other", "email", "sam@example.com")
    engine.render()
    assert len(engine.claim_sends("email")) == 1


def test_a_suppression_is_for_one_channel(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.suppress(TENANT, "webhook", "sam@example.com")
    assert len(engine.deliver()) == 1


def test_a_message_that_has_passed_the_fence_is_still_recorded(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    claims = engine.claim()
    engine.suppress(TENANT, "email", "sam@example.com")
    engine.record(claims)
    assert engine.executions(sam.id)[0].state == "sent"


def test_a_suppression_leaves_a_paused_message_on_hold(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    engine.pause_enrollment(TENANT, sam.id)
    engine.suppress(TENANT, "email", "sam@example.com")
    assert engine.last(sam.id).due_at is None
    assert engine.ledger() == []


def test_suppressing_again_for_a_worse_reason_replaces_it(engine: Engine) -> None:
    first = engine.suppress(TENANT, "email", "sam@example.com", "bounce", "provider")
    second = engine.suppress(TENANT, "email", "Sam@example.com", "complaint")
    assert (second.id, second.reason, second.source) == (first.id, "complaint", None)


def test_a_tenant_and_every_tenant_may_suppress_the_same_address(engine: Engine) -> None:
    for tenant in (TENANT, "other", None):
        engine.suppress(tenant, "email", "sam@example.com")
    assert engine.rows("select count(*) from dripdrop.suppressions")[0].count == 3


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"tenant_key": ""}, InvalidTenantKey, "tenant_key"),
        ({"channel": "fax"}, UnknownProvider, "channel"),
        ({"recipient": " "}, InvalidArgument, "recipient"),
        ({"recipient": None}, InvalidArgument, "recipient"),
        ({"reason": "spite"}, InvalidArgument, "reason"),
        ({"reason": None}, InvalidArgument, "reason"),
        ({"metadata": []}, InvalidArgument, "metadata"),
    ],
)
def test_a_bad_argument_is_named(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    arguments: dict[str, Any] = {
        "tenant_key": TENANT,
        "channel": "email",
        "recipient": "sam@example.com",
    }
    with engine.refused(error) as refusal:
        engine.suppress(**arguments | fields)
    assert refusal.value.diag.column_name == field
