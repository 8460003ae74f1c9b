"""claim_hooks(): what is called, for whom, how much at once, and what needs no call."""

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


RAISED = ["P0001", "P0004", "40001", "ZD120"]


def refuse_updates(engine: Engine, table: str, row_id: Any, sqlstate: str) -> None:
    """Let every update of a row raise."""
    engine.connection.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        f" $$ begin raise exception 'no' using errcode = '{sqlstate}'; end $$".encode()
    )
    engine.connection.execute(
        f"create trigger refuse before update on dripdrop.{table} for each row"
        f" when (new.id = '{row_id}') execute function public.refuse()".encode()
    )


@pytest.mark.parametrize("sqlstate", RAISED)
def test_an_execution_that_cannot_be_written_keeps_no_other_from_its_hooks(
    hooked: Engine, sqlstate: str
) -> None:
    add_function(hooked)
    people = [hooked.join(f"user{number}") for number in range(9)]
    hooked.tick()
    hooked.drop_hook(TENANT, "score")
    poison = hooked.last(people[4].id)
    refuse_updates(hooked, "step_executions", poison.id, sqlstate)
    for _ in people:
        assert hooked.claim_hooks() == []
    others = [hooked.last(person.id) for person in people if person.id != poison.enrollment_id]
    assert [each.hooks for each in others] == [{"score": {"error": "hook_missing"}}] * 8
    (fault,) = hooked.rows("select * from dripdrop.faults")
    assert (fault.execution_id, fault.stage, fault.sqlstate) == (poison.id, "hooks", sqlstate)


@pytest.mark.parametrize("sqlstate", [*RAISED, "57014"])
def test_an_enrolment_that_cannot_be_written_keeps_no_other_from_its_exit_rules(
    engine: Engine, clock: Clock, sqlstate: str
) -> None:
    add_function(engine)
    engine.author(
        email("tip", timing={"type": "delay", "delay_amount": 3, "delay_unit": "days"}),
        exit_when=[{"hook": "score", "expected_value": 85}],
    )
    people = [engine.join(f"user{number}") for number in range(3)]
    for number in range(3):
        engine.track_event(TENANT, "visited", subscriber_id=f"user{number}")
    refuse_updates(engine, "enrollments", people[1].id, sqlstate)
    asked = {
        claim.enrollment_id
        for claims in (engine.claim_hooks(functions=8) for _ in range(4))
        for claim in claims
    }
    assert asked == {people[0].id, people[2].id}
    (fault,) = engine.rows("select * from dripdrop.faults")
    assert (fault.execution_id, fault.sqlstate) == (engine.last(people[1].id).id, sqlstate)
    assert fault.until == clock.now + timedelta(minutes=1)


@pytest.mark.parametrize("sqlstate", [*RAISED, "57014"])
def test_what_cannot_be_told_to_be_called_keeps_no_other_from_it(
    hooked: Engine, sqlstate: str
) -> None:
    add_hook(hooked)
    people = [hooked.join(f"user{number}") for number in range(9)]
    hooked.tick()
    poison = hooked.last(people[4].id)
    hooked.connection.execute(
        f"""
        create or replace function dripdrop._behind_circuits(
          wanted dripdrop._wanted_hook[], fitting bigint[], at timestamptz
        )
        returns bigint[] language plpgsql as $$
        begin
          if exists (select from unnest(wanted) as w where w.execution_id = '{poison.id}') then
            raise exception 'no' using errcode = '{sqlstate}';
          end if;
          return '{{}}';
        end $$
        """
    )
    asked = {
        claim.execution_id
        for claims in (hooked.claim_hooks() for _ in range(9))
        for claim in claims
    }
    assert asked == {hooked.last(person.id).id for person in people} - {poison.id}
    (fault,) = hooked.rows("select * from dripdrop.faults")
    assert (fault.execution_id, fault.stage, fault.sqlstate) == (poison.id, "hooks", sqlstate)


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


@pytest.mark.slow
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


def test_without_queues_a_claim_is_refused(engine: Engine) -> None:
    engine.stop()
    with engine.refused(NotStarted):
        engine.claim_hooks()


def test_a_step_that_names_no_hook_asks_none(engine: Engine) -> None:
    engine.author(email("welcome"), SCORED | {"key": "later"})
    add_hook(engine)
    engine.join()
    counts = engine.tick()
    assert (counts.queued, counts.asked) == (1, 0)


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
