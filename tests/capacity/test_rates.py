"""Rates: never exceeded in any window, a slot of its own for everything that waits."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from dripdrop.client import Client
from dripdrop.errors import InvalidRate
from tests.capacity.conftest import Sender, most_in_any
from tests.engine import ENVELOPE, TEMPLATE, TENANT, Engine, email

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("written", "count", "seconds"),
    [
        ("60/m", 60, 60),
        ("2/24h", 2, 86400),
        ("10/minute", 10, 60),
        ("5 / 30 seconds", 5, 30),
        ("1/d", 1, 86400),
        ({"count": 60, "seconds": 60}, 60, 60),
        ({"limit": "60", "window_seconds": "60"}, 60, 60),
        ({"max": 3, "period_seconds": 10}, 3, 10),
    ],
)
def test_a_rate_is_written_in_many_ways(
    sender: Sender, written: Any, count: int, seconds: int
) -> None:
    sender.limit(rate_limits={"adapter": written})
    row = sender.engine.rows("select rate_limits from dripdrop.channel_adapters where is_default")
    assert {"count": count, "seconds": seconds} in [r.rate_limits.get("adapter") for r in row]


@pytest.mark.parametrize("written", ["many", "0/m", "5/fortnight", "5", 5, {"count": 5}, [], None])
def test_a_rate_that_does_not_parse_is_refused(sender: Sender, written: Any) -> None:
    with sender.engine.refused(InvalidRate) as refusal:
        sender.limit(rate_limits={"adapter": written})
    assert refusal.value.diag.column_name == "rate_limits.adapter"


def test_an_unknown_scope_is_refused(sender: Sender) -> None:
    with sender.engine.refused(InvalidRate):
        sender.limit(rate_limits={"planet": "60/m"})


@pytest.mark.parametrize("tenant", [TENANT, None])
def test_who_waits_for_a_rate_goes_when_it_is_lifted(sender: Sender, tenant: str | None) -> None:
    sender.engine.update_tenant_settings(tenant, rate_limits={"recipient_domain": "1/d"})
    sender.crowd(2)
    assert len(sender.work()) == 1
    sender.engine.update_tenant_settings(tenant, rate_limits={})
    assert len(sender.work()) == 1


def test_the_kth_that_is_blocked_gets_the_kth_slot(sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "10/m"})
    sender.crowd(35)
    assert len(sender.work()) == 10
    slots = Counter(each.due_at - sender.clock.now for each in sender.waiting())
    assert slots == {1 * MINUTE: 10, 2 * MINUTE: 10, 3 * MINUTE: 5}


def test_what_is_blocked_is_deferred_once(sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "10/m"})
    sender.crowd(60)
    left = sender.run(timedelta(hours=1))
    assert len(left) == 60
    assert most_in_any(MINUTE, left) == 10
    counts = sender.engine.rows("select max(defer_count) as n from dripdrop.step_executions")
    assert counts[0].n == 1


@pytest.mark.slow
def test_ten_thousand_that_are_blocked_are_deferred_once_each(sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "1000/h"})
    sender.crowd(11000)
    assert len(sender.work()) == 1000
    deferrals = sender.engine.rows(
        "select count(*) as n, min(until) as first, max(until) as last from ("
        " select (event_data ->> 'until')::timestamptz as until from dripdrop.message_events"
        " where event_type = 'deferred') as m"
    )[0]
    hours = [(at - sender.clock.now) / timedelta(hours=1) for at in deferrals[1:]]
    assert (deferrals.n, hours) == (10_000, [1, 10])
    for _ in range(5):
        sender.clock.advance(minutes=1)
        assert not any(sender.engine.tick())


@pytest.mark.slow
def test_a_rate_above_five_thousand_is_kept_in_parts(sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "6000/m"})
    sender.crowd(3100)
    left = Counter(sender.run(timedelta(hours=1)))
    assert list(left.values()) == [3000, 100]
    assert max(left) - min(left) == MINUTE / 2


@pytest.mark.parametrize("scope", ["adapter", "provider", "recipient_domain"])
def test_each_scope_counts_its_own(sender: Sender, scope: str) -> None:
    sender.limit(rate_limits={scope: "3/h"})
    sender.crowd(5)
    sender.crowd(5, domain="example.org")
    both = {"adapter": 3, "provider": 3, "recipient_domain": 6}
    assert len(sender.work()) == both[scope]


@pytest.mark.slow
def test_a_recipient_gets_no_more_than_its_rate_whatever_the_sequence(sender: Sender) -> None:
    sender.limit(rate_limits={"recipient": "2/24h"})
    for key in ("news", "offers"):
        sender.sequence(key)
        sender.crowd(1, sequence=key)
    sender.crowd(1)
    assert len(sender.work()) == 2
    assert len(sender.run(timedelta(hours=23))) == 0
    assert len(sender.run(timedelta(hours=2))) == 1


def test_the_domain_of_the_sender_counts(engine: Engine, sender: Sender) -> None:
    engine.update_channel_adapter(TENANT, sender.id, config={"from": "Acme <hi@acme.example>"})
    sender.limit(rate_limits={"domain": "2/h"})
    sender.crowd(3)
    assert len(sender.work()) == 2
    assert "domain acme.example 2 per 01:00:00" in {
        gate.detail for gate in engine.explain(TENANT, sender.waiting()[0].enrollment_id)
    }


def test_the_address_a_template_sends_from_comes_before_the_senders(
    engine: Engine, sender: Sender
) -> None:
    engine.update_channel_adapter(TENANT, sender.id, config={"from": "hi@acme.example"})
    engine.author(email("welcome", template=TEMPLATE | {"from": "Kim <Kim@NEWS.Acme.example>"}))
    sender.limit(rate_limits={"domain": "1/h"})
    sender.crowd(2)
    sender.work()
    (gate,) = [
        g for g in engine.explain(TENANT, sender.waiting()[0].enrollment_id) if g.open is False
    ]
    assert gate.detail == "domain news.acme.example 1 per 01:00:00"


def test_a_sender_without_an_address_has_no_rate_for_its_domain(sender: Sender) -> None:
    Client.update_channel_adapter(sender.engine, TENANT, sender.id, ENVELOPE, {})
    sender.limit(rate_limits={"domain": "1/h"})
    sender.crowd(3)
    assert len(sender.work()) == 3


def test_a_number_has_no_domain(engine: Engine, sender: Sender) -> None:
    sender.limit(rate_limits={"recipient_domain": "1/h"})
    with engine.unguarded():
        for table in ("steps", "channel_adapters"):
            engine.connection.execute(
                f"update dripdrop.{table} set channel = 'sms' where channel = 'email'".encode()
            )
    for person in ("sam", "kim"):
        engine.join(person, data={"email": f"{person}@example.com", "phone": "+14155552671"})
    assert engine.tick().queued == 2


def test_an_address_is_counted_as_it_is_compared(engine: Engine, sender: Sender) -> None:
    sender.limit(rate_limits={"recipient": "1/h"})
    for number, written in enumerate(["sam@example.com", " Sam@Example.COM"]):
        engine.join(str(number), data={"email": written})
    assert len(sender.work()) == 1


def test_another_tenants_messages_to_a_recipient_do_not_count(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.set_adapter_limits(
        None, shared.id, rate_limits={"recipient": "1/d", "recipient_domain": "1/d"}
    )
    for tenant in ("one", "two"):
        engine.apply(tenant, {"key": "hi", "name": "Hi", "steps": [email("welcome")]})
        engine.enroll(tenant, "hi", "User", "sam", data={"email": "sam@example.com"})
    assert len(engine.deliver()) == 2


def test_of_several_rates_the_last_to_have_room_is_waited_for(
    engine: Engine, sender: Sender
) -> None:
    sender.limit(rate_limits={"adapter": "1/h", "recipient_domain": "1/3h", "recipient": "9/h"})
    sender.crowd(2)
    sender.work()
    (waiting,) = sender.waiting()
    assert waiting.due_at == sender.clock.now + timedelta(hours=3)
    (gate,) = [g for g in engine.explain(TENANT, waiting.enrollment_id) if g.open is False]
    assert gate.detail == "recipient_domain example.com 1 per 03:00:00"


def test_the_more_specific_rate_holds(engine: Engine, sender: Sender) -> None:
    engine.update_tenant_settings(TENANT, rate_limits={"adapter": "1/h"})
    sender.crowd(4)
    assert len(sender.work()) == 1
    sender.limit(rate_limits={"adapter": "3/h"})
    assert len(sender.work()) == 3


def test_false_switches_a_rate_off(engine: Engine, sender: Sender) -> None:
    engine.update_tenant_settings(TENANT, rate_limits={"adapter": "1/h"})
    sender.limit(rate_limits={"adapter": False})
    sender.crowd(4)
    assert len(sender.work()) == 4


def test_a_step_may_have_a_rate_of_its_own(engine: Engine, sender: Sender) -> None:
    engine.author(email("welcome", config={"rate_limits": {"adapter": "2/h"}}))
    sender.crowd(5)
    assert len(sender.work()) == 2


def test_a_bad_rate_of_a_step_is_refused_where_it_stands(engine: Engine) -> None:
    with pytest.raises(InvalidRate) as refusal:
        engine.author(email("welcome", config={"rate_limits": {"adapter": "often"}}))
    assert refusal.value.diag.column_name == "steps[0].config.rate_limits.adapter"


def test_explain_names_the_gate_the_limit_and_the_time(engine: Engine, sender: Sender) -> None:
    sender.limit(rate_limits={"recipient_domain": "1/h"})
    sender.crowd(2)
    sender.work()
    (waiting,) = sender.waiting()
    (gate,) = [g for g in engine.explain(TENANT, waiting.enrollment_id) if g.open is False]
    assert (gate.gate, gate.reason, gate.until) == ("capacity", "rate_limit", waiting.due_at)
    assert gate.detail == "recipient_domain example.com 1 per 01:00:00"
    assert gate.next_at == waiting.due_at


def test_explain_names_a_limit_that_a_due_message_has_yet_to_ask(
    engine: Engine, sender: Sender
) -> None:
    sender.limit(rate_limits={"adapter": "1/h"})
    sender.crowd(1)
    sender.work()
    sam = engine.join()
    before = engine.contents()
    (gate,) = [g for g in engine.explain(TENANT, sam.id) if g.open is False]
    assert engine.contents() == before
    assert (gate.gate, gate.reason, gate.next_action) == ("capacity", "rate_limit", "defer")
    assert gate.until == gate.next_at == sender.clock.now + timedelta(hours=1)
    sender.work()
    assert engine.last(sam.id).due_at == gate.until


def test_a_simulation_waits_as_long(engine: Engine, sender: Sender) -> None:
    sender.limit(rate_limits={"recipient_domain": "1/h"})
    sender.crowd(1)
    sender.work()
    rows = engine.simulate(TENANT, "onboarding", {"email": "eve@example.com"})
    assert [(r.action, r.reason, r.at - sender.clock.now) for r in rows][:2] == [
        ("defer", "rate_limit", timedelta(0)),
        ("send", None, timedelta(hours=1)),
    ]


def test_who_is_stopped_makes_room_for_those_behind(engine: Engine, sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "1/h"})
    sender.crowd(4)
    sender.work()
    first, _, third = sender.waiting()
    for each in sender.waiting()[:2]:
        engine.unenroll(TENANT, each.enrollment_id)
    sender.clock.set(first.due_at)
    assert [claim.execution_id for claim in sender.work()] == [third.id]


def test_what_never_left_gives_back_what_it_took(engine: Engine, sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "1/h"}, daily_cap=1)
    sender.crowd(1)
    engine.tick()
    engine.render()
    engine.record(engine.claim_sends("email"), "released")
    assert len(sender.work()) == 1


@pytest.mark.slow
def test_a_late_sequence_takes_turns_with_one_that_fills_the_line(sender: Sender) -> None:
    sender.sequence("news")
    sender.limit(rate_limits={"adapter": "1/m"})
    sender.crowd(20)
    sender.work()
    sender.crowd(3, sequence="news", domain="example.org")
    left = []
    for _ in range(7):
        sender.clock.advance(minutes=1)
        left += [claim.recipient.partition("@")[2] for claim in sender.work()]
    assert left == ["example.com", "example.org"] * 3 + ["example.com"]
