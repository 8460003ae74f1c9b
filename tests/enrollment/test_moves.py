"""The moves that enrolments and executions can make, whoever writes."""

from __future__ import annotations

from itertools import permutations

import pytest

from dripdrop.errors import InvalidTransition
from tests.engine import Engine

ENROLLMENT = {"active", "paused", "completed", "cancelled"}
ENROLLMENT_MOVES = {
    ("active", "paused"),
    ("active", "completed"),
    ("active", "cancelled"),
    ("paused", "active"),
    ("paused", "completed"),
    ("paused", "cancelled"),
}
EXECUTION = {
    "scheduled", "queued", "rendered", "sending", "unknown", "sent", "failed", "skipped",
    "cancelled",
}  # fmt: skip
EXECUTION_MOVES = {
    *(("scheduled", to) for to in ("queued", "rendered", "skipped", "cancelled", "failed")),
    *(("queued", to) for to in ("rendered", "sending", "scheduled", "cancelled", "failed")),
    *(("rendered", to) for to in ("sending", "scheduled", "cancelled")),
    *(("sending", to) for to in ("sent", "failed", "scheduled", "unknown", "cancelled")),
    *(("unknown", to) for to in ("sent", "failed", "scheduled", "cancelled")),
    ("failed", "scheduled"),
}


def moves(engine: Engine, table: str, states: set[str], columns: str) -> set[tuple[str, str]]:
    """Return the moves between states that the table lets a row make."""
    allowed = set()
    number = columns.count("%s")
    for old, new in permutations(sorted(states), 2):
        with engine.unguarded():
            engine.rows(f"update dripdrop.{table} set {columns} returning 1", *[old] * number)
        try:
            engine.rows(f"update dripdrop.{table} set {columns} returning 1", *[new] * number)
        except InvalidTransition as refusal:
            assert refusal.diag.message_hint
        else:
            allowed.add((old, new))
    return allowed


def test_an_enrolment_makes_only_legal_moves(engine: Engine) -> None:
    engine.author()
    engine.join()
    columns = (
        "state = %s, paused_at = case when %s = 'paused' then now() end,"
        " exit_reason = case when %s in ('completed', 'cancelled') then 'x' end"
    )
    assert moves(engine, "enrollments", ENROLLMENT, columns) == ENROLLMENT_MOVES


def test_an_execution_makes_only_legal_moves(engine: Engine) -> None:
    engine.author()
    engine.join()
    columns = (
        "state = %s, due_at = null, reason = 'x',"
        " waits_for = case when %s = 'scheduled' then 'pause' end,"
        " lease_until = case when %s = 'sending' then now() end,"
        " ended_at = case when %s in ('sent', 'failed', 'skipped', 'cancelled') then now() end"
    )
    assert moves(engine, "step_executions", EXECUTION, columns) == EXECUTION_MOVES


@pytest.mark.parametrize("state", sorted(EXECUTION - {"scheduled"}))
def test_an_execution_begins_as_scheduled(engine: Engine, state: str) -> None:
    engine.author()
    engine.join()
    with engine.refused(InvalidTransition):
        engine.rows(
            "insert into dripdrop.step_executions"
            " (enrollment_id, step_id, occurrence, channel, scheduled_for, state)"
            " select enrollment_id, step_id, 1, channel, scheduled_for, %s"
            " from dripdrop.step_executions returning 1",
            state,
        )
