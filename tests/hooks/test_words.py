"""The words of a message that name a hook: they have its value, or the message fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.conftest import Clock
from tests.engine import Engine, email
from tests.hooks.conftest import SCORED, add_function, add_hook, answer, waiting
from tests.pipeline.conftest import pointers


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


@pytest.mark.slow
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
