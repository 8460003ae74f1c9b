"""A row that a stage cannot deal with is left out for a while; everything else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument, StaleFence
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email
from tests.pipeline.conftest import pointers

SQLSTATES = ["P0001", "53100", "P0004", "40001", "40P01", "57P01", "25006", "ZD120", "ZD401"]
SLOW, KEPT, DEFERRED = "slow", "kept as it is", "refused with the commit"
GOOD = 6


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """The engine with a sequence of one message."""
    engine.author(email("welcome", config={"on_unknown": "at_most_once"}))
    return engine


@pytest.fixture
def warnings(journey: Engine) -> list[str]:
    """What is said on the connection."""
    said: list[str] = []

    def listen(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            said.append(str(diagnostic.message_primary))

    journey.connection.add_notice_handler(listen)
    return said


@contextmanager
def refusing(engine: Engine, sqlstate: str, *enrollments: UUID) -> Iterator[None]:
    """Let the database refuse every change of these people's messages, or take too long for it."""
    refusal = f"raise exception 'not this one' using errcode = '{sqlstate}'"
    create = "create trigger refuse before update on dripdrop.step_executions"
    if sqlstate == SLOW:
        refusal = "perform pg_sleep(60)"
    elif sqlstate == KEPT:
        refusal = "return null"
    elif sqlstate == DEFERRED:
        refusal = "raise exception 'not this one'"
        create = (
            "create constraint trigger refuse after update on dripdrop.step_executions"
            " deferrable initially deferred"
        )
    engine.connection.execute(f"""
        create or replace function public.refuse() returns trigger language plpgsql as $$
        begin
          if new.enrollment_id::text = any (tg_argv) then
            {refusal};
          end if;
          return new;
        end $$;
        {create}
        for each row execute function public.refuse({", ".join(f"'{e}'" for e in enrollments)});
    """)
    try:
        yield
    finally:
        engine.connection.execute("drop function public.refuse cascade")


