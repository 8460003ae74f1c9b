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
from tests.engine import TENANT, Engine, email, onboarding
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
    hook = add_function(hooked, timeout_ms=250)
    waiting(hooked)
    (claim,) = hooked.claim_hooks()
    called = {"id": str(hook.id), "timeout_ms": 250}
    assert (claim.key, claim.kind, claim.hook) == ("score", "sql", called)


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


def refuse_updates(engine: Engine, table: str, row_id: Any) -> None:
    """Let every update of a row raise."""
    engine.connection.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'no'; end $$"
    )
    engine.connection.execute(
        f"create trigger refuse before update on dripdrop.{table} for each row"
        f" when (new.id = '{row_id}') execute function public.refuse()".encode()
    )


def test_an_execution_that_cannot_be_written_keeps_no_other_from_its_hooks(
    hooked: Engine,
) -> None:
    add_function(hooked)
    people = [hooked.join(f"user{number}") for number in range(9)]
    hooked.tick()
    hooked.drop_hook(TENANT, "score")
    poison = hooked.last(people[4].id)
    refuse_updates(hooked, "step_executions", poison.id)
    for _ in people:
        assert hooked.claim_hooks() == []
    others = [hooked.last(person.id) for person in people if person.id != poison.enrollment_id]
    assert [each.hooks for each in others] == [{"score": {"error": "hook_missing"}}] * 8
    (fault,) = hooked.rows("select * from dripdrop.faults")
    assert (fault.execution_id, fault.stage, fault.sqlstate) == (poison.id, "hooks", "P0001")


def test_an_enrolment_that_cannot_be_written_keeps_no_other_from_its_exit_rules(
    engine: Engine,
) -> None:
    add_function(engine)
    engine.author(
        email("tip", timing={"type": "delay", "delay_amount": 3, "delay_unit": "days"}),
        exit_when=[{"hook": "score", "expected_value": 85}],
    )
    people = [engine.join(f"user{number}") for number in range(3)]
    for number in range(3):
        engine.track_event(TENANT, "visited", subscriber_id=f"user{number}")
    refuse_updates(engine, "enrollments", people[1].id)
    asked = {claim.enrollment_id for claim in engine.claim_hooks(functions=8)}
    assert asked == {people[0].id, people[2].id}


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
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_404"})
    hooked.tick()
    assert hooked.claim_renders() == []
    failed = hooked.last(execution.enrollment_id)
    assert (failed.state, failed.reason, failed.error_message) == (
        "failed",
        "hook_failed",
        "score: http_404",
    )
    assert hooked.enrollment(execution.enrollment_id).exit_reason == "step_failed"
    assert pointers(hooked, "render") == []
    assert hooked.ledger() == []


def test_a_failed_hook_that_only_a_condition_names_keeps_no_words_back(engine: Engine) -> None:
    engine.author(email("welcome"))
    add_hook(engine)
    engine.connection.execute("update dripdrop.steps set hooks = '{score}'")
    waiting(engine)
    answer(engine, *engine.claim_hooks(), score={"error": "http_404"})
    engine.tick()
    (claimed,) = engine.claim_renders()
    assert "score" not in claimed.variables


def test_one_failed_hook_does_not_hold_up_the_others(hooked: Engine) -> None:
    add_hook(hooked)
    bad, good = waiting(hooked, "bad"), waiting(hooked, "good")
    for claim in hooked.claim_hooks():
        failed = claim.execution_id == bad.id
        answer(hooked, claim, score={"error": "http_404"} if failed else {"value": 85})
    hooked.tick()
    assert [claimed.execution_id for claimed in hooked.claim_renders()] == [good.id]


def test_a_claim_of_words_waits_for_nobody(hooked: Engine, other: Engine, clock: Clock) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_404"})
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


@pytest.mark.parametrize("returns", ["null::jsonb", "'null'::jsonb"])
def test_words_that_print_a_value_that_is_null_fail_closed(engine: Engine, returns: str) -> None:
    engine.author(SCORED)
    add_function(engine, f"select {returns}")
    execution = waiting(engine)
    (claim,) = engine.claim_hooks()
    answer(engine, claim, score=engine.call_hook(execution.id, "score"))
    engine.tick()
    assert engine.claim_renders() == []
    failed = engine.last(execution.enrollment_id)
    assert (failed.state, failed.reason, failed.error_message) == (
        "failed",
        "hook_failed",
        "score: hook_null",
    )


