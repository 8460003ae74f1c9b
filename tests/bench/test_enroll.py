"""What enrolment is compared with is the same rows, on runs too small to mean anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from dripdrop.bench import enroll
from dripdrop.bench.enroll import IN_BULK, ONE_BY_ONE, Session, Subscriber
from dripdrop.bench.workload import prepare, sequence

pytestmark = pytest.mark.slow

LOT = [Subscriber(str(number), json.dumps({"email": "sam@example.com"})) for number in range(3)]
ENROLLMENTS = """
    select
      to_jsonb(e) - '{id, call_number, started_at, inserted_at, updated_at}'::text[] as fields,
      started_at = inserted_at and inserted_at = updated_at as at_once
    from dripdrop.enrollments as e
    order by e.subscriber_id
"""
EXECUTIONS = """
    select
      to_jsonb(x) - '{id, enrollment_id, scheduled_for, due_at}'::text[]
      - '{inserted_at, updated_at}'::text[] as fields,
      scheduled_for = due_at as at_once
    from dripdrop.step_executions as x
"""


@pytest.fixture
def session(db: psycopg.Connection[Any]) -> Session:
    prepare(db, sequence(3))
    return Session(db)


def test_one_by_one_the_anchors_insert_the_rows_that_enroll_does(session: Session) -> None:
    enrollments, executions = written(session, ONE_BY_ONE[""])
    assert len(enrollments) == len(executions) == len(LOT)
    assert written(session, ONE_BY_ONE["_row"]) == (enrollments, [])
    assert written(session, ONE_BY_ONE["_rows"]) == (enrollments, executions)


def test_in_bulk_the_anchor_inserts_the_rows_that_enroll_many_does(session: Session) -> None:
    assert written(session, IN_BULK[""]) == written(session, IN_BULK["_rows"])


def test_the_benchmark_prints_one_object(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in {"CLIENTS": 2, "CALLS": 4, "BULK": 5, "THOUSAND": 3, "WAITING": 5}.items():
        monkeypatch.setattr(enroll, name, small)
    monkeypatch.setattr(enroll, "PROCESSES", 1)
    result = bench("enroll", turns=1)
    for name, ways in {"single": ONE_BY_ONE, "clients": ONE_BY_ONE, "bulk": IN_BULK}.items():
        for way in ways:
            assert result[f"{name}{way}_per_second"] > 0
        assert result[f"{name}_ratio_to_rows"] > 0
    assert result["busy_growth"] > 0


def written(session: Session, way: enroll.Way) -> tuple[list[Any], list[Any]]:
    with session.connection.transaction(force_rollback=True):
        way(session, LOT)
        return (
            session.connection.execute(ENROLLMENTS.encode()).fetchall(),
            session.connection.execute(EXECUTIONS.encode()).fetchall(),
        )
