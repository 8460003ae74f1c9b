"""What explain, simulate and forecast know of ramps, groups, absent daemons, and real people."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dripdrop.errors import DripdropError, EnrollmentNotFound, InvalidArgument, UnknownTimeZone
from tests.capacity.conftest import Sender
from tests.capacity.test_caps import RAMP
from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, after, email

DAYS = timedelta(days=30)


def gates(engine: Engine, enrollment_id: Any) -> dict[str, Any]:
    """Return what explain says, by gate."""
    return {row.gate: row for row in engine.explain(TENANT, enrollment_id) if row.phase == "now"}


def test_a_forecast_knows_that_a_ramp_grows(sender: Sender) -> None:
    sender.limit(daily_cap=40, ramp_floor=5, ramp_increment=3)
    sender.crowd(338)
    days = Counter({row.day: row.messages for row in sender.engine.forecast(TENANT, "onboarding")})
    assert [days[day] for day in sorted(days)] == RAMP


def test_explain_knows_that_a_ramp_grows(sender: Sender) -> None:
    sender.limit(daily_cap=40, ramp_floor=5, ramp_increment=3)
    sender.crowd(338)
    sender.work()
    last = sender.waiting()[-1]
    gate = gates(sender.engine, last.enrollment_id)["capacity"]
    assert gate.until.date() == (START + timedelta(days=13)).date()


def test_a_simulation_knows_that_a_ramp_grows(sender: Sender) -> None:
    """Behind forty who wait: 5, 8, 11 and 14 go on the days before."""
    sender.limit(daily_cap=40, ramp_floor=5, ramp_increment=3)
    sender.crowd(40)
    sender.work()
    rows = sender.engine.simulate(TENANT, "onboarding", {"email": "new@example.com"})
    (sent,) = (row for row in rows if row.action == "send")
    assert sent.at.date() == (START + timedelta(days=4)).date()


@pytest.mark.parametrize(
    ("floor", "increment", "cap"), [(5, 3, 40), (1, 1, 1000), (50, 0, 50), (7, 100, 90), (3, 2, 3)]
)
@pytest.mark.parametrize("begins", [-5, 0, 4])
def test_the_days_a_ramp_needs_are_those_that_add_up(
    engine: Engine, floor: int, increment: int, cap: int, begins: int
) -> None:
    today = START.date()
    start = today + timedelta(days=begins)
    for number in [1, 2, 5, 49, 50, 51, 333, 1000]:
        (row,) = engine.rows(
            "select dripdrop._days_for(%s, %s, %s, %s, %s, %s) as days",
            number,
            today,
            start,
            floor,
            increment,
            cap,
        )
        left, days = number, 0
        while left > 0:
            days += 1
            grown = max((today + timedelta(days=days) - start).days, 0)
            left -= min(floor + increment * grown, cap)
        assert row.days == days


@pytest.mark.slow
def test_a_forecast_is_exact_for_more_than_five_hundred_under_a_cap(sender: Sender) -> None:
    sender.limit(daily_cap=100)
    sender.crowd(1000)
    days = [row.messages for row in sender.engine.forecast(TENANT, "onboarding")]
    assert days == [100] * 10


def test_a_forecast_counts_days_of_a_named_zone(engine: Engine) -> None:
    engine.author(email("welcome", timing=after(8, "hours")))
    engine.join()
    for zone, day in (("UTC", 2), ("Asia/Tokyo", 3)):
        (row,) = engine.forecast(TENANT, "onboarding", time_zone=zone)
        assert row.day.day == day
    with engine.refused(UnknownTimeZone):
        engine.forecast(TENANT, "onboarding", time_zone="foo5")


def test_a_message_behind_its_group_says_whom_it_waits_for_and_no_time(
    engine: Engine, clock: Clock
) -> None:
    engine.author(exclusive_group="one")
    rival = {"key": "rival", "name": "Rival", "exclusive_group": "one"}
    engine.apply(TENANT, rival | {"steps": [email("far", timing=after(30, "days"))]})
    engine.enroll(TENANT, "rival", "User", "sam", {"email": "sam@example.com"})
    clock.advance(seconds=1)
    sam = engine.join()
    for _ in range(2):
        gate = gates(engine, sam.id)["frequency"]
        assert (gate.open, gate.reason, gate.detail) == (False, "exclusive_group", "rival")
        assert (gate.at, gate.until, gate.next_action, gate.next_at) == (
            clock.now,
            None,
            "defer",
            None,
        )
        engine.tick()


def test_without_a_daemon_explain_promises_no_time(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    assert gates(engine, sam.id)["daemon"].open
    clock.advance(days=1)
    gate = gates(engine, sam.id)["daemon"]
    assert (gate.open, gate.reason, gate.next_action, gate.next_at) == (
        False,
        "not_taken_up",
        "send",
        None,
    )
    assert gate.detail == "since 2026-03-02 09:00:00 UTC; no worker of the daemon has been seen"
    engine.tick()
    assert gates(engine, sam.id)["daemon"].open
    clock.advance(days=1)
    assert not gates(engine, sam.id)["daemon"].open


FAILING = """
create function public.failing(enrollment dripdrop.enrollments, context jsonb) returns jsonb
language plpgsql security definer as $$ begin raise division_by_zero; end $$
"""
SCORE = """
create table public.scores (subscriber_id text primary key, score int);
insert into public.scores values ('sam', 80), ('kim', 10);
create function public.score(enrollment dripdrop.enrollments, context jsonb) returns jsonb
language sql security definer as $$
  select to_jsonb(s.score) from public.scores as s
  where s.subscriber_id = ($1).subscriber_id
