"""The kill switch: what it holds, from when, and what becomes of what it held."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    InvalidArgument,
    InvalidTenantKey,
    SequenceNotFound,
    UnknownProvider,
)
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

Scope = tuple[Any, ...]
SCOPES: list[Scope] = [
    (None, "everything"),
    (TENANT,),
    (TENANT, "sequence", "onboarding"),
    (TENANT, "channel", "email"),
    (TENANT, "adapter", "email"),
]
OTHERS: list[Scope] = [
    (None,),
    ("other",),
    (TENANT, "sequence", "winback"),
    (TENANT, "channel", "webhook"),
    (TENANT, "adapter", "webhook"),
    (None, "channel", "email"),
    (None, "adapter", "email"),
]


def name(scope: Scope) -> str:
    """Return a test's id."""
    return " ".join(map(str, scope))


def held(engine: Engine, enrollment_id: Any) -> bool:
    """Return whether an enrolment's message is held by the switch."""
    execution = engine.last(enrollment_id)
    return (execution.state, execution.reason, execution.due_at) == (
        "scheduled",
        "sending_paused",
        None,
    )


def surroundings(engine: Engine) -> None:
    """Author the sequence, and others that a pause may be about."""
    engine.author()
    engine.author(key="winback")
    engine.create_channel_adapter(None, "email", "email", "smtp", is_default=True)


@pytest.mark.parametrize("scope", SCOPES, ids=name)
def test_what_is_paused_is_held_and_nothing_is_lost(engine: Engine, scope: Scope) -> None:
    surroundings(engine)
    sam = engine.join()
    engine.pause_sending(*scope)
    assert engine.tick().held == 1
    assert held(engine, sam.id)
    assert engine.ledger() == []
    engine.resume_sending(*scope)
    assert len(engine.deliver()) == 1


@pytest.mark.parametrize("scope", SCOPES, ids=name)
@pytest.mark.parametrize("state", ["queued", "rendered"])
def test_what_is_under_way_does_not_leave(engine: Engine, scope: Scope, state: str) -> None:
    surroundings(engine)
    sam = engine.join()
    engine.bring_to(state, sam.id)
    engine.pause_sending(*scope)
    engine.render()
    assert engine.claim_sends("email") == []
    engine.tick()
    assert held(engine, sam.id)
    engine.resume_sending(*scope)
    assert len(engine.deliver()) == 1


@pytest.mark.parametrize("scope", OTHERS, ids=name)
def test_what_is_not_meant_goes_on(engine: Engine, scope: Scope) -> None:
    surroundings(engine)
    engine.join()
    engine.pause_sending(*scope)
    assert len(engine.deliver()) == 1


def test_a_global_adapter_is_paused_for_every_tenant(engine: Engine) -> None:
    engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.apply(TENANT, {"key": "onboarding", "name": "x", "steps": [email("welcome")]})
    sam = engine.join()
    engine.pause_sending(None, "adapter", "shared")
    engine.tick()
    assert held(engine, sam.id)
    assert [pause.subject for pause in engine.list_sending_pauses(TENANT)] == ["shared"]


def test_a_paused_adapter_holds_what_it_drew_of_a_rotation(engine: Engine) -> None:
    for name in ("one", "two"):
        engine.create_channel_adapter(TENANT, name, "email", "smtp")
    engine.author(email("welcome", config={"channel_adapter_rotation": ["one", "two"]}))
    for number in range(20):
        engine.join(f"person-{number}")
    engine.pause_sending(TENANT, "adapter", "one")
    counts = engine.tick()
    assert (counts.queued > 0, counts.held > 0) == (True, True)
    assert counts.queued + counts.held == 20
    engine.resume_sending(TENANT, "adapter", "one")
    assert engine.tick().queued == counts.held


