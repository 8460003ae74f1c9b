"""Messages shared among several senders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import AdapterNotFound, DripdropError, InvalidArgument, UnknownProvider
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email, onboarding

SHARED = [{"adapter": "a", "weight": 3}, "b"]
PEOPLE = [f"person-{number}" for number in range(40)]


@pytest.fixture
def senders(engine: Engine) -> dict[str, Any]:
    """Three senders to share among, and a default."""
    made = {
        name: engine.create_channel_adapter(TENANT, name, "email", "smtp").id
        for name in ("a", "b", "c")
    }
    made["default"] = engine.create_channel_adapter(
        TENANT, "default", "email", "smtp", is_default=True
    ).id
    return made


def rotating(rotation: Any = SHARED, **fields: Any) -> dict[str, Any]:
    """Return a step that shares its messages."""
    return email("welcome", config={"channel_adapter_rotation": rotation}, **fields)


def sent_by(engine: Engine, senders: dict[str, Any]) -> dict[str, str]:
    """Return subscriber → name of the sender, of everybody's first message."""
    names = {adapter: name for name, adapter in senders.items()}
    rows = engine.rows(
        "select distinct on (e.subscriber_id) e.subscriber_id, x.adapter_id"
        " from dripdrop.step_executions as x"
        " join dripdrop.enrollments as e on e.id = x.enrollment_id"
        " order by e.subscriber_id, x.id"
    )
    return {row.subscriber_id: names[row.adapter_id] for row in rows}


def join_all(engine: Engine) -> None:
    engine.enroll_many(
        TENANT,
        "onboarding",
        [{"subscriber_id": p, "data": {"email": f"{p}@example.com"}} for p in PEOPLE],
    )


def draws(engine: Engine, weights: Mapping[str, float], resting: str = "") -> Iterator[str]:
    """Draw for ten thousand messages whose ids are always the same."""
    rows = engine.rows(
        """
        with sender as (
          select array_agg(
            row(
              md5(w.key)::uuid, w.key, w.value::float8, null, w.key = %s, null, null,
              null, null, null
            )::dripdrop._sender
          ) as all
          from jsonb_each_text(%s::jsonb) as w
        )
        select (dripdrop._drawn_sender(s.all, md5(n::text)::uuid, null)).name
        from sender as s
        cross join generate_series(1, 10000) as n
        order by n
        """,
        resting,
        str(weights).replace("'", '"'),
    )
    return (row.name for row in rows)


def test_shares_follow_the_weights(engine: Engine) -> None:
    counts = Counter(draws(engine, {"a": 5, "b": 3, "c": 2}))
    assert 4850 < counts["a"] < 5150
    assert 2850 < counts["b"] < 3150
    assert 1850 < counts["c"] < 2150


def test_weights_may_be_fractions(engine: Engine) -> None:
    counts = Counter(draws(engine, {"a": 0.5, "b": 1.5}))
    assert 2350 < counts["a"] < 2650


def test_a_sender_that_rests_passes_on_only_its_own_messages(engine: Engine) -> None:
    weights = {"a": 5, "b": 3, "c": 2}
    before = list(draws(engine, weights))
    while_a_rests = list(draws(engine, weights, resting="a"))
    assert "a" not in while_a_rests
    assert [name for name in before if name != "a"] == [
        now for name, now in zip(before, while_a_rests, strict=True) if name != "a"
    ]
    passed_on = Counter(now for name, now in zip(before, while_a_rests, strict=True) if name == "a")
    assert 0.57 < passed_on["b"] / passed_on.total() < 0.63


@pytest.mark.slow
def test_a_draw_is_the_same_whoever_makes_it_and_when(
    engine: Engine, other: Engine, clock: Clock
) -> None:
    weights = {"a": 5, "b": 3, "c": 2}
    first = list(draws(engine, weights))
    clock.advance(days=1)
    assert list(draws(other, weights)) == first


