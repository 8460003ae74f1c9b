"""claim_hooks() and complete_hooks(): values for what waits to be decided."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument, NotStarted
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email
from tests.hooks.conftest import SCORED, add_function, add_hook, answer, sealed, waiting
from tests.pipeline.conftest import pointers

TWO = email("welcome", template={"subject": "{{ plan }}", "text": "{{ score }}"})


def enqueue(engine: Engine, execution_id: Any, fence: int) -> None:
    """Put a pointer into the queue."""
    pointer = Jsonb({"execution": str(execution_id), "fence": fence})
    engine.rows("select dripdrop._enqueue('dripdrop_hooks', array[%s::jsonb])", pointer)


def test_a_claim_brings_an_http_hook_and_its_variables(hooked: Engine) -> None:
    add_hook(
        hooked,
        auth_type="bearer",
        auth_config=sealed({"token": "t"}),
        body_template='{"id": "{{ subscriber_id }}"}',
    )
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    assert (claim.execution_id, claim.fence, claim.tenant_key) == (execution.id, 0, TENANT)
    assert (claim.key, claim.kind) == ("score", "http")
    assert claim.variables["subscriber_id"] == "sam"
    wanted = {
        "url": "https://api.example.com/leads",
        "method": "POST",
        "headers": {},
        "body_template": '{"id": "{{ subscriber_id }}"}',
        "auth_type": "bearer",
        "auth_config": sealed,
        "timeout_ms": 5000,
        "retry_count": 2,
        "seal_name": "hook:onboarding:score",
        "tenant_key": TENANT,
    }
    assert wanted.keys() <= claim.hook.keys()
    assert {k: claim.hook[k] for k in wanted if k != "auth_config"} == {
        k: v for k, v in wanted.items() if k != "auth_config"
    }


def test_a_claim_brings_a_functions_timeout(hooked: Engine) -> None:
    add_function(hooked, timeout_ms=250)
    waiting(hooked)
    (claim,) = hooked.claim_hooks()
    assert (claim.key, claim.kind, claim.hook) == ("score", "sql", {"timeout_ms": 250})


def test_an_http_hook_of_the_sequence_goes_before_a_function(hooked: Engine) -> None:
    add_function(hooked)
    add_hook(hooked)
    waiting(hooked)
    assert [claim.kind for claim in hooked.claim_hooks()] == ["http"]


def test_each_key_without_an_answer_is_a_row(engine: Engine) -> None:
    engine.author(TWO)
    add_hook(engine)
    add_hook(engine, "plan")
    waiting(engine)
    assert sorted(claim.key for claim in engine.claim_hooks(visibility=timedelta(0))) == [
        "plan",
        "score",
    ]
    (first, _) = engine.claim_hooks()
    answer(engine, first, plan={"value": "pro"})
    engine.tick()
    assert [claim.key for claim in engine.claim_hooks()] == ["score"]


def test_a_claim_is_nobody_elses_for_a_while(hooked: Engine) -> None:
    add_hook(hooked)
    waiting(hooked)
    assert len(hooked.claim_hooks()) == 1
    assert hooked.claim_hooks() == []


def test_an_abandoned_claim_comes_again(hooked: Engine) -> None:
    add_hook(hooked)
    waiting(hooked)
    (abandoned,) = hooked.claim_hooks(visibility=timedelta(0))
    assert hooked.claim_hooks() == [abandoned]


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


@pytest.mark.parametrize("moved", ["unenroll", "pause_enrollment"])
def test_a_pointer_to_what_moved_on_is_thrown_away(hooked: Engine, moved: str) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    getattr(hooked, moved)(TENANT, execution.enrollment_id)
    assert hooked.claim_hooks() == []
    assert pointers(hooked, "hooks") == []


def test_a_pointer_to_what_has_all_values_is_thrown_away(hooked: Engine) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    (claim,) = hooked.claim_hooks()
    answer(hooked, claim, score={"value": 85})
    enqueue(hooked, execution.id, execution.fence)
    assert hooked.claim_hooks() == []
    assert pointers(hooked, "hooks") == []


def test_a_pointer_to_nothing_is_thrown_away(engine: Engine) -> None:
    enqueue(engine, uuid4(), 0)
    assert engine.claim_hooks() == []
    assert pointers(engine, "hooks") == []


def test_a_hook_that_is_switched_off_is_an_error_without_a_call(hooked: Engine) -> None:
    hook = add_hook(hooked)
    execution = waiting(hooked)
    hooked.update_http_hook(TENANT, hook.id, active=False)
    assert hooked.claim_hooks() == []
    answered = hooked.last(execution.enrollment_id)
    assert answered.hooks == {"score": {"error": "hook_inactive"}}
    assert pointers(hooked, "hooks") == []


def test_a_hook_that_is_gone_is_an_error_without_a_call(hooked: Engine) -> None:
    add_function(hooked)
    execution = waiting(hooked)
    hooked.drop_hook(TENANT, "score")
    assert hooked.claim_hooks() == []
    answered = hooked.last(execution.enrollment_id)
    assert answered.hooks == {"score": {"error": "hook_missing"}}
    assert hooked.tick().asked == 0


def test_what_can_be_called_is_called_beside_what_cannot(engine: Engine) -> None:
    engine.author(TWO)
    add_hook(engine)
    add_hook(engine, "plan", active=False)
    execution = waiting(engine)
    (claim,) = engine.claim_hooks()
    assert claim.key == "score"
    answer(engine, claim, score={"value": 85})
    assert engine.tick().asked == 1
    assert engine.claim_hooks() == []
    assert engine.last(execution.enrollment_id).hooks == {
        "score": {"value": 85},
        "plan": {"error": "hook_inactive"},
    }


def test_a_claim_waits_for_nobody(hooked: Engine, other: Engine) -> None:
    add_hook(hooked, active=False)
    execution = waiting(hooked)
    with other.connection.transaction():
        other.pause_enrollment(TENANT, execution.enrollment_id)
        with ThreadPoolExecutor() as pool:
            claiming = pool.submit(hooked.claim_hooks, visibility=timedelta(0))
            assert claiming.result(timeout=20) == []
    assert hooked.last(execution.enrollment_id).hooks is None


def test_a_lost_pointer_loses_nothing(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    waiting(hooked)
    hooked.connection.execute("truncate pgmq.q_dripdrop_hooks")
    assert hooked.ledger() == []
    clock.advance(minutes=15)
    assert hooked.tick().asked == 1
    assert len(hooked.claim_hooks()) == 1


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
    answer(hooked, claim, score={"error": "http_500", "status": 500, "detail": "secret"})
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"error": "http_500"}}


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


def test_without_queues_a_claim_is_refused(engine: Engine) -> None:
    engine.stop()
    with engine.refused(NotStarted):
        engine.claim_hooks()


def test_a_value_is_a_template_variable(hooked: Engine) -> None:
    add_hook(hooked)
    waiting(hooked, data={"email": "sam@example.com", "score": "from the data"})
    answer(hooked, *hooked.claim_hooks(), score={"value": {"points": 85}})
    hooked.tick()
    (claimed,) = hooked.claim_renders()
    assert claimed.variables["score"] == {"points": 85}


def test_the_words_of_a_message_never_lack_a_value_they_name(hooked: Engine) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_500"})
    hooked.tick()
    assert hooked.claim_renders() == []
    failed = hooked.last(execution.enrollment_id)
    assert (failed.state, failed.reason, failed.error_message) == (
        "failed",
        "hook_failed",
        "score: http_500",
    )
    assert hooked.enrollment(execution.enrollment_id).exit_reason == "step_failed"
    assert pointers(hooked, "render") == []
    assert hooked.ledger() == []


def test_a_failed_hook_that_only_a_condition_names_keeps_no_words_back(engine: Engine) -> None:
    engine.author(email("welcome"))
    add_hook(engine)
    engine.connection.execute("update dripdrop.steps set hooks = '{score}'")
    waiting(engine)
    answer(engine, *engine.claim_hooks(), score={"error": "http_500"})
    engine.tick()
    (claimed,) = engine.claim_renders()
    assert "score" not in claimed.variables


def test_one_failed_hook_does_not_hold_up_the_others(hooked: Engine) -> None:
    add_hook(hooked)
    bad, good = waiting(hooked, "bad"), waiting(hooked, "good")
    for claim in hooked.claim_hooks():
        failed = claim.execution_id == bad.id
        answer(hooked, claim, score={"error": "http_500"} if failed else {"value": 85})
    hooked.tick()
    assert [claimed.execution_id for claimed in hooked.claim_renders()] == [good.id]


def test_a_claim_of_words_waits_for_nobody(hooked: Engine, other: Engine, clock: Clock) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_500"})
    hooked.tick()
    with other.connection.transaction():
        other.rows("select from dripdrop.enrollments for no key update")
        with ThreadPoolExecutor() as pool:
            claiming = pool.submit(hooked.claim_renders, visibility=timedelta(0))
            assert claiming.result(timeout=20) == []
    assert hooked.last(execution.enrollment_id).state == "queued"
    assert hooked.claim_renders() == []
    assert hooked.last(execution.enrollment_id).state == "failed"


def test_what_an_event_set_off_knows_the_event(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"))
    execution = waiting(engine)
    engine.connection.execute(
        "with v as ("
        "  insert into dripdrop.events (tenant_key, event_key, event_data)"
        "  values ('acme', 'order_completed', '{\"total\": 12}') returning id"
        ") update dripdrop.step_executions as x set event_id = v.id from v"
    )
    (claimed,) = engine.claim_renders()
    assert claimed.execution_id == execution.id
    assert claimed.variables["event"] == {
        "key": "order_completed",
        "data": {"total": 12},
        "occurred_at": clock.now.isoformat(),
    }


def test_a_step_that_names_no_hook_asks_none(engine: Engine) -> None:
    engine.author(email("welcome"), SCORED | {"key": "later"})
    add_hook(engine)
    engine.join()
    counts = engine.tick()
    assert (counts.queued, counts.asked) == (1, 0)
