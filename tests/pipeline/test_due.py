"""Where ticks look for what is due."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine


def note(engine: Engine, first: UUID, took: str, number: int = 1) -> None:
    """Note a look that took so long and found so many."""
    engine.rows(
        "select dripdrop._note_look(%s, %s, %s::text::interval, dripdrop._now())",
        first,
        number,
        took,
    )


def was_due(engine: Engine, enrollment: UUID, hours: int) -> UUID:
    """Let the message of an enrolment be due since so many hours."""
    (row,) = engine.rows(
        "update dripdrop.step_executions set due_at = dripdrop._now() - make_interval(hours => %s)"
        " where enrollment_id = %s returning id",
        hours,
        enrollment,
    )
    return UUID(str(row.id))


def test_a_quick_look_is_not_noted(journey: Engine) -> None:
    journey.join()
    journey.tick()
    assert journey.rows("select from dripdrop.due_looks") == []


def test_after_a_slow_look_the_next_begin_where_it_found_something(journey: Engine) -> None:
    first = was_due(journey, journey.join("first").id, 2)
    note(journey, first, "1 minute")
    was_due(journey, journey.join("earlier").id, 3)
    assert journey.tick().queued == 1
    assert journey.tick().queued == 0


def test_what_comes_due_after_a_slow_look_is_taken_at_once(journey: Engine, clock: Clock) -> None:
    first = was_due(journey, journey.join("first").id, 2)
    journey.tick()
    note(journey, first, "1 minute")
    clock.advance(seconds=1)
    journey.join("new")
    assert journey.tick().queued == 1


def test_what_a_slow_look_leaves_behind_waits_twenty_times_as_long_as_it_took(
    journey: Engine,
) -> None:
    first = was_due(journey, journey.join("first").id, 2)
    note(journey, first, "1 minute")
    (row,) = journey.rows("select good_until - clock_timestamp() as rest from dripdrop.due_looks")
    assert timedelta(minutes=19) < row.rest <= timedelta(minutes=20)
    was_due(journey, journey.join("earlier").id, 3)
    journey.rows("update dripdrop.due_looks set good_until = clock_timestamp() returning 1")
    assert journey.tick().queued == 2


def test_a_batch_may_take_its_time(journey: Engine) -> None:
    first = was_due(journey, journey.join("first").id, 2)
    note(journey, first, "100 milliseconds", number=25_000)
    assert journey.rows("select from dripdrop.due_looks") == []


def test_a_clock_that_is_set_back_looks_from_the_beginning(journey: Engine, clock: Clock) -> None:
    first = was_due(journey, journey.join("first").id, 2)
    clock.advance(hours=5)
    note(journey, first, "1 minute")
    clock.advance(hours=-5)
    was_due(journey, journey.join("earlier").id, 3)
    assert journey.tick().queued == 2


def test_nobody_waits_for_a_look_that_somebody_else_notes(journey: Engine, other: Engine) -> None:
    first = was_due(journey, journey.join("first").id, 2)
    note(journey, first, "1 second")
    other.rows("select set_config('lock_timeout', '2s', false)")
    with journey.connection.transaction():
        note(journey, first, "1 minute")
        note(other, first, "1 hour")
    (look,) = journey.rows("select good_until - clock_timestamp() as rest from dripdrop.due_looks")
    assert timedelta(minutes=19) < look.rest <= timedelta(minutes=20)


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_tick_reads_no_more_of_what_is_due_than_its_batch(
    journey: Engine, dsn: str, analyzed: bool
) -> None:
    journey.join("early")
    journey.tick()  # a session plans once, perhaps while there is nobody yet
    journey.enroll_many(
        TENANT,
        "onboarding",
        [{"subscriber_id": str(n), "data": {"email": f"user{n}@example.com"}} for n in range(2000)],
    )
    if analyzed:
        journey.connection.execute("analyze dripdrop.step_executions, dripdrop.enrollments")
    with journey.connection.transaction():
        assert journey.tick(batch_size=100).queued == 100
        (row,) = journey.rows(
            "select pg_stat_get_xact_tuples_returned("
            "  'dripdrop.step_executions_due'::regclass"
            ") as entries"
        )
    assert 100 <= row.entries < 300
