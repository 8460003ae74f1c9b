"""Predicates may compare times; one without a zone is in UTC, whoever ticks."""

from __future__ import annotations

import pytest

from tests.engine import Engine, email

BEFORE_MAY = '$.enrollment.ends.datetime() < "2026-05-01T00:00:00+00:00".datetime()'


@pytest.mark.parametrize("session", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize(
    ("ends", "state", "reason"),
    [
        ("2026-04-30T23:59:59", "sent", "sent"),
        ("2026-05-01T00:00:00", "skipped", "condition_false"),
        ("2026-05-01", "skipped", "condition_false"),
        ("some day", "skipped", "not_comparable"),
        (7, "skipped", "not_comparable"),
    ],
)
def test_a_time_is_compared_with_a_time(
    engine: Engine, session: str, ends: object, state: str, reason: str
) -> None:
    engine.connection.execute("select set_config('timezone', %s, false)", [session])
    engine.author(email("offer", conditions=[{"predicate": BEFORE_MAY}]))
    sam = engine.join(data={"email": "sam@example.com", "ends": ends})
    engine.deliver()
    assert (engine.last(sam.id).state, engine.last(sam.id).reason) == (state, reason)