def crowd(engine: Engine) -> tuple[list[UUID], UUID]:
    """Enrol some people, one of whom is poison in their midst; return the others and that one."""
    people = [engine.join(f"user{number}").id for number in range(GOOD + 1)]
    poison = people.pop(GOOD // 2)
    return people, poison


def states(engine: Engine, people: list[UUID]) -> set[str]:
    """Return the states of people's messages."""
    return {engine.last(person).state for person in people}


def fault(engine: Engine, enrollment_id: UUID) -> Any:
    """Return what explain says of the fault."""
    (row,) = [row for row in engine.explain(TENANT, enrollment_id) if row.gate == "fault"]
    return row


def tick(engine: Engine) -> None:
    """Decide."""
    engine.tick()


def report(engine: Engine) -> None:
    """Record what is being sent, in one call."""
    engine.complete_sends(
        [
            {"execution": str(row.id), "fence": row.fence, "outcome": "sent"}
            for row in engine.rows(
                "select id, fence from dripdrop.step_executions where state = 'sending'"
            )
        ]
    )


def reconcile(engine: Engine) -> None:
    """Make unknown what nobody reports."""
    engine.reconcile()


def make_visible(engine: Engine) -> None:
    """Let the claims of the render queue run out: pgmq has a clock of its own."""
    engine.connection.execute("update pgmq.q_dripdrop_render set vt = now()")


STAGES: dict[str, tuple[str, Callable[[Engine], object], str]] = {
    "decide": ("scheduled", tick, "queued"),
    "send": ("rendered", lambda engine: engine.claim_sends("email"), "sending"),
    "record": ("sending", report, "sent"),
    "reconcile": ("sending", reconcile, "unknown"),
}
"""By the stage's name: the state it begins with, one call of it, and the state it leads to."""


def bring_all_to(engine: Engine, clock: Clock, stage: str) -> None:
    """Bring everybody's message to where a stage takes it up."""
    if stage != "decide":
        engine.tick()
        engine.render()
    if stage in ("record", "reconcile"):
        assert len(engine.claim_sends("email")) == GOOD + 1
    if stage == "reconcile":
        clock.advance(minutes=3)


@pytest.mark.parametrize("sqlstate", SQLSTATES)
@pytest.mark.parametrize("stage", STAGES)
def test_one_row_that_cannot_be_written_is_held_and_the_others_go_on_in_the_same_call(
    journey: Engine, clock: Clock, warnings: list[str], stage: str, sqlstate: str
) -> None:
    before, act, after = STAGES[stage]
    people, poison = crowd(journey)
    bring_all_to(journey, clock, stage)
    with refusing(journey, sqlstate, poison):
        act(journey)
        assert states(journey, people) == {after}
        assert states(journey, [poison]) == {before}
        held = fault(journey, poison)
        assert (held.open, held.reason) == (False, "row_fault")
        assert held.detail == f"{stage} {sqlstate} not this one"
        assert held.until == clock.now + timedelta(minutes=1)
        execution = journey.last(poison).id
        assert warnings == [f'message "{execution}" is held: not this one']
    assert journey.ledger() == []


@pytest.mark.parametrize(
    ("refusal", "said"),
    [(KEPT, "09000 a trigger has kept it as it is"), (DEFERRED, "P0001 not this one")],
)
@pytest.mark.parametrize("stage", ["decide", "send", "record"])
def test_one_row_that_a_trigger_stops_without_a_word_or_with_the_commit_is_held(
    journey: Engine, clock: Clock, stage: str, refusal: str, said: str
) -> None:
    before, act, after = STAGES[stage]
    people, poison = crowd(journey)
    bring_all_to(journey, clock, stage)
    with refusing(journey, refusal, poison):
        act(journey)
        assert states(journey, people) == {after}
        assert states(journey, [poison]) == {before}
        assert fault(journey, poison).detail == f"{stage} {said}"
    assert journey.ledger() == []


def test_one_enrolment_that_a_trigger_keeps_from_ending_is_held_with_its_message(
    journey: Engine, clock: Clock
) -> None:
    people, poison = crowd(journey)
    claims = journey.claim()
    journey.connection.execute(f"""
        create function public.keep() returns trigger language plpgsql as
        $$ begin return null; end $$;
        create trigger keep before update on dripdrop.enrollments for each row
        when (new.id = '{poison}') execute function public.keep();
    """)
    journey.record(claims)
    assert {journey.enrollment(person).state for person in people} == {"completed"}
    assert journey.last(poison).state == "sending"
    assert fault(journey, poison).detail == "record 09000 a trigger has kept it as it is"
    journey.connection.execute("drop function public.keep cascade")
    clock.advance(minutes=1)
    journey.tick()
    assert journey.last(poison).state == "sent"
    assert journey.enrollment(poison).state == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_one_row_that_takes_too_long_is_found_by_fewer_at_a_time_and_the_others_go_on(
    journey: Engine, clock: Clock, stage: str
) -> None:
    before, act, after = STAGES[stage]
    people, poison = crowd(journey)
    bring_all_to(journey, clock, stage)
    with refusing(journey, SLOW, poison):
        journey.connection.execute("set statement_timeout = '2s'")
        act(journey)
        for _ in range(3):
            if states(journey, people) != {after}:
                tick(journey) if stage == "record" else act(journey)
        journey.connection.execute("reset statement_timeout")
        assert states(journey, people) == {after}
        assert states(journey, [poison]) == {before}
        held = fault(journey, poison)
        assert held.detail == f"{stage} 57014 canceling statement due to statement timeout"
        assert held.until == clock.now + timedelta(minutes=1)
    assert journey.rows("select together from dripdrop.faults") == [(1,)]
    assert journey.ledger() == []


@pytest.mark.parametrize("stage", STAGES)
def test_it_is_tried_again_after_growing_pauses_and_goes_on_once_it_can(
    journey: Engine, clock: Clock, warnings: list[str], stage: str
) -> None:
    before, act, after = STAGES[stage]
    _, poison = crowd(journey)
    bring_all_to(journey, clock, stage)
    again = {"record": tick}.get(stage, act)
    with refusing(journey, "P0001", poison):
        act(journey)
        for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
            assert fault(journey, poison).until == clock.now + timedelta(minutes=minutes)
            clock.advance(minutes=minutes, seconds=-1)
            journey.reconcile()
            again(journey)
            assert fault(journey, poison).until == clock.now + timedelta(seconds=1)
            clock.advance(seconds=1)
            journey.reconcile()
            again(journey)
            assert journey.last(poison).state == before
    assert len(warnings) == 1
    clock.advance(hours=1)
    journey.reconcile()
    again(journey)
    assert journey.last(poison).state in {after, "sent"}
    assert journey.ledger() == []


@pytest.mark.parametrize("stage", STAGES)
def test_two_poison_rows_alone_are_both_held_and_spoil_no_call(
    journey: Engine, clock: Clock, stage: str
) -> None:
    before, act, after = STAGES[stage]
    poisoned = [journey.join(f"user{number}").id for number in range(GOOD + 1)][:2]
    bring_all_to(journey, clock, stage)
    with refusing(journey, "22P02", *poisoned):
        act(journey)
        assert states(journey, poisoned) == {before}
        assert [fault(journey, person).open for person in poisoned] == [False, False]
        act(journey)
    clock.advance(minutes=2)
    journey.reconcile()
    {"record": tick}.get(stage, act)(journey)
    assert states(journey, poisoned) == {after}


def test_one_row_that_cannot_be_released_keeps_nobody_else_waiting_for_a_server_that_is_back(
    journey: Engine, clock: Clock
) -> None:
    people, poison = crowd(journey)
    journey.record(journey.claim(), "unreachable")
    clock.advance(seconds=5)
    assert journey.claim() == []
    with refusing(journey, "22P02", poison):
        clock.advance(seconds=25)
        journey.deliver()
        journey.deliver()
        assert states(journey, people) == {"sent"}
        assert states(journey, [poison]) == {"scheduled"}
        assert fault(journey, poison).detail == "decide 22P02 not this one"
    clock.advance(minutes=1)
    journey.deliver()
    assert states(journey, [poison]) == {"sent"}
    assert journey.ledger() == []


def test_a_row_that_cannot_be_written_leaves_it_to_another_to_try_a_server(
    journey: Engine, clock: Clock
) -> None:
    people = [journey.join(f"user{number}").id for number in range(3)]
    journey.record(journey.claim(), "unreachable")
    clock.advance(seconds=5)
    assert journey.claim() == []
    with refusing(journey, "P0001", people[0]):
        clock.advance(seconds=25)
        for _ in range(3):
            journey.deliver()
        assert states(journey, people[1:]) == {"sent"}


@pytest.mark.parametrize("sqlstate", SQLSTATES)
def test_one_row_whose_variables_cannot_be_made_is_held_and_the_others_are_rendered(
    journey: Engine, clock: Clock, sqlstate: str
) -> None:
    """What is read for rendering calls the application's functions by way of hooks, and casts."""
    people, poison = crowd(journey)
    journey.tick()
    bad = journey.last(poison).id
    mended = journey.rows(
        "select pg_get_functiondef('dripdrop._hook_values'::regproc) as definition"
    )[0].definition
    journey.connection.execute(f"""
        update dripdrop.step_executions set hooks = '{{}}' where id = '{bad}';
        create or replace function dripdrop._hook_values(hooks jsonb) returns jsonb
        language plpgsql as $$
        begin raise exception 'not this one' using errcode = '{sqlstate}'; end $$;
    """)
    assert journey.render() == GOOD
    assert states(journey, people) == {"rendered"}
    held = fault(journey, poison)
    assert held.detail == f"render {sqlstate} not this one"
    assert journey.claim_renders() == []
    for minutes in (1, 2):
        clock.advance(minutes=minutes)
        make_visible(journey)
        journey.reconcile()
        assert journey.render() == 0
        assert fault(journey, poison).until == clock.now + timedelta(minutes=2 * minutes)
    journey.connection.execute(mended.encode())
    clock.advance(minutes=4)
    make_visible(journey)
    journey.reconcile()
    assert journey.render() == 1
    assert journey.ledger() == []


@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.slow
def test_one_row_whose_variables_take_too_long_is_held_and_the_others_are_rendered(
    journey: Engine, leased: bool
) -> None:
    people, poison = crowd(journey)
    ours = journey.claim_due().leased if leased else journey.tick()
    journey.connection.execute(f"""
        update dripdrop.step_executions set hooks = '{{}}'
        where id = '{journey.last(poison).id}';
        create or replace function dripdrop._hook_values(hooks jsonb) returns jsonb
        language plpgsql as $$ begin perform pg_sleep(60); return '{{}}'; end $$;
    """)
    journey.connection.execute("set statement_timeout = '2s'")
    claimed = list(journey.leased_renders(ours) if leased else journey.claim_renders())
    for _ in range(3):
        claimed += journey.claim_renders()
    journey.connection.execute("reset statement_timeout")
    assert {claim.execution_id for claim in claimed} == {journey.last(each).id for each in people}
    assert fault(journey, poison).detail.startswith("render 57014 ")


@pytest.mark.slow
def test_a_result_whose_enrolment_somebody_has_locked_is_recorded_once_it_is_free(
    journey: Engine, other: Engine, clock: Clock
) -> None:
    people, locked = crowd(journey)
    claims = journey.claim()
    assert len(claims) == GOOD + 1
    with other.connection.transaction():
        other.connection.execute(
            "select from dripdrop.enrollments where id = %s for update", [locked]
        )
        journey.record(claims)
        assert states(journey, people) == {"sent"}
        assert states(journey, [locked]) == {"sending"}
        for _ in range(3):
            clock.advance(minutes=3)
            journey.tick()
            journey.reconcile()
            assert states(journey, [locked]) == {"sending"}
    clock.advance(seconds=1)
    journey.tick()
    assert states(journey, [locked]) == {"sent"}
    assert journey.rows("select * from dripdrop.faults") == []
    assert journey.ledger() == []


@pytest.mark.slow
def test_a_row_that_is_only_locked_is_nothing_to_warn_of(
    journey: Engine, other: Engine, warnings: list[str]
) -> None:
    _, locked = crowd(journey)
    claims = journey.claim()
    with other.connection.transaction():
        other.connection.execute(
            "select from dripdrop.enrollments where id = %s for update", [locked]
        )
        journey.record(claims)
    assert warnings == []


@pytest.mark.slow
def test_the_first_claim_finds_a_newcomer_behind_thousands_who_have_left(
    journey: Engine,
) -> None:
    """Of four thousand rendered messages all are stopped; the pointers are still in the queue."""
    people = [
        {"subscriber_id": f"u{n}", "data": {"email": f"u{n}@example.com"}} for n in range(4000)
    ]
    left = [row.id for row in journey.enroll_many(TENANT, "onboarding", people)]
    for _ in range(8):
        journey.tick()
        journey.render()
    assert states(journey, left[::500]) == {"rendered"}
    journey.rows(
        "select u.id from unnest(%s::uuid[]) as e (id), dripdrop.unenroll(%s, e.id) as u",
        left,
        TENANT,
    )
    newcomer = journey.join("newcomer").id
    journey.tick()
    journey.render()
    assert len(pointers(journey, "send_email")) == 4001
    (claim,) = journey.claim_sends("email", 100)
    assert claim.execution_id == journey.last(newcomer).id


@pytest.mark.parametrize("queue", ["render", "send_email"])
def test_what_is_no_pointer_is_thrown_away_with_one_line_per_claim(
    journey: Engine, warnings: list[str], queue: str
) -> None:
    journey.join()
    journey.tick()
    if queue == "send_email":
        journey.render()
    strange: list[Any] = [None, 7, "text", [], {}, {"execution": "no uuid", "fence": 0}]
    for message in strange:
        journey.rows("select pgmq.send(%s, %s::jsonb)", f"dripdrop_{queue}", Jsonb(message))
    taken = journey.claim_renders() if queue == "render" else journey.claim_sends("email")
    assert len(taken) == 1
    assert warnings == [f'threw away 6 messages of queue "dripdrop_{queue}": no pointers']
    if queue == "render":
        assert len(pointers(journey, queue)) == 1
    else:
        assert pointers(journey, queue) == []


@pytest.mark.parametrize("queue", ["render", "send_email"])
def test_a_pointer_whose_message_has_moved_on_is_thrown_away_without_a_word(
    journey: Engine, warnings: list[str], queue: str
) -> None:
    pointer = {"execution": str(uuid4()), "fence": 0}
    journey.rows("select pgmq.send(%s, %s::jsonb)", f"dripdrop_{queue}", Jsonb(pointer))
    taken = journey.claim_renders() if queue == "render" else journey.claim_sends("email")
    assert taken == []
    assert pointers(journey, queue) == []
    assert warnings == []


@pytest.mark.parametrize("sqlstate", [None, "", "00000", "XX", "no_data", "a\nb"])
def test_what_is_no_sqlstate_is_an_internal_error(journey: Engine, sqlstate: str | None) -> None:
    queued = journey.bring_to("queued", journey.join().id)
    journey.note_fault(queued.id, "send", sqlstate, "unreadable")  # type: ignore[arg-type]
    (fault,) = journey.rows("select sqlstate from dripdrop.faults")
    assert fault.sqlstate == "XX000"


def test_an_outcome_that_was_handed_in_with_a_fault_is_recorded_later_and_no_lease_ends_it(
    journey: Engine, clock: Clock
) -> None:
    person = journey.join().id
    (claim,) = journey.claim()
    result = {"fence": claim.fence, "outcome": "refused", "stage": "recipient", "code": "550 5.1.1"}
    journey.note_fault(claim.execution_id, "record", "P0004", "not now", result)
    clock.advance(seconds=59)
    journey.tick()
    assert states(journey, [person]) == {"sending"}
    clock.advance(minutes=10)
    journey.reconcile()
    message = journey.last(person)
    assert (message.state, message.reason) == ("failed", "550 5.1.1")
    assert journey.ledger() == []


def test_an_outcome_of_a_claim_that_was_lost_is_not_kept_with_a_fault(journey: Engine) -> None:
    journey.join()
    (claim,) = journey.claim()
    result = {"fence": claim.fence - 1, "outcome": "sent"}
    with pytest.raises(StaleFence):
        journey.note_fault(claim.execution_id, "record", "P0004", "not now", result)


@pytest.mark.parametrize("result", ["sent", {}, {"fence": 1, "outcome": "unheard of"}])
def test_an_outcome_that_is_none_is_not_kept_with_a_fault(journey: Engine, result: Any) -> None:
    journey.join()
    (claim,) = journey.claim()
    with pytest.raises(InvalidArgument):
        journey.note_fault(claim.execution_id, "record", "P0004", "not now", result)


def test_a_circuit_that_cannot_be_written_costs_no_outcome(
    journey: Engine, warnings: list[str]
) -> None:
    people, _ = crowd(journey)
    sender = journey.get_default_adapter(TENANT, "email")
    journey.connection.execute("""
        create function public.refuse() returns trigger language plpgsql as $$
        begin assert false, 'no circuits'; end $$;
        create trigger refuse before insert on dripdrop.sender_states
        for each row execute function public.refuse();
    """)
    journey.record(journey.claim(), "unreachable")
    assert states(journey, people) == {"scheduled"}
    assert warnings == [f'the circuit of sender "{sender.name}" could not be written: no circuits']


WAKES: dict[str, tuple[Callable[[Engine, UUID], object], Callable[[Engine, UUID], object]]] = {
    "a pause": (
        lambda engine, sender: engine.pause_sending(TENANT),
        lambda engine, sender: engine.resume_sending(TENANT),
    ),
    "a rest": (
        lambda engine, sender: engine.pause_adapter(TENANT, sender),
        lambda engine, sender: engine.resume_adapter(TENANT, sender),
    ),
    "a limit": (
        lambda engine, sender: engine.set_adapter_limits(
            TENANT, sender, daily_cap=1, min_gap_seconds=3600
        ),
        lambda engine, sender: engine.set_adapter_limits(TENANT, sender),
    ),
    "a switch": (
        lambda engine, sender: engine.update_channel_adapter(TENANT, sender, active=False),
        lambda engine, sender: engine.update_channel_adapter(TENANT, sender, active=True),
    ),
}
"""By what messages wait for: how it begins, and what an operator calls to end it."""


@pytest.mark.parametrize("what", WAKES)
def test_one_row_that_cannot_be_written_refuses_no_operators_call_and_holds_back_nobody(
    journey: Engine, clock: Clock, what: str
) -> None:
    stop, go_on = WAKES[what]
    sender = journey.get_default_adapter(TENANT, "email").id
    people, poison = crowd(journey)
    stop(journey, sender)
    journey.deliver()
    waiting = [person for person in people if journey.last(person).waits_for]
    assert len(waiting) >= GOOD - 1
    assert journey.last(poison).waits_for
    with refusing(journey, "P0004", poison):
        go_on(journey, sender)
        assert {journey.last(person).waits_for for person in waiting} == {None}
        assert journey.last(poison).waits_for
    for _ in range(2):
        clock.advance(days=1)
        journey.reconcile()
        journey.deliver()
    assert states(journey, [*people, poison]) == {"sent"}


def refuse_decisions(engine: Engine, execution_id: UUID) -> None:
    """Let a message raise when it is decided."""
    (decide,) = engine.rows("select pg_get_functiondef('dripdrop._decide'::regproc) as definition")
    engine.connection.execute(decide.definition.replace("_decide", "_decided").encode())
    engine.connection.execute(f"""
        create or replace function dripdrop._decide(
          executions uuid[], at timestamptz, asked_by text default 'decision'
        )
        returns setof dripdrop._decision language plpgsql as $$
        begin
          if '{execution_id}' = any (executions) then
            raise exception 'not this one';
          end if;
          return query select * from dripdrop._decided(executions, at, asked_by);
        end $$
    """)


@pytest.mark.parametrize("what", ["a pause", "a switch"])
def test_one_row_that_cannot_be_decided_refuses_no_operators_call_and_holds_back_nobody(
    journey: Engine, what: str
) -> None:
    stop, go_on = WAKES[what]
    sender = journey.get_default_adapter(TENANT, "email").id
    crowd(journey)
    stop(journey, sender)
    journey.deliver()
    (first,) = journey.rows("select min(id::text)::uuid as id from dripdrop.step_executions")
    refuse_decisions(journey, first.id)
    go_on(journey, sender)
    journey.tick()
    waiting = journey.rows("select id from dripdrop.step_executions where state = 'scheduled'")
    assert waiting == [(first.id,)]
    (row,) = journey.rows("select * from dripdrop.faults")
    assert (row.execution_id, row.stage, row.message) == (first.id, "decide", "not this one")


@pytest.mark.parametrize("table", ["q_dripdrop_render", "q_dripdrop_send_email"])
def test_one_pointer_that_cannot_be_put_back_keeps_no_other_from_it(
    journey: Engine, table: str
) -> None:
    _, poison = crowd(journey)
    journey.tick()
    if table == "q_dripdrop_send_email":
        journey.render()
    journey.connection.execute(f"delete from pgmq.{table}".encode())
    journey.connection.execute(f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin
          if new.message ->> 'execution' = '{journey.last(poison).id}' then
            raise exception 'not this one';
          end if;
          return new;
        end $$;
        create trigger refuse before insert on pgmq.{table}
        for each row execute function public.refuse()
    """)
    assert journey.reconcile().repointed == GOOD
    assert len(journey.rows(f"select from pgmq.{table}")) == GOOD
    assert fault(journey, poison).detail == "reconcile P0001 not this one"


@pytest.mark.parametrize("part", ["_take_expired_leases(timestamptz)", "_lost_pointers()"])
def test_a_part_of_reconcile_that_fails_keeps_no_other_from_being_done(
    journey: Engine, clock: Clock, warnings: list[str], part: str
) -> None:
    crowd(journey)
    journey.tick()
    journey.render()
    assert len(journey.claim_sends("email", 3)) == 3
    journey.connection.execute("delete from pgmq.q_dripdrop_send_email")
    clock.advance(minutes=5)
    journey.connection.execute(
        f"create or replace function dripdrop.{part} returns uuid[] language plpgsql as"
        " $$ begin raise exception 'no'; end $$".replace(
            "(timestamptz)", "(at timestamptz)"
        ).encode()
    )
    counts = journey.reconcile()
    lost, repointed = (0, GOOD - 2) if "leases" in part else (3, 0)
    assert (counts.leases_lost, counts.repointed) == (lost, repointed)
    assert [line for line in warnings if "failed: no" in line]