def test_no_claim_passes_while_sending_is_being_paused(engine: Engine, other: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with other.connection.transaction():
        other.pause_sending(None, "everything")
        assert engine.claim_sends("email") == []
        assert engine.last(sam.id).state == "rendered"
    assert engine.claim_sends("email") == []
    assert engine.last(sam.id).state == "scheduled"


def test_a_pause_waits_for_a_claim_that_is_under_way(engine: Engine, other: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert len(engine.claim_sends("email")) == 1
            pausing = pool.submit(other.pause_sending, TENANT)
            engine.wait_until_blocked(other.connection)
        pausing.result(20)
    assert engine.last(sam.id).state == "sending"


def test_what_was_being_sent_is_recorded_and_what_comes_next_is_held(
    engine: Engine, clock: Clock
) -> None:
    engine.author(email("welcome"), email("tip"))
    sam = engine.join()
    claims = engine.claim()
    engine.pause_sending(TENANT)
    engine.record(claims)
    engine.tick()
    assert [x.state for x in engine.executions(sam.id)] == ["sent", "scheduled"]
    assert held(engine, sam.id)


def test_resuming_waits_for_a_tick_that_may_be_holding_messages(
    engine: Engine, other: Engine
) -> None:
    """Else that tick would hold them when nobody looks for them any more."""
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT)
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            assert engine.tick().held == 1
            resuming = pool.submit(other.resume_sending, TENANT)
            engine.wait_until_blocked(other.connection)
        resuming.result(20)
    assert engine.last(sam.id).due_at is not None
    assert len(engine.deliver()) == 1


def test_what_a_tick_holds_while_sending_is_being_resumed_is_due_with_the_commit(
    engine: Engine, other: Engine
) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT)
    with other.connection.transaction():
        other.resume_sending(TENANT)
        assert engine.tick().held == 1
    assert engine.tick().queued == 1
    assert engine.last(sam.id).state == "queued"


def test_a_pause_that_is_rolled_back_never_was(engine: Engine) -> None:
    engine.author()
    engine.join()
    with engine.connection.transaction(force_rollback=True):
        engine.pause_sending(TENANT)
    assert len(engine.deliver()) == 1


def test_what_another_pause_holds_stays_held(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT)
    engine.pause_sending(TENANT, "channel", "email")
    engine.tick()
    engine.resume_sending(TENANT)
    assert held(engine, sam.id)
    engine.resume_sending(TENANT, "channel", "email")
    assert len(engine.deliver()) == 1


def test_resuming_one_tenant_leaves_the_others_held(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT)
    engine.pause_sending("other")
    engine.tick()
    engine.resume_sending("other")
    assert held(engine, sam.id)


def test_what_waits_for_its_time_still_waits_after_resuming(engine: Engine, clock: Clock) -> None:
    engine.author(email("tip", timing=after(3, "days")))
    sam = engine.join()
    engine.pause_sending(TENANT)
    engine.tick()
    engine.resume_sending(TENANT)
    assert engine.last(sam.id).due_at == clock.now + timedelta(days=3)


@pytest.mark.parametrize("policy", ["skip", "hold", "send"])
def test_what_a_long_pause_made_late_meets_its_steps_policy(
    engine: Engine, clock: Clock, policy: str
) -> None:
    engine.author(
        email("welcome", config={"stale_after": "1 day", "on_stale": policy}), email("tip")
    )
    sam = engine.join()
    engine.pause_sending(TENANT)
    engine.tick()
    clock.advance(days=7)
    engine.resume_sending(TENANT)
    engine.tick()
    execution = engine.executions(sam.id)[0]
    assert (execution.state, execution.reason) == {
        "skip": ("skipped", "stale"),
        "hold": ("scheduled", "stale"),
        "send": ("queued", "resumed"),
    }[policy]
    assert engine.ledger() == []


@pytest.mark.parametrize("enrolment_first", [True, False])
def test_an_enrolment_that_is_paused_meanwhile_goes_on_when_both_are_resumed(
    engine: Engine, enrolment_first: bool
) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT)
    engine.tick()
    engine.pause_enrollment(TENANT, sam.id)
    if enrolment_first:
        engine.resume_enrollment(TENANT, sam.id)
        engine.tick()
        assert held(engine, sam.id)
        engine.resume_sending(TENANT)
    else:
        engine.resume_sending(TENANT)
        assert engine.deliver() == []
        assert engine.ledger() == []
        engine.resume_enrollment(TENANT, sam.id)
    assert len(engine.deliver()) == 1
    assert engine.ledger() == []


def test_an_enrolment_that_ends_meanwhile_has_ended(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT)
    engine.tick()
    engine.unenroll(TENANT, sam.id)
    engine.resume_sending(TENANT)
    assert engine.deliver() == []
    assert engine.last(sam.id).state == "cancelled"


