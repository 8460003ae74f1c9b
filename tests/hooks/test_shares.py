"""One tenant's hooks have at most half of a caller's places, whoever waits."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.engine import TENANT, Engine, email, onboarding
from tests.hooks.conftest import add_function

OTHER = "other"


def sequence(engine: Engine, tenant: str, keys: list[str], url: str | None = None) -> None:
    """Write a sequence for each hook, and let ten people wait for it."""
    for key in keys:
        step = email("welcome", template={"subject": "Hello", "text": f"{{{{ {key} }}}}"})
        hooks = [{"key": key, "url": url, "response_path": "score"}] if url else []
        engine.apply(tenant, onboarding(step, hooks=hooks) | {"key": key})
        people: list[dict[str, Any]] = [
            {"subscriber_id": f"{tenant}{number}", "data": {"email": f"{tenant}{number}@acme.test"}}
            for number in range(10)
        ]
        engine.enroll_many(tenant, key, people)
    engine.tick()


def under_way(claims: list[Any]) -> dict[str, int]:
    """Return claims as calls that have not ended."""
    return dict(Counter(str(claim.hook["id"]) for claim in claims))


def tenants(claims: list[Any]) -> dict[str, int]:
    """Count claims by tenant."""
    return dict(Counter(claim.tenant_key for claim in claims))


def claim_all(engine: Engine, batch_size: int, functions: int) -> list[Any]:
    """Claim as a caller does whose calls never end."""
    claims: list[Any] = []
    while more := engine.claim_hooks(
        batch_size=batch_size - len(claims),
        busy=under_way(claims),
        functions=functions - sum(claim.kind == "sql" for claim in claims),
    ):
        claims += more
    return claims


def test_a_tenants_endpoints_leave_half_of_the_places(engine: Engine) -> None:
    engine.author(email("unused"))
    sequence(engine, TENANT, ["one", "two", "three"], "https://hangs.example/")
    held = claim_all(engine, 20, 4)
    assert tenants(held) == {TENANT: 10}
    sequence(engine, OTHER, ["mine"], "https://up.example/")
    next_ = engine.claim_hooks(batch_size=10, busy=under_way(held), functions=4)
    assert tenants(next_)[OTHER] >= 1
    assert TENANT not in tenants(next_)


def test_a_tenants_functions_leave_half_of_the_places(engine: Engine) -> None:
    engine.author(email("unused"))
    for key in ("one", "two", "three"):
        add_function(engine, key=key)
    sequence(engine, TENANT, ["one", "two", "three"])
    held = claim_all(engine, 20, 4)
    assert tenants(held) == {TENANT: 2}
    add_function(engine, key="mine", tenant_key=OTHER)
    sequence(engine, OTHER, ["mine"])
    next_ = engine.claim_hooks(batch_size=18, busy=under_way(held), functions=2)
    assert tenants(next_) == {OTHER: 2}


def test_a_tenant_has_one_place_where_there_is_but_one(engine: Engine) -> None:
    engine.author(email("unused"))
    sequence(engine, TENANT, ["one"], "https://hangs.example/")
    assert tenants(engine.claim_hooks(batch_size=1)) == {TENANT: 1}
