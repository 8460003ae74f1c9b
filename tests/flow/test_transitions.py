"""Which step comes next: entry, transitions by priority, position, the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TEMPLATE, TENANT, Engine, after, email

PRO = {"field_path": "plan", "expected_value": "pro"}
WARM = {"field_path": "score", "operator": ">", "expected_value": 70}


def data(**fields: Any) -> dict[str, Any]:
    return {"email": "sam@example.com"} | fields


def steps(engine: Engine, enrollment: Any) -> list[str]:
    return [x.step for x in engine.executions(enrollment.id)]


def routed(engine: Engine, transitions: list[Any], **fields: Any) -> Any:
    """Send a first step with these transitions; return the step planned next, or how it ended."""
    others = [email("a"), email("b"), email("c")]
    engine.author(
        email("welcome", transitions=transitions), *(other | {"active": True} for other in others)
    )
    sam = engine.join(data=data(**fields))
    engine.deliver()
    following = steps(engine, sam)[1:]
    return following[0] if following else engine.enrollment(sam.id).exit_reason


# Every step must be reached by some way, so each list here ends with ways that never match.
NEVER = [
    {"to": key, "conditions": [{"field_path": "nothing", "expected_value": 1}]} for key in "abc"
]


@pytest.mark.parametrize(
    ("transitions", "fields", "following"),
    [
        ([{"to": "b"}], {}, "b"),
        ([{"to": "b", "conditions": [PRO]}, {"to": "c"}], {"plan": "pro"}, "b"),
        ([{"to": "b", "conditions": [PRO]}, {"to": "c"}], {"plan": "free"}, "c"),
        ([{"to": "c"}, {"to": "b", "conditions": [PRO]}], {"plan": "pro"}, "c"),
        ([{"to": "b", "when": "all", "conditions": [PRO, WARM]}], {"plan": "pro"}, "no_transition"),
        ([{"to": "b", "when": "all", "conditions": [PRO, WARM]}], {"score": 71}, "no_transition"),
        (
            [{"to": "b", "when": "all", "conditions": [PRO, WARM]}],
            {"plan": "pro", "score": 71},
            "b",
        ),
        ([{"to": "b", "when": "any", "conditions": [PRO, WARM]}], {"plan": "pro"}, "b"),
        ([{"to": "b", "when": "any", "conditions": [PRO, WARM]}], {"score": 71}, "b"),
        ([{"to": "b", "when": "any", "conditions": [PRO, WARM]}], {"score": 70}, "no_transition"),
        ([{"to": None, "conditions": [PRO]}, {"to": "b"}], {"plan": "pro"}, "completed"),
        ([{"to": None, "conditions": [PRO]}, {"to": "b"}], {"plan": "free"}, "b"),
        ([{"to": None}], {}, "completed"),
        ([], {}, "no_transition"),
        ([{"to": "b", "conditions": [WARM]}, {"to": "c"}], {"score": "high"}, "c"),
        ([{"to": "b", "conditions": [WARM]}, {"to": "c"}], {"score": {"deep": [1]}}, "c"),
    ],
)
def test_the_first_transition_that_matches_is_taken(
    engine: Engine, transitions: list[Any], fields: dict[str, Any], following: str
) -> None:
    assert routed(engine, transitions + NEVER, **fields) == following
    assert engine.ledger() == []


def test_a_step_without_transitions_is_followed_by_the_next_active_position(
    engine: Engine,
) -> None:
    engine.author(email("welcome"), email("off", active=False), email("tip"))
    sam = engine.join()
    engine.deliver()
    assert steps(engine, sam) == ["welcome", "tip"]


def test_when_no_transition_matches_the_enrolment_completes_and_says_so(engine: Engine) -> None:
    assert routed(engine, NEVER) == "no_transition"
    (row,) = engine.rows("select * from dripdrop.enrollments")
    assert row.state == "completed"


def test_what_happened_to_a_step_may_route(engine: Engine) -> None:
    engine.author(
        email("welcome", conditions=[PRO]),
        email(
            "tip",
            transitions=[
                {
                    "to": "again",
                    "conditions": [{"predicate": '$.steps.welcome.state == "skipped"'}],
                },
                {"to": None},
            ],
        ),
        email("again"),
    )
    free, pro = engine.join("free", data=data()), engine.join("pro", data=data(plan="pro"))
    engine.deliver()
    engine.deliver()
    engine.deliver()
    assert steps(engine, free) == ["welcome", "tip", "again"]
    assert steps(engine, pro) == ["welcome", "tip"]


def test_a_skipped_step_routes_like_one_that_was_sent(engine: Engine) -> None:
    engine.author(
        email("welcome", conditions=[PRO], transitions=[{"to": "last"}]),
        email("middle", active=False),
        email("last"),
    )
    sam = engine.join()
    engine.tick()
    assert steps(engine, sam) == ["welcome", "last"]


def test_a_failed_step_that_may_be_gone_past_routes_too(engine: Engine) -> None:
    engine.author(
        email("welcome", config={"on_max_retry": "continue"}, transitions=[{"to": "last"}]),
        email("middle", active=False),
        email("last"),
    )
    sam = engine.join()
    engine.deliver("failed")
    assert steps(engine, sam) == ["welcome", "last"]


def test_an_event_that_happened_meanwhile_routes(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("welcome"),
        email(
            "tip",
            timing=after(1, "days"),
            transitions=[{"to": "thanks", "conditions": [{"event": "paid"}]}, {"to": "reminder"}],
        ),
        email("thanks", transitions=[{"to": None}]),
        email("reminder"),
    )
    payer, other = engine.join("payer"), engine.join("other")
    engine.deliver()
    engine.track_event(TENANT, "paid", subscriber_id="payer")
    clock.advance(days=1)
    engine.deliver()
    assert steps(engine, payer)[-1] == "thanks"
    assert steps(engine, other)[-1] == "reminder"


ENTRY = [{"to": "vip", "conditions": [PRO]}, {"to": "plain", "conditions": [WARM]}]


@pytest.mark.parametrize(
    ("fields", "first"),
    [({"plan": "pro", "score": 99}, "vip"), ({"plan": "free", "score": 99}, "plain")],
)
def test_entry_transitions_choose_the_first_step(
    engine: Engine, fields: dict[str, Any], first: str
) -> None:
    engine.author(email("plain"), email("vip"), entry=ENTRY)
    assert steps(engine, engine.join(data=data(**fields))) == [first]


def test_a_starting_step_goes_before_the_entry_transitions(engine: Engine) -> None:
    engine.author(email("plain"), email("vip"), entry=ENTRY)
    sam = engine.join(data=data(plan="pro"), starting_step="plain")
    assert steps(engine, sam) == ["plain"]


def test_the_way_in_may_be_the_way_out(engine: Engine) -> None:
    engine.author(email("welcome"), entry=[{"to": None, "conditions": [PRO]}, {"to": "welcome"}])
    sam = engine.join(data=data(plan="pro"))
    assert (sam.state, sam.exit_reason) == ("completed", "completed")
    assert steps(engine, sam) == []


def test_someone_no_entry_transition_fits_is_enrolled_and_done(engine: Engine) -> None:
    engine.author(
        email("plain"),
        email("vip"),
        email(
            "digest",
            timing={"type": "cron", "cron_expression": "0 12 * * *", "recurring": True},
        ),
        entry=ENTRY,
    )
    sam = engine.join(data=data())
    assert (sam.state, sam.exit_reason) == ("completed", "no_transition")
    assert [x.state for x in engine.executions(sam.id)] == ["cancelled"]
    assert engine.ledger() == []


def test_many_at_once_each_go_their_way(engine: Engine) -> None:
    engine.author(email("plain"), email("vip"), entry=[{"to": None, "conditions": [WARM]}, *ENTRY])
    people: dict[str, dict[str, Any]] = {
        "pro": {"plan": "pro"},
        "warm": {"score": 71},
        "none": {"plan": "free"},
    }
    enrolled = engine.enroll_many(
        TENANT,
        "onboarding",
        [{"subscriber_id": key, "data": data(**fields)} for key, fields in people.items()],
    )
    assert {e.subscriber_id: (e.state, e.exit_reason) for e in enrolled} == {
        "pro": ("active", None),
        "warm": ("completed", "completed"),
        "none": ("completed", "no_transition"),
    }


BACK = [{"to": "welcome", "conditions": [PRO]}, {"to": None}]


def test_a_jump_back_is_another_occurrence_under_another_key(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome"), email("tip", timing=after(1, "minutes"), transitions=BACK))
    sam = engine.join(data=data(plan="pro"))
    for _ in range(2):
        engine.deliver()
        clock.advance(minutes=1)
        engine.deliver()
    executions = engine.executions(sam.id)
    assert [(x.step, x.occurrence) for x in executions] == [
        ("welcome", 0),
        ("tip", 0),
        ("welcome", 1),
        ("tip", 1),
        ("welcome", 2),
    ]
    assert len({x.idempotency_key for x in executions}) == 5


def test_a_jump_back_ends_when_its_condition_does(engine: Engine, clock: Clock) -> None:
    twice = {"predicate": "$.steps.welcome.occurrence < 1"}
    engine.author(
        email("welcome"),
        email(
            "tip",
            timing=after(1, "days"),
            transitions=[{"to": "welcome", "conditions": [twice]}, {"to": None}],
        ),
    )
    sam = engine.join()
    for _ in range(2):
        engine.deliver()
        clock.advance(days=1)
        engine.deliver()
    assert steps(engine, sam) == ["welcome", "tip", "welcome", "tip"]
    assert engine.enrollment(sam.id).exit_reason == "completed"


def test_jumps_back_for_ever_reach_the_hop_limit(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("welcome"),
        email("tip", timing=after(1, "days"), transitions=BACK),
        config={"hop_limit": 3},
    )
    sam = engine.join(data=data(plan="pro"))
    for _ in range(5):
        engine.deliver()
        clock.advance(days=1)
        engine.deliver()
    assert steps(engine, sam).count("welcome") == 3
    ended = engine.enrollment(sam.id)
    assert (ended.state, ended.exit_reason) == ("cancelled", "hop_limit")
    assert engine.ledger() == []


def test_a_delay_begins_anew_at_each_jump(engine: Engine, clock: Clock) -> None:
    engine.author(
        email("tip", timing=after(3, "days"), transitions=[{"to": "tip", "conditions": [PRO]}])
    )
    sam = engine.join(data=data(plan="pro"))
    clock.advance(days=3)
    engine.deliver()
    assert (engine.last(sam.id).due_at - clock.now).days == 3


def test_a_resume_goes_on_along_the_branch(engine: Engine) -> None:
    engine.author(
        email("welcome", transitions=[{"to": "vip", "conditions": [PRO]}, {"to": "plain"}]),
        email("plain", transitions=[{"to": None}]),
        email("vip"),
    )
    sam = engine.join(data=data(plan="pro"))
    claims = engine.claim()
    engine.pause_enrollment(TENANT, sam.id)
    engine.record(claims)
    engine.resume_enrollment(TENANT, sam.id)
    assert steps(engine, sam) == ["welcome", "vip"]


def test_a_step_without_a_position_is_reached_by_a_transition_and_is_the_last(
    engine: Engine,
) -> None:
    engine.author()
    sequence = engine.create_sequence(TENANT, "trial", "Trial")
    draft = engine.create_sequence_version(TENANT, sequence.id)
    for key, position in (("hello", 1), ("middle", 2), ("offer", None)):
        engine.create_step(TENANT, draft.id, key, "email", TEMPLATE, position=position)
    engine.create_step_transition(TENANT, draft.id, "hello", "middle")
    engine.create_step_transition(TENANT, draft.id, "middle", "offer")
    engine.activate_sequence_version(TENANT, draft.id)
    sam = engine.enroll(TENANT, "trial", "User", "sam", data())
    for _ in range(3):
        engine.deliver()
    assert steps(engine, sam) == ["hello", "middle", "offer"]
    assert engine.enrollment(sam.id).exit_reason == "completed"
