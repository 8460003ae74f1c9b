"""An endpoint that is away for a while is asked again before its hook fails."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email
from tests.hooks.conftest import add_hook, answer, waiting

TWO = email("welcome", template={"subject": "{{ plan }}", "text": "{{ score }}"})


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