def test_words_with_a_default_do_without_a_value(engine: Engine) -> None:
    words = {"subject": "Hello", "text": "{% if score %}Hot{% endif %} {{ score | default: 0 }}"}
    engine.author(email("welcome", template=words))
    add_function(engine, "select null::jsonb")
    execution = waiting(engine)
    (claim,) = engine.claim_hooks()
    answer(engine, claim, score=engine.call_hook(execution.id, "score"))
    engine.tick()
    assert len(engine.claim_renders()) == 1


PASSING = ["http_503", "http_500", "http_429", "http_408", "http_425"]
PASSING += ["hook_timeout", "connect_error", "connection_lost", "http_099", "http_999"]


@pytest.mark.parametrize("code", PASSING)
def test_an_endpoint_that_is_away_for_a_moment_ends_no_journey(
    hooked: Engine, clock: Clock, code: str
) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": code})
    put_off = hooked.last(execution.enrollment_id)
    assert (put_off.state, put_off.reason, put_off.hooks) == ("scheduled", "hook_unavailable", None)
    assert put_off.due_at == clock.now + timedelta(minutes=1)
    assert hooked.ledger() == []
    assert hooked.tick().asked == 0
    clock.advance(minutes=1)
    assert hooked.tick().asked == 1
    answer(hooked, *hooked.claim_hooks(), score={"value": 85})
    answered = hooked.last(execution.enrollment_id)
    assert (answered.hooks, answered.hook_failures) == ({"score": {"value": 85}}, None)
    assert hooked.tick().queued == 1


def test_explain_says_what_a_hook_failed_with_and_when_it_is_asked_again(
    hooked: Engine, clock: Clock
) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_503"})
    (gate,) = [g for g in hooked.explain(TENANT, execution.enrollment_id) if g.gate == "hooks"]
    again_at = clock.now + timedelta(minutes=1)
    assert (gate.open, gate.reason, gate.detail) == (False, "hook_unavailable", "score: http_503")
    assert (gate.until, gate.next_action, gate.next_at) == (again_at, "ask", again_at)


def test_the_pauses_grow_until_the_hook_fails_closed(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked, retry_for=timedelta(hours=3))
    execution = waiting(hooked)
    began = clock.now
    asked_at = []
    while True:
        for claim in hooked.claim_hooks():
            asked_at.append((clock.now - began).total_seconds() / 60)
            answer(hooked, claim, score={"error": "http_503"})
        row = hooked.last(execution.enrollment_id)
        if row.hooks is not None:
            break
        clock.set(row.due_at)
        hooked.tick()
    assert asked_at == [0, 1, 6, 21, 81, 141, 180]
    assert row.hooks == {"score": {"error": "http_503"}}
    hooked.tick()
    assert hooked.claim_renders() == []
    assert hooked.last(execution.enrollment_id).reason == "hook_failed"


def test_a_server_that_says_when_is_asked_then(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_429", "retry_after": 600})
    due_at = hooked.last(execution.enrollment_id).due_at
    assert due_at == clock.now + timedelta(minutes=10)


@pytest.mark.parametrize("code", ["http_404", "http_401", "url_blocked", "hook_render_failed"])
def test_what_would_fail_again_fails_at_once(hooked: Engine, code: str) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": code})
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"error": code}}


def test_a_hook_that_is_retried_for_no_time_fails_at_once(hooked: Engine) -> None:
    add_hook(hooked, retry_for=timedelta(0))
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_503"})
    assert hooked.last(execution.enrollment_id).hooks == {"score": {"error": "http_503"}}


def test_what_has_answered_is_not_asked_again_with_what_has_not(
    engine: Engine, clock: Clock
) -> None:
    engine.author(TWO)
    add_hook(engine)
    add_hook(engine, "plan")
    execution = waiting(engine)
    (claim, _) = engine.claim_hooks()
    answer(engine, claim, score={"error": "http_503"}, plan={"value": "pro"})
    clock.advance(minutes=1)
    engine.tick()
    assert [claim.key for claim in engine.claim_hooks()] == ["score"]
    assert engine.last(execution.enrollment_id).hooks == {"plan": {"value": "pro"}}


