"""An endpoint that is away is left alone, and whoever waits for it waits at no cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine
from tests.hooks.conftest import add_hook, answer, waiting
from tests.pipeline.conftest import pointers

AWAY = ["connect_error", "connection_lost", "http_502", "http_503", "http_504", "http_429"]


def crowd(engine: Engine, size: int = 6) -> list[Any]:
    """Let several people wait for the hook."""
    return [waiting(engine, f"user{number}") for number in range(size)]


def reasons(engine: Engine) -> dict[str, int]:
    """Count the executions by reason."""
    rows = engine.rows(
        "select reason, count(*) as count from dripdrop.step_executions group by reason"
    )
    return {row.reason: row.count for row in rows}


@pytest.mark.parametrize("code", AWAY)
def test_one_tries_an_endpoint_that_is_away_and_the_others_wait_without_paying(
    hooked: Engine, clock: Clock, code: str
) -> None:
    add_hook(hooked)
    crowd(hooked)
    (first,) = hooked.claim_hooks(batch_size=1)
    answer(hooked, first, score={"error": code})
    assert hooked.claim_hooks() == []
    assert reasons(hooked) == {"hook_unavailable": 1, "circuit_open": 5}
    assert pointers(hooked, "hooks") == []
    assert hooked.ledger() == []
    clock.advance(seconds=30)
    assert hooked.tick().asked == 1
    (probe,) = hooked.claim_hooks()
    assert probe.execution_id != first.execution_id
    answer(hooked, probe, score={"value": 85})
    hooked.tick()
    assert len(hooked.claim_hooks()) == 4
    failures = hooked.rows("select hook_failures from dripdrop.step_executions")
    assert [row.hook_failures for row in failures if row.hook_failures] == [
        {"score": {"error": code, "count": 1, "since": "2026-03-02T09:00:00+00:00"}}
    ]


def test_an_endpoint_that_is_still_away_rests_twice_as_long(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    crowd(hooked)
    answer(hooked, *hooked.claim_hooks(batch_size=1), score={"error": "connect_error"})
    hooked.claim_hooks()
    clock.advance(seconds=30)
    hooked.tick()
    answer(hooked, *hooked.claim_hooks(), score={"error": "connect_error"})
    clock.advance(seconds=59)
    hooked.tick()
    assert hooked.claim_hooks() == []
    (circuit,) = hooked.list_circuits(TENANT)
    assert (circuit.state, circuit.openings, circuit.probes) == ("resting", 2, 1)
    assert circuit.until == clock.now + timedelta(seconds=1)


def test_an_endpoint_that_asks_for_a_long_rest_gets_it_once_it_has_said_so_twice(
    hooked: Engine, clock: Clock
) -> None:
    add_hook(hooked)
    crowd(hooked, 2)
    day = {"error": "http_429", "retry_after": 86400}
    answer(hooked, *hooked.claim_hooks(batch_size=1), score=day)
    (circuit,) = hooked.list_circuits(TENANT)
    assert circuit.until == clock.now + timedelta(minutes=15)
    hooked.claim_hooks()
    clock.set(circuit.until)
    hooked.tick()
    answer(hooked, *hooked.claim_hooks(), score=day)
    (circuit,) = hooked.list_circuits(TENANT)
    assert circuit.until == clock.now + timedelta(days=1)


def test_one_answer_that_fails_is_no_absence_and_three_in_a_row_are(hooked: Engine) -> None:
    add_hook(hooked)
    crowd(hooked, 5)
    claims = hooked.claim_hooks(batch_size=8)
    answer(hooked, claims[0], score={"error": "http_500"})
    answer(hooked, claims[1], score={"error": "hook_timeout"})
    assert hooked.list_circuits(TENANT) == []
    answer(hooked, claims[2], score={"value": 85})
    answer(hooked, claims[3], score={"error": "http_999"})
    assert hooked.list_circuits(TENANT) == [], "it answered in between"
    assert len(hooked.claim_hooks()) == 1


def test_a_refusal_closes_nothing(hooked: Engine) -> None:
    add_hook(hooked)
    crowd(hooked, 4)
    for claim in hooked.claim_hooks(batch_size=6):
        answer(hooked, claim, score={"error": "http_404"})
    assert hooked.list_circuits(TENANT) == []
    assert len(hooked.claim_hooks()) == 1


def test_explain_says_that_the_endpoint_is_away_and_until_when(
    hooked: Engine, clock: Clock
) -> None:
    add_hook(hooked)
    (_, second) = crowd(hooked, 2)
    answer(hooked, *hooked.claim_hooks(batch_size=1), score={"error": "connect_error"})
    hooked.claim_hooks()
    (gate,) = [g for g in hooked.explain(TENANT, second.enrollment_id) if g.gate == "hooks"]
    again_at = clock.now + timedelta(seconds=30)
    assert (gate.open, gate.reason) == (False, "circuit_open")
    assert gate.detail == 'hook "score": connect_error'
    assert (gate.until, gate.next_at) == (again_at, again_at)


def test_who_is_paused_behind_a_circuit_goes_on_after_it(hooked: Engine, clock: Clock) -> None:
    add_hook(hooked)
    (_, second) = crowd(hooked, 2)
    answer(hooked, *hooked.claim_hooks(batch_size=1), score={"error": "connect_error"})
    hooked.claim_hooks()
    hooked.pause_enrollment(TENANT, second.enrollment_id)
    clock.advance(minutes=10)
    hooked.resume_enrollment(TENANT, second.enrollment_id)
    hooked.tick()
    (probe, *_) = hooked.claim_hooks()
    answer(hooked, probe, score={"value": 85})
    hooked.tick()
    hooked.claim_hooks()
    assert "circuit_open" not in reasons(hooked)
    assert hooked.ledger() == []


def test_looking_back_leaves_alone_what_waits_for_an_endpoint_that_is_away(
    hooked: Engine, clock: Clock
) -> None:
    add_hook(hooked)
    (_, second) = crowd(hooked, 2)
    answer(hooked, *hooked.claim_hooks(batch_size=1), score={"error": "connect_error"})
    hooked.claim_hooks()
    clock.advance(seconds=10)
    hooked.reconcile()
    (held,) = hooked.rows("select * from dripdrop.step_executions where id = %s", second.id)
    assert (held.waits_for, held.due_at) == ("circuit", None)


def test_hosts_that_the_data_names_have_no_common_circuit(hooked: Engine) -> None:
    add_hook(hooked, url="https://{{ shop }}.example.com/score")
    crowd(hooked, 3)
    answer(hooked, *hooked.claim_hooks(batch_size=1), score={"error": "connect_error"})
    assert hooked.list_circuits(TENANT) == []
    assert len(hooked.claim_hooks()) == 2


@pytest.mark.parametrize(
    ("url", "one"),
    [
        ("https://api.example/{{ id }}", True),
        ("HtTpS://api.example:8443?{{ id }}", True),
        ("HTTPS://{{ h }}/", False),
        ("{{ url }}", False),
        ("https:{{ h }}", False),
        ("https://api.example{{ h }}/x", False),
        ("https://api.example:8{{ h }}/x", False),
        ("https://{{ h }}@api.example/", False),
        ("{% if a %}https://a.example{% endif %}/", False),
    ],
)
def test_a_host_that_data_can_change_is_no_hooks_own(db: Any, url: str, one: bool) -> None:
    hook = "jsonb_populate_record(null::dripdrop.http_hooks, jsonb_build_object('url', %s::text))"
    assert db.execute(f"select dripdrop._has_one_server({hook})", [url]).fetchone() == (one,)
