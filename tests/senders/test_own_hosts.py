"""Messages with a URL of their own: a host of one of them that hangs stops nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, onboarding

OTHER = "other"
HOOK = {"key": "ping", "channel": "webhook", "template": {"body": {}}}


@pytest.fixture
def shared(engine: Engine) -> Engine:
    """The engine with one webhook sender, through which two tenants send."""
    engine.create_channel_adapter(None, "shared", "webhook", "default", is_default=True)
    for tenant in (TENANT, OTHER):
        engine.apply(tenant, onboarding(HOOK))
    return engine


def crowd(engine: Engine, tenant: str, count: int, url: str | None) -> None:
    """Let messages of so many people be rendered, with a URL of their own."""
    people = [{"subscriber_id": f"{url}{number}"} for number in range(count)]
    engine.enroll_many(tenant, "onboarding", people)
    engine.tick()
    payload = {"body": {}} if url is None else {"body": {}, "url": url}
    results = [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "payload": payload,
        }
        for claim in engine.claim_renders()
    ]
    engine.complete_renders(results)


def claim(engine: Engine, free: int) -> list[Any]:
    """Return whose messages a sender with so many free places is handed."""
    claims = engine.claim_sends("webhook", places={"*": free})
    return [each.tenant_key for each in claims]


def test_a_tenant_whose_hosts_hang_leaves_half_of_the_places_to_others(shared: Engine) -> None:
    crowd(shared, TENANT, 30, "https://hangs.example/")
    assert claim(shared, 20) == [TENANT] * 10
    assert claim(shared, 10) == []
    crowd(shared, OTHER, 1, "https://up.example/")
    assert claim(shared, 10) == [OTHER]


def test_tenants_that_wait_leave_a_part_to_whoever_comes_next(shared: Engine) -> None:
    crowd(shared, TENANT, 30, "https://hangs.example/")
    crowd(shared, OTHER, 30, "https://hangs-too.example/")
    assert sorted(claim(shared, 20)) == [TENANT] * 6 + [OTHER] * 6
    assert claim(shared, 8) == []


def test_the_only_place_is_anybodys(shared: Engine) -> None:
    crowd(shared, TENANT, 2, "https://up.example/")
    assert claim(shared, 1) == [TENANT]


def test_messages_to_the_senders_own_server_get_all_places(shared: Engine) -> None:
    crowd(shared, TENANT, 30, None)
    assert claim(shared, 20) == [TENANT] * 20


def test_the_first_answer_missing_opens_the_circuit_of_a_messages_host(
    shared: Engine, clock: Clock
) -> None:
    crowd(shared, TENANT, 2, "https://hangs.example/")
    shared.record(shared.claim_sends("webhook", 1), "maybe_sent", code="timeout")
    (circuit,) = shared.list_circuits(None)
    assert (circuit.host, circuit.state, circuit.reason) == ("hangs.example", "resting", "timeout")
    assert shared.claim_sends("webhook") == []


def test_a_host_that_answers_others_of_the_moment_stays_closed(shared: Engine) -> None:
    crowd(shared, TENANT, 2, "https://up.example/")
    lost, taken = shared.claim_sends("webhook")
    shared.complete_sends(
        [
            {"execution": str(each.execution_id), "fence": each.fence, "outcome": outcome}
            for each, outcome in ((lost, "maybe_sent"), (taken, "sent"))
        ]
    )
    assert shared.list_circuits(None) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("HTTP://127.0.0.1:1/", "127.0.0.1"),
        ("http:///h", "?"),
        ("http://h;x@y/", "?"),
        ("nowhere", "?"),
    ],
)
def test_whatever_a_messages_url_is_its_sender_does_not_rest(
    shared: Engine, url: str, host: str
) -> None:
    crowd(shared, TENANT, 1, url)
    (mine,) = shared.claim_sends("webhook")
    shared.record([mine], "refused", code="http_429", retry_after=86400, stage="request")
    assert [circuit.host for circuit in shared.list_circuits(None)] == [host]
    crowd(shared, OTHER, 1, "https://up.example/")
    assert claim(shared, 1) == [OTHER]