def test_pausing_while_an_endpoint_is_away_costs_no_time(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    execution = waiting(hooked)
    answer(hooked, *hooked.claim_hooks(), score={"error": "http_503"})
    hooked.pause_enrollment(TENANT, execution.enrollment_id)
    clock.advance(hours=1)
    hooked.resume_enrollment(TENANT, execution.enrollment_id)
    assert hooked.tick().asked == 1


def test_a_claim_takes_no_more_of_a_hook_than_it_has_places_for(hooked: Engine) -> None:
    hook = add_hook(hooked, max_in_flight=3)
    for number in range(5):
        waiting(hooked, f"user{number}")
    assert len(hooked.claim_hooks(busy={str(hook.id): 1})) == 2
    assert hooked.claim_hooks(busy={str(hook.id): 3}) == []
    assert len(hooked.claim_hooks()) == 3


def test_nobody_stands_behind_a_hook_without_places(engine: Engine) -> None:
    engine.author(SCORED)
    slow = add_hook(engine)
    for number in range(20):
        waiting(engine, f"user{number}")
    version = engine.author(SCORED, key="other", name="Other")
    engine.create_http_hook(TENANT, version.sequence_id, "score", "https://fast.example.com")
    fast = engine.enroll(TENANT, "other", "User", "sam", {"email": "sam@example.com"})
    engine.tick()
    claims = engine.claim_hooks(batch_size=10, busy={str(slow.id): 8})
    assert [claim.enrollment_id for claim in claims] == [fast.id]


def test_tenants_take_turns(engine: Engine) -> None:
    for tenant, people in (("acme", 6), ("umbrella", 2)):
        engine.create_channel_adapter(tenant, "mail", "email", "smtp", is_default=True)
        version = engine.apply(tenant, onboarding(SCORED))
        engine.create_http_hook(tenant, version.sequence_id, "score", "https://crm.example.com")
        for number in range(people):
            engine.enroll(
                tenant, "onboarding", "User", f"{number}", {"email": f"{number}@example.com"}
            )
        engine.tick()
    claims = engine.claim_hooks(batch_size=4)
    assert [claim.tenant_key for claim in claims] == ["acme", "umbrella"] * 2


def test_functions_have_places_of_their_own(engine: Engine) -> None:
    engine.author(SCORED)
    slow = add_function(engine)
    for number in range(5):
        waiting(engine, f"user{number}")
    assert engine.claim_hooks(functions=0) == []
    assert engine.claim_hooks(busy={str(slow.id): 2}) == []
    assert len(engine.claim_hooks(functions=1)) == 1
    assert len(engine.claim_hooks(functions=4)) == 2, "one function leaves places to the others"


def test_one_that_asks_many_functions_takes_one_place(engine: Engine) -> None:
    keys = ["one", "two", "three", "four", "five"]
    words = {"subject": "Hello", "text": "".join(f"{{{{ {key} }}}}" for key in keys)}
    engine.author(email("welcome", template=words))
    for key in keys:
        add_function(engine, key=key)
    waiting(engine)
    assert sorted(claim.key for claim in engine.claim_hooks(functions=1)) == sorted(keys)


@pytest.mark.parametrize(
    "busy", [[], 7, {"score": 1}, {str(uuid4()): -1}, {str(uuid4()): 1.5}, {str(uuid4()): "1"}]
)
def test_what_counts_no_calls_is_refused(hooked: Engine, busy: Any) -> None:
    with hooked.refused(InvalidArgument) as refusal:
        hooked.claim_hooks(busy=busy)
    assert refusal.value.diag.column_name == "busy"


@pytest.mark.parametrize(
    "pointer",
    [
        *[None, 7, "text", [], {}, {"execution": "no uuid", "fence": 0}],
        {"execution": str(uuid4()), "fence": "x"},
        {"execution": str(uuid4()), "fence": 1e30},
        {"execution": {}, "fence": []},
    ],
)
def test_what_is_no_pointer_is_thrown_away_with_a_warning(hooked: Engine, pointer: Any) -> None:
    warnings: list[str] = []
    hooked.connection.add_notice_handler(
        lambda notice: warnings.append(notice.message_primary or "")
    )
    add_hook(hooked)
    hooked.rows("select pgmq.send('dripdrop_hooks', %s::jsonb)", Jsonb(pointer))
    execution = waiting(hooked)
    assert [claim.execution_id for claim in hooked.claim_hooks()] == [execution.id]
    assert len(pointers(hooked, "hooks")) == 1
    assert any("no pointer" in warning for warning in warnings)


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