def test_a_step_shares_its_messages(engine: Engine, senders: dict[str, Any]) -> None:
    engine.apply(TENANT, onboarding(rotating()))
    join_all(engine)
    engine.tick()
    counts = Counter(sent_by(engine, senders).values())
    assert counts.keys() == {"a", "b"}
    assert counts["a"] > counts["b"]


def test_two_messages_of_one_person_may_have_different_senders(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.apply(
        TENANT, onboarding(email("a"), email("b"), metadata={"channel_rotation": {"email": SHARED}})
    )
    join_all(engine)
    for _ in range(2):
        engine.tick(), engine.render()
        engine.record(engine.claim_sends("email"))
    pairs = engine.rows(
        "select count(distinct adapter_id) as senders from dripdrop.step_executions"
        " group by enrollment_id"
    )
    assert {pair.senders for pair in pairs} == {1, 2}


def test_the_steps_own_sender_comes_before_a_rotation(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.apply(TENANT, onboarding(rotating(adapter="c")))
    join_all(engine)
    engine.tick()
    assert set(sent_by(engine, senders).values()) == {"c"}


def test_a_rotation_comes_before_the_sequences_sender(
    engine: Engine, senders: dict[str, Any]
) -> None:
    metadata = {
        "channel_adapters": {"email": str(senders["c"])},
        "channel_rotation": {"email": ["a", "b"]},
    }
    engine.apply(TENANT, onboarding(email("welcome"), metadata=metadata))
    join_all(engine)
    engine.tick()
    assert set(sent_by(engine, senders).values()) == {"a", "b"}


@pytest.mark.parametrize(
    ("rotation", "used"),
    [
        ({"email": ["a"], "default": ["b"]}, "a"),
        ({"default": ["b"]}, "b"),
        ({"default": ["hook", "b"]}, "b"),
        ({"default": ["hook"]}, "default"),
        ({"webhook": ["hook"]}, "default"),
    ],
)
def test_a_sequences_rotation_is_the_channels_else_the_default_one(
    engine: Engine, senders: dict[str, Any], rotation: Any, used: str
) -> None:
    engine.create_channel_adapter(TENANT, "hook", "webhook", "default")
    engine.apply(TENANT, onboarding(metadata={"channel_rotation": rotation}))
    join_all(engine)
    engine.tick()
    assert set(sent_by(engine, senders).values()) == {used}


def test_the_first_rule_that_names_a_sender_has_the_word(
    engine: Engine, senders: dict[str, Any]
) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    a, b, c = (str(senders[name]) for name in "abc")
    rules: list[tuple[str, dict[str, Any]]] = [
        ("a", {"adapter": a}),
        ("b", {"config": {"channel_adapter_rotation": [{"adapter_id": b, "weight": 1}]}}),
        ("c", {"metadata": {"channel_rotation": {"email": [{"adapter_id": c, "weight": 1}]}}}),
        ("a", {"metadata": {"channel_rotation": {"default": [{"adapter_id": a, "weight": 1}]}}}),
        ("b", {"metadata": {"channel_adapters": {"email": b}}}),
        ("default", {}),
    ]
    names = {adapter: name for name, adapter in senders.items()} | {shared.id: "shared", None: ""}

    def sends(tenant: str | None, named: list[dict[str, Any]]) -> str:
        """Return who sends where all of this is named."""
        adapter = None
        config: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        for each in named:
            adapter = each.get("adapter", adapter)
            config |= each.get("config", {})
            for key, value in each.get("metadata", {}).items():
                metadata[key] = metadata.get(key, {}) | value
        (row,) = engine.rows(
            "select adapter_id from dripdrop._who_sends(%s, %s, %s, %s, 'email') where sends",
            *[adapter, Jsonb(config), Jsonb(metadata), tenant],
        )
        return names[row.adapter_id]

    for number, (name, _) in enumerate(rules):
        assert sends(TENANT, [fields for _, fields in rules[number:]]) == name
    assert sends("other", []) == "shared"
    engine.update_channel_adapter(None, shared.id, active=False)
    assert sends("other", []) == ""


@pytest.mark.parametrize(
    "document",
    [
        lambda: onboarding(email("welcome", adapter="a")),
        lambda: onboarding(rotating(["a", "b"])),
        lambda: onboarding(metadata={"channel_rotation": {"email": ["a"]}}),
    ],
)
def test_a_sender_that_is_switched_off_is_refused_wherever_it_is_named(
    engine: Engine, senders: dict[str, Any], document: Callable[[], Any]
) -> None:
    engine.update_channel_adapter(TENANT, senders["a"], active=False)
    with engine.refused(InvalidArgument) as refusal:
        engine.apply(TENANT, document())
    assert (refusal.value.diag.message_primary or "").endswith('adapter "a" is switched off')


def test_a_retry_has_the_same_sender(engine: Engine, senders: dict[str, Any], clock: Clock) -> None:
    engine.apply(TENANT, onboarding(rotating()))
    join_all(engine)
    engine.deliver("retry")
    first = sent_by(engine, senders)
    clock.advance(minutes=2)
    assert len(engine.deliver()) == len(PEOPLE)
    assert sent_by(engine, senders) == first


@pytest.mark.parametrize("missing", ["switched off", "resting", "paused"])
def test_a_sender_that_cannot_send_is_left_out_of_the_draw(
    engine: Engine, senders: dict[str, Any], clock: Clock, missing: str
) -> None:
    engine.apply(TENANT, onboarding(rotating()))
    if missing == "switched off":
        engine.update_channel_adapter(TENANT, senders["a"], active=False)
    else:
        until = clock.now + timedelta(hours=1) if missing == "resting" else None
        engine.pause_adapter(TENANT, senders["a"], until)
    join_all(engine)
    assert engine.tick().queued == len(PEOPLE)
    assert set(sent_by(engine, senders).values()) == {"b"}


def test_when_all_rest_a_message_waits_for_the_first_to_wake(
    engine: Engine, senders: dict[str, Any], clock: Clock
) -> None:
    engine.apply(TENANT, onboarding(rotating(["a", "b", "c"])))
    engine.pause_adapter(TENANT, senders["a"])
    engine.pause_adapter(TENANT, senders["b"], clock.now + timedelta(hours=2))
    engine.pause_adapter(TENANT, senders["c"], clock.now + timedelta(hours=5))
    sam = engine.join()
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.state, execution.adapter_id) == ("scheduled", senders["b"])
    assert execution.due_at == clock.now + timedelta(hours=2)


def test_when_none_is_on_the_message_waits(engine: Engine, senders: dict[str, Any]) -> None:
    engine.apply(TENANT, onboarding(rotating()))
    for name in ("a", "b"):
        engine.update_channel_adapter(TENANT, senders[name], active=False)
    sam = engine.join()
    engine.tick()
    execution = engine.last(sam.id)
    assert (execution.state, execution.reason) == ("scheduled", "adapter_inactive")


def test_a_message_that_waits_goes_with_whoever_of_its_rotation_is_resumed(
    engine: Engine, senders: dict[str, Any], clock: Clock
) -> None:
    engine.apply(TENANT, onboarding(rotating()))
    engine.pause_adapter(TENANT, senders["a"])
    engine.pause_adapter(TENANT, senders["b"], clock.now + timedelta(hours=2))
    join_all(engine)
    assert engine.tick().deferred == len(PEOPLE)
    assert set(sent_by(engine, senders).values()) == {"b"}
    engine.resume_adapter(TENANT, senders["a"])
    assert engine.tick().queued == len(PEOPLE)
    assert set(sent_by(engine, senders).values()) == {"a"}


def decided(engine: Engine, senders: dict[str, Any]) -> None:
    """Let everybody's message be rendered while `a` rests, and wake it."""
    engine.apply(TENANT, onboarding(rotating()))
    engine.pause_adapter(TENANT, senders["a"])
    join_all(engine)
    engine.tick()
    engine.render()
    engine.resume_adapter(TENANT, senders["a"])


def test_a_decided_message_keeps_its_sender_when_another_wakes(
    engine: Engine, senders: dict[str, Any]
) -> None:
    decided(engine, senders)
    claims = engine.claim_sends("email")
    assert {claim.adapter_id for claim in claims} == {senders["b"]}
    assert len(claims) == len(PEOPLE)


def test_so_does_its_retry(engine: Engine, senders: dict[str, Any], clock: Clock) -> None:
    decided(engine, senders)
    engine.record(engine.claim_sends("email"), "retry")
    clock.advance(minutes=2)
    assert {claim.adapter_id for claim in engine.deliver()} == {senders["b"]}


@pytest.mark.parametrize("how", ["rests", "is switched off"])
def test_a_decided_message_changes_its_sender_when_that_cannot_send(
    engine: Engine, senders: dict[str, Any], how: str
) -> None:
    decided(engine, senders)
    if how == "rests":
        engine.pause_adapter(TENANT, senders["b"])
    else:
        engine.update_channel_adapter(TENANT, senders["b"], active=False)
    assert engine.claim_sends("email") == []
    engine.tick()
    claims = engine.claim_sends("email")
    assert {claim.adapter_id for claim in claims} == {senders["a"]}
    assert len(claims) == len(PEOPLE)


def test_a_decided_message_changes_its_sender_with_the_rotation(
    engine: Engine, senders: dict[str, Any]
) -> None:
    named = {"channel_rotation": {"email": ["a"]}}
    engine.apply(TENANT, onboarding(metadata=named))
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    engine.apply(TENANT, onboarding(metadata={"channel_rotation": {"email": ["c"]}}))
    assert engine.claim_sends("email") == []
    engine.tick()
    assert [claim.adapter_id for claim in engine.claim_sends("email")] == [senders["c"]]


def test_names_are_stored_as_ids(engine: Engine, senders: dict[str, Any]) -> None:
    stored = [
        {"adapter_id": str(senders["a"]), "weight": 3},
        {"adapter_id": str(senders["b"]), "weight": 1},
    ]
    document = onboarding(rotating(), metadata={"channel_rotation": {"default": SHARED}})
    version = engine.apply(TENANT, document)
    (step,) = engine.list_steps(TENANT, version.id)
    assert step.config["channel_adapter_rotation"] == stored
    sequence = engine.get_sequence(TENANT, "onboarding")
    assert sequence.metadata == {"channel_rotation": {"default": stored}}


def test_the_same_names_are_the_same_document(engine: Engine, senders: dict[str, Any]) -> None:
    document = onboarding(rotating(), metadata={"channel_rotation": {"email": SHARED}})
    engine.apply(TENANT, document)
    assert engine.plan(TENANT, document) == []


def test_ids_are_taken_as_well(engine: Engine, senders: dict[str, Any]) -> None:
    by_id = [{"adapter_id": str(senders["a"]), "weight": 3}, {"adapter": "b"}]
    engine.apply(TENANT, onboarding(rotating()))
    assert engine.plan(TENANT, onboarding(rotating(by_id))) == []


def test_the_tenants_own_sender_comes_before_a_global_one_of_its_name(
    engine: Engine, senders: dict[str, Any]
) -> None:
    engine.create_channel_adapter(None, "a", "email", "smtp")
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp").id
    version = engine.apply(TENANT, onboarding(rotating(["a", "shared"])))
    (step,) = engine.list_steps(TENANT, version.id)
    assert [each["adapter_id"] for each in step.config["channel_adapter_rotation"]] == [
        str(senders["a"]),
        str(shared),
    ]


FAULTS: list[tuple[Any, type[DripdropError], str]] = [
    ("a", InvalidArgument, ""),
    ([], InvalidArgument, ""),
    (None, InvalidArgument, ""),
    ([1], InvalidArgument, "[0]"),
    ([""], InvalidArgument, "[0]"),
    ([{"weight": 1}], InvalidArgument, "[0]"),
    (["b", {"adapter": "a", "adapter_id": "x"}], InvalidArgument, "[1]"),
    ([{"adapter_id": "x"}], InvalidArgument, "[0]"),
    (["b", {"adapter": "a", "wait": 1}], InvalidArgument, "[1].wait"),
    ([{"adapter": "a", "weight": 0}], InvalidArgument, "[0].weight"),
    ([{"adapter": "a", "weight": -1}], InvalidArgument, "[0].weight"),
    ([{"adapter": "a", "weight": "3"}], InvalidArgument, "[0].weight"),
    (["a", "a"], InvalidArgument, "[1]"),
    (["off"], InvalidArgument, "[0]"),
    (["a", "gone"], AdapterNotFound, "[1]"),
    ([{"adapter": "theirs"}], AdapterNotFound, "[0].adapter"),
    (["hook"], AdapterNotFound, "[0]"),
    (
        [{"adapter_id": "00000000-0000-0000-0000-000000000000"}],
        AdapterNotFound,
        "[0].adapter_id",
    ),
]


@pytest.mark.parametrize(("rotation", "error", "path"), FAULTS)
@pytest.mark.parametrize("place", ["step", "sequence"])
def test_a_bad_rotation_is_refused_where_it_stands(
    engine: Engine,
    senders: dict[str, Any],
    place: str,
    rotation: Any,
    error: type[DripdropError],
    path: str,
) -> None:
    engine.create_channel_adapter("other", "theirs", "email", "smtp")
    engine.create_channel_adapter(TENANT, "hook", "webhook", "default")
    engine.create_channel_adapter(TENANT, "off", "email", "smtp", active=False)
    if place == "step":
        document, field = onboarding(rotating(rotation)), "steps[0].config.channel_adapter_rotation"
    else:
        document = onboarding(metadata={"channel_rotation": {"email": rotation}})
        field = "metadata.channel_rotation.email"
    with engine.refused(error) as refusal:
        engine.apply(TENANT, document)
    assert refusal.value.diag.column_name == field + path


@pytest.mark.parametrize(
    ("rotation", "error", "field"),
    [
        (["a"], InvalidArgument, "metadata.channel_rotation"),
        ({"fax": ["a"]}, UnknownProvider, "metadata.channel_rotation.fax"),
    ],
)
def test_a_sequences_rotations_stand_under_their_channels(
    engine: Engine, senders: dict[str, Any], rotation: Any, error: type[DripdropError], field: str
) -> None:
    with engine.refused(error) as refusal:
        engine.apply(TENANT, onboarding(metadata={"channel_rotation": rotation}))
    assert refusal.value.diag.column_name == field


def test_a_sender_switched_off_since_keeps_a_version_from_being_activated(
    engine: Engine, senders: dict[str, Any]
) -> None:
    version = engine.apply(TENANT, onboarding(rotating(), activate=False))
    engine.update_channel_adapter(TENANT, senders["b"], active=False)
    assert [
        (p.problem, p.step_key) for p in engine.validate_sequence_version(TENANT, version.id)
    ] == [("adapter_inactive", "welcome")]


def test_a_channel_with_a_rotation_needs_no_default(engine: Engine) -> None:
    engine.create_channel_adapter(TENANT, "a", "email", "smtp")
    engine.apply(TENANT, onboarding(rotating(["a"])))
    assert {row.problem for row in engine.startup_check()} <= {"no_unsubscribe_url"}


def test_a_simulation_draws_among_those_that_can_send(
    engine: Engine, senders: dict[str, Any], clock: Clock
) -> None:
    step = rotating(timing=after(1, "hours"))
    engine.apply(TENANT, onboarding(step))
    engine.pause_adapter(TENANT, senders["a"])
    rows = engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [row.action for row in rows] == ["send", "completed"]
    engine.pause_adapter(TENANT, senders["b"], clock.now + timedelta(hours=3))
    rows = engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(row.at - clock.now, row.action, row.reason) for row in rows[:2]] == [
        (timedelta(hours=1), "defer", "manual"),
        (timedelta(hours=3), "send", None),
    ]
