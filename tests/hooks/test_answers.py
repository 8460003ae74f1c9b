"""complete_hooks(): an answer becomes a value, or an error, and touches nothing else."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import InvalidArgument
from tests.conftest import Clock
from tests.engine import TENANT, Engine
from tests.hooks.conftest import add_hook, answer, waiting
from tests.pipeline.conftest import pointers


def test_what_is_answered_is_due_at_once(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    now = clock.advance(seconds=5)
    assert answer(hooked, claim, score={"value": 85}) == 1
    answered = hooked.last(execution.enrollment_id)
    assert (answered.hooks, answered.due_at) == ({"score": {"value": 85}}, now)
    assert pointers(hooked, "hooks") == []
    assert hooked.tick().queued == 1


def test_the_first_answer_stays(hooked: Engine) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    assert answer(hooked, claim, score={"value": 85}) == 1
    assert answer(hooked, claim, score={"value": 7}) == 0
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"value": 85}}


def test_a_late_answer_does_not_bring_what_was_put_off_back(hooked: Engine) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    answer(hooked, claim, score={"value": 85})
    hooked.connection.execute("update dripdrop.step_executions set due_at = 'infinity'")
    answer(hooked, claim, score={"value": 85})
    row = hooked.rows("select due_at = 'infinity' as put_off from dripdrop.step_executions")[0]
    assert row.put_off
    assert execution.state == "scheduled"


def test_an_answer_for_what_was_paused_is_left_alone(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    hooked.pause_enrollment(TENANT, execution.enrollment_id)
    assert answer(hooked, claim, score={"value": 85}) == 0
    paused = hooked.last(execution.enrollment_id)
    assert (paused.hooks, paused.due_at) == (None, None)
    hooked.resume_enrollment(TENANT, execution.enrollment_id)
    clock.advance(minutes=15)
    assert hooked.tick().asked == 1


def test_under_the_same_fence_a_paused_enrolment_keeps_the_answer_and_waits(
    hooked: Engine,
) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    hooked.connection.execute("update dripdrop.enrollments set state = 'paused'")
    assert answer(hooked, claim, score={"value": 85}) == 1
    paused = hooked.last(execution.enrollment_id)
    assert (paused.hooks, paused.due_at) == ({"score": {"value": 85}}, None)


@pytest.mark.parametrize(
    ("response", "fields", "kept"),
    [
        ('{"score": 85}', {}, {"value": 85}),
        ('{"score": {"a": [1]}}', {}, {"value": {"a": [1]}}),
        ('{"score": null}', {}, {"value": None}),
        ('{"points": 85}', {}, {"error": "hook_path_missing"}),
        ("busy", {}, {"error": "hook_coercion"}),
        ("", {}, {"error": "hook_coercion"}),
        ('{"score": "\\u0000"}', {}, {"error": "hook_coercion"}),
        ('{"score": 85}', {"response_path": None}, {"value": {"score": 85}}),
        ('[{"id": 7}]', {"response_path": "$[0].id"}, {"value": 7}),
        ("busy", {"response_type": "text", "response_path": None}, {"value": "busy"}),
        ('{"score": "high"}', {"response_type": "text"}, {"value": "high"}),
        ('{"score": 85}', {"response_type": "text"}, {"value": "85"}),
        ('{"score": "85.5"}', {"response_type": "number"}, {"value": 85.5}),
        ('{"score": 85}', {"response_type": "number"}, {"value": 85}),
        ('{"score": "high"}', {"response_type": "number"}, {"error": "hook_coercion"}),
        ('{"score": null}', {"response_type": "number"}, {"error": "hook_coercion"}),
        ('{"score": true}', {"response_type": "number"}, {"error": "hook_coercion"}),
        ("42", {"response_type": "number", "response_path": None}, {"value": 42}),
        ('{"score": "true"}', {"response_type": "boolean"}, {"value": True}),
        ('{"score": false}', {"response_type": "boolean"}, {"value": False}),
        ('{"score": 1}', {"response_type": "boolean"}, {"error": "hook_coercion"}),
    ],
)
def test_a_response_becomes_a_value_by_path_and_type(
    hooked: Engine, response: str, fields: dict[str, Any], kept: dict[str, Any]
) -> None:
    add_hook(hooked, **fields)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    answer(hooked, claim, score={"response": response, "status": 200})
    assert hooked.last(execution.enrollment_id).hooks == {"score": kept}


def test_a_response_of_a_hook_that_is_gone_is_an_error(hooked: Engine) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    hooked.connection.execute("delete from dripdrop.http_hooks")
    answer(hooked, claim, score={"response": "85", "status": 200})
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"error": "hook_missing"}}


def test_an_error_keeps_its_code_and_nothing_else(hooked: Engine) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    answer(hooked, claim, score={"error": "http_404", "status": 500, "detail": "secret"})
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"error": "http_404"}}


@pytest.mark.parametrize(
    "results",
    [
        {},
        [7],
        [{"execution": "sam", "fence": 0, "message": 1, "values": {}}],
        [{"execution": str(uuid4()), "fence": 0, "message": 1}],
        [{"execution": str(uuid4()), "fence": 0, "message": 1, "values": []}],
        [{"execution": str(uuid4()), "fence": 0, "message": 1, "values": {"score": 85}}],
        [{"execution": str(uuid4()), "fence": 0, "message": 1, "values": {"score": {}}}],
        [
            {
                "execution": str(uuid4()),
                "fence": 0,
                "message": 1,
                "values": {"score": {"value": 1, "error": "x"}},
            }
        ],
    ],
)
def test_results_that_are_malformed_are_refused(engine: Engine, results: Any) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.complete_hooks(results)
    assert refusal.value.diag.column_name == "results"


UNUSABLE = {
    "a number beyond a double": '{"score": 1e400}',
    "a number beyond a double, not looked at": '{"score": 1, "other": -1e999}',
    "deep nesting": "[" * 60 + "]" * 60,
    "nesting beyond any parser": "[" * 5000 + "]" * 5000,
    "nesting beyond a stack": "[" * 30_000 + "]" * 30_000,
    "many bytes": '{"score": "' + "x" * 70_000 + '"}',
    "a long list": "[" + "0, " * 1000 + "0]",
    "a lone surrogate": '{"score": "\\ud800"}',
    "a NUL": '{"score": "\\u0000"}',
}


@pytest.mark.parametrize("response", UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize("path", ["$.score", None])
def test_an_answer_that_nobody_could_read_is_an_error_and_touches_nothing_else(
    hooked: Engine, response: str, path: str | None
) -> None:
    add_hook(hooked, response_path=path)
    hit, other = waiting(hooked, "sam"), waiting(hooked, "ada")
    for claim in hooked.claim_hooks():
        good = claim.execution_id == other.id
        answer(hooked, claim, score={"response": '{"score": 85}' if good else response})
    kept = hooked.last(hit.enrollment_id).hooks["score"]
    assert kept in ({"error": "hook_unusable"}, {"error": "hook_coercion"})
    assert "error" not in hooked.last(other.enrollment_id).hooks["score"]
    assert hooked.tick().queued == 2


def test_a_text_that_is_too_long_is_an_error(hooked: Engine) -> None:
    add_hook(hooked, response_path=None, response_type="text")
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    answer(hooked, claim, score={"response": "x" * 70_000})
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"error": "hook_unusable"}}


@pytest.mark.slow
@pytest.mark.parametrize("table", ["enrollments", "step_executions"])
def test_an_answer_for_someone_who_is_locked_holds_up_nobody_and_is_asked_for_again(
    hooked: Engine, other: Engine, clock: Clock, table: str
) -> None:
    add_hook(hooked)
    locked, free = waiting(hooked, "sam"), waiting(hooked, "robin")
    results = [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "values": {"score": {"value": 85}},
        }
        for claim in hooked.claim_hooks()
    ]
    held = locked.enrollment_id if table == "enrollments" else locked.id
    hooked.connection.execute("set lock_timeout = '1s'")
    with other.connection.transaction():
        other.connection.execute(
            f"select from dripdrop.{table} where id = %s for update".encode(), [held]
        )
        assert hooked.complete_hooks(results) == 1
        assert hooked.last(free.enrollment_id).hooks == {"score": {"value": 85}}
        assert hooked.last(locked.enrollment_id).hooks is None
    assert hooked.claim_hooks() == []
    clock.advance(seconds=5)
    (again,) = hooked.claim_hooks()
    assert again.execution_id == locked.id
    answer(hooked, again, score={"value": 85})
    assert hooked.last(locked.enrollment_id).hooks == {"score": {"value": 85}}
    assert hooked.ledger() == []
