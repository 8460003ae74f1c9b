"""What a suppression holds for, which of two wins, how long it lasts, and who lifted it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dripdrop.errors import (
    DripdropError,
    InvalidArgument,
    InvalidTenantKey,
    SuppressionNotFound,
    TopicNotFound,
    UnknownProvider,
)
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email, onboarding

SAM = "sam@example.com"
WORST_FIRST = ["complaint", "unsubscribe", "bounce", "provider_block", "manual"]


def history(engine: Engine) -> list[Any]:
    """Return the history of suppressions, oldest first."""
    return engine.rows("select * from dripdrop.suppression_history order by id")


def detail(engine: Engine, enrollment_id: Any) -> str | None:
    """Return what explain says about the gate of suppressions."""
    (gate,) = (g for g in engine.explain(TENANT, enrollment_id) if g.gate == "suppression")
    return None if gate.detail is None else str(gate.detail)


# Addresses and domains


@pytest.mark.parametrize("state", ["scheduled", "queued", "rendered"])
@pytest.mark.parametrize("tenant", [TENANT, None])
def test_a_domain_stops_every_address_of_it(engine: Engine, tenant: str | None, state: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    assert engine.suppress(tenant, "email", " @Example.COM").recipient_normalized == "@example.com"
    assert engine.deliver() == []
    engine.tick()
    assert engine.executions(sam.id)[0].reason == "suppressed"
    assert engine.ledger() == []


@pytest.mark.parametrize(
    "address", ["sam@mail.example.com", "sam@notexample.com", "sam@example.co"]
)
def test_a_domain_holds_for_no_other_domain(engine: Engine, address: str) -> None:
    engine.suppress(TENANT, "email", "@example.com")
    assert engine.is_suppressed(TENANT, "email", address) is False


@pytest.mark.parametrize(
    "written",
    ["<sam@example.com>", "mailto:sam@example.com", "sam@example.com.", "@example.com,", '"s"@a.b'],
)
def test_what_could_match_no_address_is_refused(engine: Engine, written: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.suppress(TENANT, "email", written)
    assert refusal.value.diag.column_name == "recipient"


@pytest.mark.parametrize("channel", ["sms", "webhook", "pubsub", "slack", "telegram", "whatsapp"])
def test_channels_without_a_provider_have_suppressions_too(engine: Engine, channel: str) -> None:
    engine.suppress(TENANT, channel, "+4915123456789")
    assert engine.is_suppressed(TENANT, channel, "+4915123456789")
    assert not engine.is_suppressed(TENANT, "email", "+4915123456789@example.com")


@pytest.mark.parametrize("written", ["+1 (415) 555-2671", "001.415.555.2671", "+14155552671"])
def test_a_number_is_compared_by_its_digits(engine: Engine, written: str) -> None:
    engine.suppress(TENANT, "sms", "+1 415 555 2671")
    assert engine.is_suppressed(TENANT, "sms", written)


@pytest.mark.parametrize("caller", [TENANT, None, "other"])
@pytest.mark.parametrize("scope", [TENANT, None])
def test_a_suppression_holds_for_its_tenant_or_for_all(
    engine: Engine, scope: str | None, caller: str | None
) -> None:
    engine.suppress(scope, "email", SAM)
    assert engine.is_suppressed(caller, "email", SAM) is (scope in (caller, None))


def test_what_is_not_suppressed_is_not_suppressed(engine: Engine) -> None:
    assert engine.is_suppressed(TENANT, "email", SAM) is False


# Topics


@pytest.fixture
def topics(engine: Engine) -> Engine:
    """The engine with two topics, and a step about each."""
    for key in ("news", "offers"):
        engine.create_topic(TENANT, key, key.title())
    engine.author(*(email(key, config={"topic": key}) for key in ("news", "offers")))
    return engine


def test_a_suppression_about_a_topic_stops_that_topic_only(topics: Engine) -> None:
    sam = topics.join()
    topics.suppress(TENANT, "email", SAM, "unsubscribe", topic="news")
    topics.deliver()
    topics.deliver()
    assert [(x.step, x.state) for x in topics.executions(sam.id)] == [
        ("news", "skipped"),
        ("offers", "sent"),
    ]
    assert [topics.is_suppressed(TENANT, "email", SAM, t) for t in (None, "news", "offers")] == [
        False,
        True,
        False,
    ]


def test_a_suppression_about_no_topic_stops_them_all(topics: Engine) -> None:
    topics.suppress(TENANT, "email", SAM)
    assert [topics.is_suppressed(TENANT, "email", SAM, t) for t in (None, "news")] == [True, True]


def test_topics_are_suppressed_and_lifted_apart(topics: Engine) -> None:
    for topic in (None, "news", "offers"):
        topics.suppress(TENANT, "email", SAM, topic=topic)
    assert topics.unsuppress(TENANT, "email", SAM, "kim", "asked", "news").topic == "news"
    assert [p.topic for p in topics.list_suppressions(TENANT)] == [None, "offers"]


# Severity and expiry


@pytest.mark.parametrize("second", WORST_FIRST)
@pytest.mark.parametrize("first", WORST_FIRST)
def test_the_worse_reason_is_kept_with_its_source(engine: Engine, first: str, second: str) -> None:
    engine.suppress(TENANT, "email", SAM, first, "first", {"by": "first"})
    kept = engine.suppress(TENANT, "email", SAM, second, "second", {"by": "second"})
    quoted = "first" if WORST_FIRST.index(first) < WORST_FIRST.index(second) else "second"
    assert (kept.reason, kept.source, kept.metadata) == (
        {"first": first, "second": second}[quoted],
        quoted,
        {"by": quoted},
    )


def test_a_suppression_ends_when_it_expires(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    engine.suppress(TENANT, "email", SAM, expires_at=clock.now + timedelta(hours=1))
    clock.advance(minutes=59)
    assert engine.is_suppressed(TENANT, "email", SAM)
    clock.advance(minutes=1)
    assert not engine.is_suppressed(TENANT, "email", SAM)
    assert len(engine.claim_sends("email")) == 1


@pytest.mark.parametrize(
    ("first", "second", "end"), [(1, 2, 2), (2, 1, 2), (None, 1, None), (1, None, None)]
)
@pytest.mark.parametrize("reasons", [("complaint", "manual"), ("manual", "complaint")])
def test_the_later_end_is_kept_whatever_the_reasons(
    engine: Engine,
    now: Any,
    reasons: tuple[str, str],
    first: int | None,
    second: int | None,
    end: int | None,
) -> None:
    def day(number: int | None) -> Any:
        return None if number is None else now + timedelta(days=number)

    for reason, number in zip(reasons, (first, second), strict=True):
        engine.suppress(TENANT, "email", SAM, reason, expires_at=day(number))
    (kept,) = engine.list_suppressions(TENANT)
    assert (kept.reason, kept.expires_at) == ("complaint", day(end))


def test_what_has_expired_no_longer_counts(engine: Engine, clock: Clock) -> None:
    engine.suppress(TENANT, "email", SAM, "complaint", expires_at=clock.now + timedelta(days=1))
    clock.advance(days=1)
    kept = engine.suppress(TENANT, "email", SAM, expires_at=clock.now + timedelta(hours=1))
    assert (kept.reason, kept.expires_at) == ("manual", clock.now + timedelta(hours=1))
    assert [row.action for row in history(engine)] == ["suppressed", "suppressed"]


def test_a_bounce_does_not_hide_a_complaint(engine: Engine) -> None:
    engine.author()
    engine.join()
    claims = engine.claim()
    engine.suppress(TENANT, "email", SAM, "complaint")
    engine.record(claims, "bounced", hard=True)
    assert [p.reason for p in engine.list_suppressions(TENANT)] == ["complaint"]


# Many


def test_many_are_suppressed_at_once(engine: Engine, now: Any) -> None:
    many = engine.suppress_many(
        TENANT,
        [
            {"channel": "email", "recipient": "Sam@example.com", "reason": "complaint"},
            {"channel": "email", "recipient": "@example.org", "expires_at": "2026-03-09T09:00:00Z"},
            {"channel": "sms", "recipient": "+1 415 555 2671", "metadata": {"list": "old"}},
        ],
    )
    assert sorted((p.recipient_normalized, p.reason, p.expires_at) for p in many) == [
        ("+14155552671", "manual", None),
        ("@example.org", "manual", now + timedelta(days=7)),
        (SAM, "complaint", None),
    ]
    assert len(history(engine)) == 3


def test_one_address_many_times_is_one_suppression_with_the_worst_reason(engine: Engine) -> None:
    reasons = ["manual", "complaint", "bounce"]
    (kept,) = engine.suppress_many(
        TENANT, [{"channel": "email", "recipient": SAM, "reason": reason} for reason in reasons]
    )
    assert kept.reason == "complaint"


@pytest.mark.slow
def test_a_list_is_imported_again_as_fast_as_the_first_time(engine: Engine) -> None:
    people = [{"channel": "email", "recipient": f"{n}@example.com"} for n in range(10_000)]
    took = []
    for _ in range(2):
        began = time.monotonic()
        engine.suppress_many(TENANT, people)
        took.append(time.monotonic() - began)
    assert took[1] < 4 * took[0]
    assert len(history(engine)) == 10_000


def test_an_empty_list_suppresses_nobody(engine: Engine) -> None:
    assert engine.suppress_many(TENANT, []) == []


def test_one_fault_in_a_list_refuses_all_of_it(engine: Engine) -> None:
    good, bad = ({"channel": "email", "recipient": r} for r in (SAM, "sam"))
    with engine.refused(InvalidArgument) as refusal:
        engine.suppress_many(TENANT, [good, bad])
    assert refusal.value.diag.message_detail == "Element 2 of the suppressions."


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"channel": "fax"}, UnknownProvider, "channel"),
        ({"channel": None}, UnknownProvider, "channel"),
        ({"recipient": "sam"}, InvalidArgument, "recipient"),
        ({"recipient": "a@b@c"}, InvalidArgument, "recipient"),
        ({"channel": "sms", "recipient": "0171 1234567"}, InvalidArgument, "recipient"),
        ({"channel": "whatsapp", "recipient": "+0171"}, InvalidArgument, "recipient"),
        ({"channel": "slack", "recipient": " \t"}, InvalidArgument, "recipient"),
        ({"topic": "news"}, TopicNotFound, "topic"),
        ({"expires_at": "2026-03-02T09:00:00Z"}, InvalidArgument, "expires_at"),
        ({"expires_at": "soon"}, InvalidArgument, "expires_at"),
        ({"expires": "2027-01-01"}, InvalidArgument, "suppressions"),
    ],
)
def test_a_bad_field_is_named(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    with engine.refused(error) as refusal:
        engine.suppress_many(TENANT, [{"channel": "email", "recipient": SAM} | fields])
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize("suppressions", [{}, ["sam@example.com"], None])
def test_only_a_list_of_objects_is_a_list_of_suppressions(
    engine: Engine, suppressions: Any
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.suppress_many(TENANT, suppressions)
    assert refusal.value.diag.column_name == "suppressions"


def test_a_topic_of_another_tenant_is_not_found(engine: Engine) -> None:
    engine.create_topic("other", "news", "News")
    with engine.refused(TopicNotFound):
        engine.suppress(TENANT, "email", SAM, topic="news")


# Removal and history


def test_an_address_that_is_let_go_gets_messages_again(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    suppressed = engine.suppress(TENANT, "email", SAM, "manual")
    assert engine.unsuppress(TENANT, "email", "SAM@example.com", "kim", "a mistake") == suppressed
    engine.deliver()
    assert engine.executions(sam.id)[0].state == "sent"


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant_key": "other"},
        {"tenant_key": None},
        {"channel": "slack"},
        {"recipient": "eve@example.com"},
        {"recipient": "@example.com"},
        {"topic": "news"},
    ],
)
def test_only_what_is_suppressed_can_be_let_go(engine: Engine, wrong: dict[str, Any]) -> None:
    engine.suppress(TENANT, "email", SAM)
    named = {"tenant_key": TENANT, "channel": "email", "recipient": SAM}
    with engine.refused(SuppressionNotFound):
        engine.unsuppress(**named | {"removed_by": "kim", "why": "asked"} | wrong)


@pytest.mark.parametrize("empty", ["", " ", None])
@pytest.mark.parametrize("field", ["removed_by", "why"])
def test_somebody_answers_for_a_removal(engine: Engine, field: str, empty: Any) -> None:
    engine.suppress(TENANT, "email", SAM)
    with engine.refused(InvalidArgument) as refusal:
        engine.unsuppress(
            TENANT, "email", SAM, **{"removed_by": "kim", "why": "asked"} | {field: empty}
        )
    assert refusal.value.diag.column_name == field


@pytest.mark.parametrize("call", ["is_suppressed", "unsuppress"])
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"tenant_key": ""}, InvalidTenantKey),
        ({"channel": "fax"}, UnknownProvider),
        ({"recipient": "sam"}, InvalidArgument),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    engine: Engine, call: str, fields: dict[str, Any], error: type[DripdropError]
) -> None:
    arguments = {"tenant_key": TENANT, "channel": "email", "recipient": SAM} | fields
    if call == "unsuppress":
        arguments |= {"removed_by": "kim", "why": "asked"}
    with engine.refused(error):
        getattr(engine, call)(**arguments)


def test_the_history_keeps_every_change_and_who_made_it(engine: Engine, clock: Clock) -> None:
    engine.suppress(TENANT, "email", SAM, "bounce", "provider")
    clock.advance(days=1)
    engine.suppress(TENANT, "email", SAM, "complaint", "webhook")
    clock.advance(days=1)
    engine.unsuppress(TENANT, "email", SAM, "kim", "asked by phone")
    login = engine.rows("select session_user as name")[0].name
    assert [
        (h.action, h.reason, h.source, h.removed_by, h.why, h.login, (clock.now - h.at).days)
        for h in history(engine)
    ] == [
        ("suppressed", "bounce", "provider", None, None, login, 2),
        ("changed", "complaint", "webhook", None, None, login, 1),
        ("unsuppressed", "complaint", "webhook", "kim", "asked by phone", login, 0),
    ]


def test_what_changes_nothing_leaves_no_trace(engine: Engine) -> None:
    engine.suppress(TENANT, "email", SAM, "complaint", "webhook")
    engine.suppress(TENANT, "email", SAM, "complaint", "webhook")
    engine.suppress(TENANT, "email", SAM, "manual", "kim")
    assert [row.action for row in history(engine)] == ["suppressed"]


@pytest.mark.slow
def test_two_callers_at_once_leave_one_suppression_and_the_whole_history(
    engine: Engine, other: Engine
) -> None:
    with ThreadPoolExecutor() as pool:
        with engine.connection.transaction():
            engine.suppress(TENANT, "email", SAM, "complaint")
            later = pool.submit(other.suppress, TENANT, "email", SAM, "manual", None, {"n": 2})
            engine.wait_until_blocked(other.connection)
        assert later.result(20).reason == "complaint"
    assert [row.action for row in history(engine)] == ["suppressed"]


def test_a_list_is_of_one_tenant_or_of_one_address_in_it(engine: Engine) -> None:
    for scope in (TENANT, "other", None):
        engine.suppress(scope, "email", SAM)
    engine.suppress(TENANT, "email", "@example.com")
    engine.suppress(TENANT, "slack", SAM)
    engine.suppress(TENANT, "email", "eve@example.org")
    engine.suppress(TENANT, "sms", "+14155552671")
    assert sorted(p.recipient for p in engine.list_suppressions(TENANT)) == sorted(
        ["+14155552671", "@example.com", "eve@example.org", SAM, SAM]
    )
    of_sam = engine.list_suppressions(TENANT, " SAM@example.com")
    assert sorted((p.channel, p.recipient) for p in of_sam) == [
        ("email", "@example.com"),
        ("email", SAM),
        ("slack", SAM),
    ]
    assert [p.channel for p in engine.list_suppressions(TENANT, "+1 415 555 2671")] == ["sms"]
    assert engine.list_suppressions("nobody") == []


# Readers


@pytest.mark.parametrize(
    ("scope", "recipient", "topic", "why"),
    [
        (TENANT, SAM, None, "complaint"),
        (TENANT, "@example.com", None, "complaint of @example.com"),
        (TENANT, SAM, "news", "complaint about news"),
        (None, SAM, None, "complaint, for every tenant"),
    ],
)
def test_explain_says_which_suppression_it_is(
    topics: Engine, scope: str | None, recipient: str, topic: str | None, why: str
) -> None:
    sam = topics.join()
    assert detail(topics, sam.id) is None
    topics.suppress(scope, "email", recipient, "complaint", topic=topic)
    assert detail(topics, sam.id) == why
    topics.tick()
    ((event_data,),) = topics.rows(
        "select event_data ->> 'detail' from dripdrop.message_events"
        " where event_type = 'suppressed'"
    )
    assert event_data == why


def test_explain_names_the_worst_suppression_of_several(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.suppress(TENANT, "email", SAM, "bounce")
    engine.suppress(TENANT, "email", "@example.com", "complaint")
    engine.suppress(None, "email", SAM, "manual")
    assert detail(engine, sam.id) == "complaint of @example.com"


def test_a_simulation_skips_until_the_suppression_expires(engine: Engine, clock: Clock) -> None:
    engine.author()
    engine.suppress(TENANT, "email", "@example.com", expires_at=clock.now + timedelta(days=2))
    rows = engine.simulate(TENANT, "onboarding", {"email": SAM})
    assert [(r.step_key, r.action, r.reason, r.at) for r in rows[:2]] == [
        ("welcome", "skip", "suppressed", clock.now),
        ("tip", "send", None, clock.now + timedelta(days=3)),
    ]


# Numbers at the gate


@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
@pytest.mark.parametrize(
    ("phone", "reason"),
    [
        ("+49 (151) 234-567.89", None),
        ("0049 151 23456789", None),
        ("0151 23456789", "invalid_recipient"),
        ("+1234567890123456", "invalid_recipient"),
        ("+49151x", "invalid_recipient"),
        ("", "invalid_recipient"),
        (None, "no_recipient"),
    ],
)
def test_a_number_is_one_of_e164_or_no_recipient(
    engine: Engine, channel: str, phone: str | None, reason: str | None
) -> None:
    engine.author()
    sam = engine.join(data={"email": SAM, "phone": phone})
    with engine.unguarded():
        engine.connection.execute("update dripdrop.steps set channel = %s", [channel])
    (gate,) = (g for g in engine.explain(TENANT, sam.id) if g.gate == "recipient")
    assert gate.reason == reason


def test_a_formatted_number_matches_its_suppression(engine: Engine) -> None:
    engine.author()
    sam = engine.join(data={"email": SAM, "phone": "001 415 555-2671"})
    with engine.unguarded():
        engine.connection.execute("update dripdrop.steps set channel = 'sms'")
    engine.suppress(TENANT, "sms", "+1 (415) 555.2671")
    engine.tick()
    assert engine.executions(sam.id)[0].reason == "suppressed"


def test_nothing_is_suppressed_where_the_channel_has_no_address(engine: Engine) -> None:
    hook = {"key": "call", "channel": "webhook", "template": {"url": "https://example.com"}}
    engine.author(hook)
    engine.suppress(TENANT, "webhook", "https://example.com")
    engine.join()
    assert engine.tick().queued == 1


def test_two_tenants_lists_do_not_mix(engine: Engine) -> None:
    engine.author()
    engine.create_channel_adapter("other", "mail", "email", "smtp", is_default=True)
    engine.apply("other", onboarding())
    engine.enroll("other", "onboarding", "User", "sam", {"email": SAM})
    engine.join()
    engine.suppress("other", "email", "@example.com")
    assert [claim.tenant_key for claim in engine.deliver()] == [TENANT]