$$
"""


def hook(engine: Engine, key: str, code: str) -> None:
    """Register a function of the application."""
    engine.connection.execute(code.encode())
    engine.connection.execute("grant usage on schema public to dripdrop_hooks")
    engine.create_hook(TENANT, key, f"public.{key}(dripdrop.enrollments, jsonb)")


def test_a_goal_whose_hook_fails_is_not_said_to_be_asked(engine: Engine) -> None:
    hook(engine, "failing", FAILING)
    goal = {"name": "bought", "hook": "failing", "operator": "==", "expected_value": True}
    engine.author(email("welcome"), goals=[goal])
    sam = engine.join()
    engine.tick()
    for claim in engine.claim_hooks():
        result = {"execution": str(claim.execution_id), "fence": claim.fence}
        answers = {claim.key: {"error": "hook_exception"}}
        engine.complete_hooks([result | {"message": claim.message_id, "values": answers}])
    gate = gates(engine, sam.id)["exit"]
    assert (gate.open, gate.reason, gate.detail) == (None, "hook_exception", "bought")


ABOVE = {"hook": "score", "operator": ">", "expected_value": 50}


@pytest.mark.parametrize(("who", "action"), [("sam", "send"), ("kim", "skip")])
def test_a_simulation_of_a_subscriber_asks_the_real_functions(
    engine: Engine, who: str, action: str
) -> None:
    hook(engine, "score", SCORE)
    engine.author(email("offer", conditions=[ABOVE]))
    data = {"email": f"{who}@example.com"}
    before = engine.contents()
    rows = engine.simulate(TENANT, "onboarding", data, subscriber_id=who)
    assert [(row.action, row.reason) for row in rows][:1] == [("ask", "score: asked")]
    assert rows[1].action == action
    assert engine.contents() == before


def test_a_simulation_of_an_enrolment_goes_on_where_it_is(engine: Engine, clock: Clock) -> None:
    hook(engine, "score", SCORE)
    tip = email("tip", timing=after(3, "days"), conditions=[ABOVE])
    engine.author(email("welcome"), tip, email("last", timing="2 days before data.ends_at"))
    sam = engine.join(data={"email": "sam@example.com", "ends_at": "2026-03-20T10:00:00Z"})
    engine.deliver()
    clock.advance(days=1)
    before = engine.contents()
    rows = engine.simulate(TENANT, enrollment_id=sam.id)
    assert [(row.step_key, row.action) for row in rows] == [
        ("tip", "ask"),
        ("tip", "send"),
        ("last", "send"),
        (None, "completed"),
    ]
    assert rows[1].at == START + timedelta(days=3)
    what_if = engine.simulate(
        TENANT, enrollment_id=sam.id, data={"ends_at": "2026-03-25T10:00:00Z"}, hooks={"score": 0}
    )
    assert [(row.step_key, row.action, row.reason) for row in what_if][:2] == [
        ("tip", "ask", "score: assumed"),
        ("tip", "skip", "condition_false"),
    ]
    assert what_if[2].at == datetime(2026, 3, 23, 10, tzinfo=UTC)
    assert engine.contents() == before


@pytest.mark.parametrize("stage", ["scheduled", "queued", "rendered", "sending"])
def test_what_is_under_way_counts_as_due_now(engine: Engine, stage: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(stage, sam.id)
    rows = engine.simulate(TENANT, enrollment_id=sam.id)
    assert [(row.step_key, row.action) for row in rows] == [
        ("welcome", "send"),
        ("tip", "send"),
        (None, "completed"),
    ]


def test_a_subscriber_has_the_data_of_their_last_enrolment(engine: Engine) -> None:
    engine.author()
    engine.apply(TENANT, {"key": "other", "name": "Other", "steps": [email("hello")]})
    engine.enroll(TENANT, "other", "User", "sam", {"email": "sam@example.com"})
    rows = engine.simulate(TENANT, "onboarding", subscriber_id="sam")
    assert {row.recipient for row in rows if row.action == "send"} == {"sam@example.com"}


@pytest.mark.parametrize(
    ("who", "error"),
    [
        ({}, InvalidArgument),
        ({"sequence": "onboarding"}, InvalidArgument),
        ({"data": {}}, InvalidArgument),
        ({"subscriber_id": "sam"}, InvalidArgument),
        ({"subscriber_id": "nobody", "sequence": "onboarding"}, InvalidArgument),
        (
            {"enrollment_id": "01a21e92-b46e-7e35-b797-3c2b1d0879cf", "sequence": "onboarding"},
            InvalidArgument,
        ),
        ({"enrollment_id": "01a21e92-b46e-7e35-b797-3c2b1d0879cf"}, EnrollmentNotFound),
    ],
)
def test_a_simulation_is_told_who_it_is_about(
    engine: Engine, who: dict[str, Any], error: type[DripdropError]
) -> None:
    engine.author()
    with engine.refused(error):
        engine.simulate(TENANT, **who)
