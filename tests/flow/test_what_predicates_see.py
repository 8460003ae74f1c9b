"""A predicate sees all there is, however it mentions it."""

from __future__ import annotations

import pytest

from tests.engine import Engine, email


@pytest.mark.parametrize(
    "predicate",
    [
        '$.enrollment.email == "sam@example.com"',
        '$.subscriber.id == "sam" && $.subscriber.type == "User"',
        '$.subscriber.email == "sam@example.com"',
        '$.sequence.key == "onboarding"',
        '$.step.key == "welcome" && $.step.channel == "email"',
        '$.steps.welcome.state == "scheduled"',
        '$."st\\u0065ps".welcome.state == "scheduled"',
        '$.* ? (@.welcome.state == "scheduled").welcome.occurrence == 0',
        '$.*.key == "onboarding"',
        '$.**.channel == "email"',
        '$.**{2}.state == "scheduled"',
        '$.keyvalue() ? (@.key starts with "sequ").value.key == "onboarding"',
    ],
)
def test_a_predicate_that_holds_lets_the_step_go(engine: Engine, predicate: str) -> None:
    engine.author(email("welcome", conditions=[{"predicate": predicate}]))
    engine.join()
    assert engine.tick().queued == 1
