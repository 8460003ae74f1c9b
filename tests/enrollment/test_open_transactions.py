"""An enrolment that is not committed yet holds up nobody but the same subscriber."""

from __future__ import annotations

import pytest

from tests.engine import TENANT, Engine, email


@pytest.mark.parametrize("reentry", ["never", "after_exit", "always"])
def test_an_open_enrolment_of_many_holds_up_nobody_else(
    engine: Engine, other: Engine, reentry: str
) -> None:
    engine.author(email("welcome"), reentry=reentry)
    other.connection.execute("set lock_timeout = '1s'")
    people = [{"subscriber_id": f"{n}", "data": {"email": f"{n}@example.com"}} for n in range(3000)]
    with engine.connection.transaction():
        assert len(engine.enroll_many(TENANT, "onboarding", people)) == len(people)
        others = [
            {"subscriber_id": f"o{n}", "data": {"email": f"o{n}@example.com"}} for n in range(50)
        ]
        assert len(other.enroll_many(TENANT, "onboarding", others)) == 50


def test_a_replayed_enrolment_comes_back_beside_one_that_began_meanwhile(engine: Engine) -> None:
    engine.author(email("welcome"), reentry="after_exit")
    former = engine.join(entry_key="1")
    engine.deliver("failed")
    later = engine.join(entry_key="2")
    failed = engine.last(former.id)
    assert engine.replay(TENANT, failed.id).state == "scheduled"
    states = [engine.enrollment(each.id).state for each in (former, later)]
    assert states == ["active", "active"]
