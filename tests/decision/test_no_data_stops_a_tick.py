"""Whatever stands in a condition, an event or the data: a tick goes on, for everyone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dripdrop.errors import InvalidArgument, InvalidCondition
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email


@pytest.mark.parametrize(
    "condition",
    [
        {"field_path": '$.day.datetime("no format")', "operator": "==", "expected_value": 1},
        {"predicate": '$.enrollment.day.datetime("no format") < "2026".datetime("YYYY")'},
    ],
)
def test_a_condition_that_cannot_be_asked_does_not_hold(
    engine: Engine, condition: dict[str, object]
) -> None:
    engine.author(email("welcome", conditions=[condition]))
    sam = engine.join(data={"email": "sam@example.com", "day": "2026-03-02"})
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.state, execution.reason) == ("skipped", "not_comparable")


def test_a_condition_looks_back_a_hundred_years_at_most(engine: Engine) -> None:
    with pytest.raises(InvalidCondition):
        engine.author(email("welcome", conditions=[{"event": "paid", "within": "10000 years"}]))
    engine.author(email("welcome", conditions=[{"event": "paid", "within": "100 years"}]))
    sam = engine.join()
    engine.tick()
    assert engine.last(sam.id).reason == "condition_false"


@pytest.mark.parametrize("occurred_at", ["infinity", "-infinity", "294276-01-01", "0900-01-01"])
def test_an_event_from_another_age_is_refused(engine: Engine, occurred_at: str) -> None:
    engine.author()
    engine.join()
    with engine.refused(InvalidArgument):
        engine.track_events(
            TENANT, [{"event_key": "paid", "subscriber_id": "sam", "occurred_at": occurred_at}]
        )


def test_an_event_of_tomorrow_counts_tomorrow(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), goals=[{"event": "paid"}])
    sam = engine.join()
    engine.track_event(
        TENANT, "paid", subscriber_id="sam", occurred_at=clock.now + timedelta(days=1)
    )
    assert engine.enrollment(sam.id).state == "active"