def test_a_timeout_that_passes_meanwhile_has_its_effect_afterwards(
    engine: Engine, clock: Clock
) -> None:
    timing = {"type": "event", "trigger_event": "bought", "timeout": "1 day", "on_timeout": "exit"}
    engine.author(email("thanks", timing=timing))
    sam = engine.join()
    engine.pause_sending(TENANT)
    clock.advance(days=2)
    engine.tick()
    assert held(engine, sam.id)
    engine.resume_sending(TENANT)
    engine.tick()
    assert engine.enrollment(sam.id).exit_reason == "event_timeout"


def test_an_event_that_happens_meanwhile_is_not_missed(engine: Engine, clock: Clock) -> None:
    timing = {"type": "event", "trigger_event": "bought", "timeout": "1 day", "on_timeout": "exit"}
    engine.author(email("thanks", timing=timing))
    sam = engine.join()
    engine.pause_sending(TENANT)
    clock.advance(days=2)
    engine.tick()
    engine.track_event(TENANT, "bought", {}, sam.id)
    engine.tick()
    assert held(engine, sam.id)
    engine.resume_sending(TENANT)
    assert len(engine.deliver()) == 1


def test_explain_names_the_pause_and_why(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_sending(TENANT, "channel", "email", "wrong prices")
    for _ in range(2):
        (gate,) = (g for g in engine.explain(TENANT, sam.id) if not g.open)
        assert (gate.gate, gate.reason) == ("sending", "sending_paused")
        assert gate.detail == "channel email: wrong prices"
        assert (gate.next_action, gate.next_at) == ("hold", None)
        engine.tick()


def test_the_widest_pause_is_the_one_that_is_named(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    for scope in reversed(SCOPES):
        engine.pause_sending(*scope)
    (gate,) = (g for g in engine.explain(TENANT, sam.id) if not g.open)
    assert gate.detail == "everything"


def test_a_simulation_is_held_too(engine: Engine, clock: Clock) -> None:
    engine.author()
    engine.pause_sending(TENANT)
    rows = engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(row.at, row.action, row.reason) for row in rows] == [
        (clock.now, "hold", "sending_paused")
    ]


def test_pausing_twice_is_the_same_as_once(engine: Engine, clock: Clock) -> None:
    first = engine.pause_sending(TENANT, reason="wrong prices")
    clock.advance(hours=1)
    assert engine.pause_sending(TENANT, reason="still") == first
    assert (first.tenant_key, first.scope, first.subject, first.reason, first.paused_by) == (
        TENANT,
        "tenant",
        None,
        "wrong prices",
        engine.rows("select session_user as name")[0].name,
    )
    assert engine.list_sending_pauses(TENANT) == [first]


def test_resuming_returns_what_was_lifted_and_nothing_the_second_time(engine: Engine) -> None:
    paused = engine.pause_sending(TENANT)
    assert engine.resume_sending(TENANT) == paused
    assert engine.resume_sending(TENANT) is None
    assert engine.list_sending_pauses(TENANT) == []


def test_the_list_shows_what_holds_a_tenant(engine: Engine) -> None:
    surroundings(engine)
    for scope in [*SCOPES, *OTHERS]:
        engine.pause_sending(*scope)
    shown = {(p.tenant_key, p.scope, p.subject) for p in engine.list_sending_pauses("other")}
    assert shown == {
        (None, "everything", None),
        ("other", "tenant", None),
        (None, "adapter", "email"),
    }


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        ((TENANT, "everything"), InvalidArgument),
        ((TENANT, "world"), InvalidArgument),
        ((TENANT, None), InvalidArgument),
        ((TENANT, "tenant", "acme"), InvalidArgument),
        ((TENANT, "channel"), InvalidArgument),
        (("", "tenant"), InvalidTenantKey),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(
    engine: Engine, scope: Scope, error: type[Any]
) -> None:
    for call in (engine.pause_sending, engine.resume_sending):
        with engine.refused(error):
            call(*scope)


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        ((TENANT, "sequence", "onbording"), SequenceNotFound),
        (("other", "sequence", "onboarding"), SequenceNotFound),
        ((TENANT, "adapter", "emial"), AdapterNotFound),
        (("other", "adapter", "email"), AdapterNotFound),
        ((TENANT, "channel", "emial"), UnknownProvider),
    ],
)
def test_a_subject_that_does_not_exist_is_refused(
    engine: Engine, scope: Scope, error: type[Any]
) -> None:
    engine.author()
    with engine.refused(error):
        engine.pause_sending(*scope)
