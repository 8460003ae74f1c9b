"""Every kind of block: what explain says of it, what is recorded, what a simulation foretells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest

from tests.capacity.conftest import Sender
from tests.engine import TENANT, Engine, email

NOTHING = timedelta(0)
HOUR = timedelta(hours=1)
MIDNIGHT = timedelta(hours=15)
"""How long after the beginning of a test the sender's next day begins."""


class Block(NamedTuple):
    """What shuts a gate for Sam, who is enrolled afterwards, and what is to be said of it."""

    set_up: Callable[[Sender], Any]
    gate: str
    reason: str
    detail: str | None
    action: str
    lasts: timedelta | None = None
    """How long it is until the message leaves."""
    spread: timedelta = NOTHING
    """By how much messages of the same fate differ in that."""
    begins: timedelta = NOTHING
    """How long after Sam was enrolled it is shut."""
    lift: Callable[[Sender], Any] | None = None
    """What ends it, where time does not."""
    simulated: bool = True
    """Whether it shuts for anybody like Sam, and not for Sam alone."""
    waits_for: str | None = None
    """What the message says it waits for, where it is not the time."""


def pause_sam(w: Sender) -> None:
    w.engine.pause_enrollment(TENANT, w.engine.join().id)


def resume_sam(w: Sender) -> None:
    w.engine.resume_enrollment(TENANT, w.engine.join().id)


def release_sam(w: Sender) -> None:
    w.engine.release(TENANT, w.engine.last(w.engine.join().id).id)


def let_it_grow_stale(w: Sender) -> None:
    config = {"stale_after": "1 hour", "on_stale": "hold"}
    w.engine.author(email("welcome", timing="at data.planned_for", config=config))
    planned_for = (w.clock.now - 2 * HOUR).isoformat()
    w.engine.join(data={"email": "sam@example.com", "planned_for": planned_for})


def wait_for_an_event(w: Sender) -> None:
    timing = {"type": "event", "trigger_event": "paid", "timeout": "6 hours"}
    w.engine.author(email("paid", timing=timing), email("welcome"))


def suppress(recipient: str, **fields: Any) -> Callable[[Sender], Any]:
    return lambda w: w.engine.suppress(TENANT, "email", recipient, "complaint", **fields)


def about(topic: str, opt_in: bool = False) -> Callable[[Sender], Any]:
    """Let the message be about a topic."""

    def set_up(w: Sender) -> None:
        w.engine.create_topic(TENANT, topic, topic.title(), opt_in=opt_in)
        w.engine.author(email("welcome", config={"topic": topic}))

    return set_up


def suppress_a_topic(w: Sender) -> None:
    about("news")(w)
    suppress("sam@example.com", topic="news")(w)


def opt_out(w: Sender) -> None:
    about("news")(w)
    w.engine.set_subscription(TENANT, "User", "sam", "news", "unsubscribed", "preferences")


def verify(w: Sender) -> None:
    w.engine.author(email("welcome", config={"require_verified_recipient": True}))


def cap_what_one_gets(w: Sender) -> None:
    w.engine.author(email("first"), email("welcome"))
    w.engine.set_frequency_cap(TENANT, "weekly", 1, timedelta(days=7))


def enrol_in_a_rival(w: Sender) -> None:
    """Let Sam be in a sequence of the same group that has not ended."""
    w.engine.author(
        email("welcome"), email("last", timing="in 30 days"), key="rival", exclusive_group="one"
    )
    w.engine.author(email("welcome"), exclusive_group="one")
    w.engine.enroll(TENANT, "rival", "User", "sam", data={"email": "sam@example.com"})
    w.work()


def leave_the_rival(w: Sender) -> None:
    w.engine.unenroll(TENANT, w.engine.get_enrollment(TENANT, "rival", "User", "sam").id)


def open_late(w: Sender) -> None:
    w.engine.update_tenant_settings(TENANT, send_window={"start": "10:00", "end": "12:00"})


def take_the_default_away(w: Sender) -> None:
    w.engine.update_channel_adapter(TENANT, w.id, is_default=False)


def give_the_default_back(w: Sender) -> None:
    w.engine.update_channel_adapter(TENANT, w.id, is_default=True)


def switch_the_sender_off(w: Sender) -> None:
    w.engine.author(email("welcome", adapter="email"))
    w.engine.update_channel_adapter(TENANT, w.id, active=False)


def switch_the_sender_on(w: Sender) -> None:
    w.engine.update_channel_adapter(TENANT, w.id, active=True)


def pause_the_sender(w: Sender) -> None:
    w.engine.pause_adapter(TENANT, w.id, w.clock.now + 6 * HOUR, "new password")


def let_the_provider_refuse(w: Sender) -> None:
    kim = w.engine.join("kim")
    w.engine.deliver("rate_limited", retry_after=600)
    w.engine.unenroll(TENANT, kim.id)


def use_up(**limits: Any) -> Callable[[Sender], Any]:
    """Limit the sender to what Kim, who has the same address as Sam, is sent."""

    def set_up(w: Sender) -> None:
        w.engine.update_channel_adapter(TENANT, w.id, config={"from": "Acme <hi@acme.example>"})
        w.limit(**limits)
        w.engine.join("kim", data={"email": "sam@example.com"})
        assert len(w.work()) == 1

    return set_up


def rate(scope: str) -> Callable[[Sender], Any]:
    return use_up(rate_limits={scope: "1/h"})


def use_up_a_share(w: Sender) -> None:
    version = w.engine.get_active_sequence_version(
        TENANT, w.engine.get_sequence(TENANT, "onboarding").id
    )
    w.engine.set_adapter_sequence_budget(TENANT, w.id, version.id, max_share_pct=50)
    use_up(daily_cap=2)(w)


def use_up_a_step(w: Sender) -> None:
    w.engine.author(email("welcome", config={"daily_cap": 1}))
    use_up(daily_cap=100)(w)


def daily(set_up: Callable[[Sender], Any], reason: str, detail: str) -> Block:
    """A day has one beginning, at which not all that waited for it leaves at once."""
    return Block(
        set_up,
        "capacity",
        reason,
        detail,
        "defer",
        MIDNIGHT,
        spread=timedelta(seconds=511),
        waits_for="limit",
    )


def limited(set_up: Callable[[Sender], Any], detail: str, lasts: timedelta = HOUR) -> Block:
    return Block(set_up, "capacity", "rate_limit", detail, "defer", lasts, waits_for="limit")


BLOCKS = {
    "kill switch": Block(
        lambda w: w.engine.pause_sending(TENANT, "channel", "email", reason="incident"),
        "sending",
        "sending_paused",
        "channel email: incident",
        "hold",
        lift=lambda w: w.engine.resume_sending(TENANT, "channel", "email"),
        waits_for="pause",
    ),
    "paused enrolment": Block(
        pause_sam,
        "pause",
        "enrollment_paused",
        None,
        "hold",
        lift=resume_sam,
        simulated=False,
        waits_for="enrollment",
    ),
    "stale hold": Block(
        let_it_grow_stale,
        "stale",
        "stale",
        "late by 02:00:00",
        "hold",
        lift=release_sam,
        waits_for="release",
        simulated=False,
    ),
    "event wait": Block(
        wait_for_an_event, "event", "waiting_for_event", "paid", "wait", 6 * HOUR, waits_for="event"
    ),
    "suppressed address": Block(
        suppress("sam@example.com"), "suppression", "suppressed", "complaint", "skip"
    ),
    "suppressed domain": Block(
        suppress("@example.com"), "suppression", "suppressed", "complaint of @example.com", "skip"
    ),
    "suppressed topic": Block(
        suppress_a_topic, "suppression", "suppressed", "complaint about news", "skip"
    ),
    "opted out": Block(opt_out, "topic", "opted_out", "news", "skip", simulated=False),
    "not subscribed": Block(
        about("offers", opt_in=True), "topic", "not_subscribed", "offers", "skip"
    ),
    "unverified": Block(verify, "verification", "unverified_recipient", None, "skip"),
    "frequency cap": Block(
        cap_what_one_gets,
        "frequency",
        "frequency_cap",
        "subscriber User:sam 1 per 7 days",
        "defer",
        timedelta(days=7),
        waits_for="limit",
    ),
    "exclusive group": Block(
        enrol_in_a_rival,
        "frequency",
        "exclusive_group",
        "rival",
        "defer",
        lift=leave_the_rival,
        simulated=False,
        waits_for="rival",
    ),
    "window": Block(open_late, "window", "outside_window", "10:00 to 12:00, UTC", "defer", HOUR),
    "no sender": Block(
        take_the_default_away,
        "sender",
        "no_adapter",
        None,
        "hold",
        lift=give_the_default_back,
        waits_for="sender",
    ),
    "sender off": Block(
        switch_the_sender_off,
        "sender",
        "adapter_inactive",
        "email",
        "hold",
        lift=switch_the_sender_on,
        waits_for="sender",
    ),
    "sender paused": Block(
        lambda w: w.engine.pause_adapter(TENANT, w.id),
        "sender_rest",
        "manual",
        "email",
        "defer",
        lift=lambda w: w.engine.resume_adapter(TENANT, w.id),
        waits_for="rest",
    ),
    "sender paused until a time": Block(
        pause_the_sender,
        "sender_rest",
        "new password",
        "email",
        "defer",
        6 * HOUR,
        waits_for="rest",
    ),
    "sender at rest": Block(
        let_the_provider_refuse,
        "circuit",
        "circuit_open",
        "email: rate_limited",
        "hold",
        timedelta(minutes=10),
        simulated=False,
        waits_for="circuit",
    ),
    "rate of the sender": limited(rate("adapter"), "adapter {adapter} 1 per 01:00:00"),
    "rate of the provider": limited(rate("provider"), "provider email:smtp 1 per 01:00:00"),
    "rate of the sender's domain": limited(rate("domain"), "domain acme.example 1 per 01:00:00"),
    "rate of the recipient's domain": limited(
        rate("recipient_domain"), "recipient_domain example.com 1 per 01:00:00"
    ),
    "rate of the recipient": limited(rate("recipient"), "recipient sam@example.com 1 per 01:00:00"),
    "gap": limited(
        use_up(min_gap_seconds=90), "gap 1 per 00:01:30", timedelta(seconds=90)
    )._replace(reason="min_gap"),
    "daily cap": daily(use_up(daily_cap=1), "daily_cap", "day 1 a day"),
    "ramp": daily(use_up(ramp_floor=1, ramp_increment=1), "daily_cap", "day 1 a day"),
    "share": daily(use_up_a_share, "share_cap", "share 1 a day"),
    "daily cap of the step": daily(use_up_a_step, "step_daily_cap", "step_day 1 a day"),
}

ENDING = {name: block for name, block in BLOCKS.items() if block.lasts}
ENDLESS = {name: block for name, block in BLOCKS.items() if block.lift}
OVER = {name: block for name, block in BLOCKS.items() if block.action in ("skip", "fail")}
TIMELESS = {name: block for name, block in BLOCKS.items() if not block.lasts}
SIMULATED = {name: block for name, block in BLOCKS.items() if block.simulated}

each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


def join(w: Sender, block: Block) -> Any:
    """Enrol Sam, and let a tick find what is shut; return the message."""
    sam = w.engine.join()
    w.work()
    if block.begins:
        w.clock.advance(block.begins)
        w.work()
    return w.engine.executions(sam.id)[-1]


def closed(engine: Engine, enrollment_id: Any) -> list[tuple[Any, ...]]:
    """Return what explain says of the gates that are shut."""
    return [
        (g.gate, g.reason, g.detail)
        for g in engine.explain(TENANT, enrollment_id)
        if g.open is False
    ]


def named(w: Sender, block: Block) -> tuple[Any, ...]:
    """Return what explain is to say."""
    detail = block.detail and block.detail.format(adapter=w.id)
    return block.gate, block.reason, detail


def is_meant(block: Block, at: datetime, since: datetime) -> bool:
    """Whether a time is the one at which the block is over."""
    assert block.lasts is not None
    return NOTHING <= at - since - block.lasts <= block.spread


@pytest.mark.parametrize("block", ENDING.values(), ids=ENDING)
def test_explain_names_what_a_message_waits_for_and_it_leaves_when_explain_says(
    sender: Sender, block: Block
) -> None:
    block.set_up(sender)
    start = sender.clock.now
    message = join(sender, block)
    assert closed(sender.engine, message.enrollment_id) == [named(sender, block)]
    (until,) = {g.until for g in sender.engine.explain(TENANT, message.enrollment_id) if g.until}
    assert is_meant(block, until, start)
    sender.clock.set(until - timedelta(milliseconds=1))
    assert sender.work() == []
    sender.clock.set(until)
    sender.engine.reconcile()
    sender.work()
    assert sender.engine.last(message.enrollment_id).state == "sent"


@pytest.mark.parametrize("block", TIMELESS.values(), ids=TIMELESS)
def test_explain_names_no_time_where_there_is_none(sender: Sender, block: Block) -> None:
    block.set_up(sender)
    sam = sender.engine.join()
    if block.lift:
        join(sender, block)
    gates = sender.engine.explain(TENANT, sam.id)
    assert closed(sender.engine, sam.id) == [named(sender, block)]
    assert {g.until for g in gates} == {None}
    assert {g.next_action for g in gates} == {block.action}


@pytest.mark.parametrize("block", ENDLESS.values(), ids=ENDLESS)
def test_explain_names_what_has_no_end_and_a_message_leaves_once_that_is_lifted(
    sender: Sender, block: Block
) -> None:
    assert block.lift
    block.set_up(sender)
    message = join(sender, block)
    assert closed(sender.engine, message.enrollment_id) == [named(sender, block)]
    sender.clock.advance(minutes=20)
    assert sender.work() == []
    block.lift(sender)
    assert [claim.execution_id for claim in sender.work()] == [message.id]


@each_block
def test_a_message_says_what_it_waits_for(sender: Sender, block: Block) -> None:
    block.set_up(sender)
    assert join(sender, block).waits_for == block.waits_for


@pytest.mark.parametrize("block", (ENDING | ENDLESS).values(), ids=ENDING | ENDLESS)
def test_a_message_that_is_due_waits_for_nothing(sender: Sender, block: Block) -> None:
    block.set_up(sender)
    message = join(sender, block)
    if block.lift:
        block.lift(sender)
    else:
        assert block.lasts
        sender.clock.advance(block.lasts + block.spread)
        sender.engine.tick()
    (row,) = sender.engine.rows(
        "select waits_for from dripdrop.step_executions where id = %s", message.id
    )
    assert row.waits_for is None


@pytest.mark.parametrize("block", OVER.values(), ids=OVER)
def test_explain_still_names_what_a_message_met_when_it_is_past(
    sender: Sender, block: Block
) -> None:
    block.set_up(sender)
    message = join(sender, block)
    row, *_ = sender.engine.explain(TENANT, message.enrollment_id)
    assert (row.phase, row.next_action, row.reason, row.detail) == (
        "past",
        {"skip": "skipped", "fail": "failed"}[block.action],
        *named(sender, block)[1:],
    )


def recorded(engine: Engine, message: Any, reason: str) -> list[Any]:
    """Return the events of a message that give a reason: their kind, sender and data."""
    return [
        (event.event_type, event.adapter_id, event.event_data)
        for event in engine.rows(
            "select * from dripdrop.message_events"
            " where step_execution_id = %s and event_data ->> 'reason' = %s",
            message.id,
            reason,
        )
    ]


def data(said: tuple[Any, ...], until: datetime | None) -> dict[str, Any]:
    """Return what stands in the data of an event, where there is something to say."""
    at = until and until.isoformat()
    values = zip(("gate", "reason", "detail", "until"), (*said, at), strict=True)
    return {key: value for key, value in values if value is not None}


@each_block
def test_a_block_is_recorded_with_all_there_is_to_say(sender: Sender, block: Block) -> None:
    block.set_up(sender)
    message = join(sender, block)
    kinds = {"defer": "deferred", "fail": "failed", "skip": "skipped"}
    kind = "suppressed" if block.reason == "suppressed" else kinds.get(block.action)
    adapter = None if block.reason == "no_adapter" else sender.id
    assert recorded(sender.engine, message, block.reason) == (
        [(kind, adapter, data(named(sender, block), message.due_at))] if kind else []
    )


def test_what_is_put_off_at_the_fence_is_explained_and_recorded_as_well(sender: Sender) -> None:
    sender.crowd(2)
    sender.engine.tick()
    sender.engine.render()
    sender.limit(rate_limits={"adapter": "1/h"})
    assert len(sender.engine.claim_sends("email")) == 1
    (message,) = sender.waiting()
    assert message.due_at == sender.clock.now + HOUR
    said = ("capacity", "rate_limit", f"adapter {sender.id} 1 per 01:00:00")
    assert closed(sender.engine, message.enrollment_id) == [said]
    assert recorded(sender.engine, message, "rate_limit") == [
        ("deferred", sender.id, data(said, message.due_at))
    ]


def happened(engine: Engine, enrollment_id: Any) -> list[Any]:
    """Return what became of an enrolment's messages, as a simulation would tell it."""
    return engine.rows(
        """
        select
          m.occurred_at as at, s.position, s.key as step_key, d.action,
          case when m.event_type <> 'sent' then m.event_data ->> 'reason' end as reason
        from dripdrop.message_events as m
        join dripdrop.step_executions as x on x.id = m.step_execution_id
        join dripdrop.steps as s on s.id = x.step_id
        join (
          values ('deferred', 'defer'), ('skipped', 'skip'), ('suppressed', 'skip'),
            ('failed', 'fail'), ('sent', 'send')
        ) as d (event_type, action) using (event_type)
        where x.enrollment_id = %s
        union all
        select x.reason_at, s.position, s.key, 'hold', x.reason
        from dripdrop.step_executions as x
        join dripdrop.steps as s on s.id = x.step_id
        where x.enrollment_id = %s and x.state = 'scheduled' and x.due_at is null
        order by at, position
        """,
        enrollment_id,
        enrollment_id,
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", SIMULATED.values(), ids=SIMULATED)
def test_a_simulation_foretells_what_then_happens(sender: Sender, block: Block) -> None:
    block.set_up(sender)
    days = timedelta(days=8)
    rows = sender.engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"}, days)
    foretold = [r for r in rows if r.step_key]
    sam = sender.engine.join()
    sender.work()
    # Whoever was sending does so no longer.
    sender.clock.advance(seconds=30)
    sender.engine.reconcile()
    sender.run(days)
    real = happened(sender.engine, sam.id)
    assert [(r.step_key, r.action, r.reason) for r in foretold] == [
        (r.step_key, r.action, r.reason) for r in real
    ]
    assert all(abs(f.at - r.at) <= block.spread for f, r in zip(foretold, real, strict=True))


def test_a_simulation_takes_it_that_a_server_is_back_when_it_is_tried_again(
    sender: Sender,
) -> None:
    let_the_provider_refuse(sender)
    start = sender.clock.now
    rows = sender.engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    assert [(r.at - start, r.action, r.reason) for r in rows if r.step_key] == [
        (NOTHING, "hold", "circuit_open"),
        (timedelta(minutes=10), "send", None),
    ]


@pytest.mark.parametrize(
    ("limits", "pace", "spread"),
    [
        ({"rate_limits": {"adapter": "1/h"}}, HOUR, NOTHING),
        ({"min_gap_seconds": 90}, timedelta(seconds=90), NOTHING),
        ({"daily_cap": 1}, timedelta(days=1), timedelta(seconds=511)),
    ],
)
def test_a_simulation_stands_in_line_behind_those_who_wait(
    sender: Sender, limits: dict[str, Any], pace: timedelta, spread: timedelta
) -> None:
    sender.limit(**limits)
    sender.crowd(3)
    sender.work()
    rows = sender.engine.simulate(TENANT, "onboarding", {"email": "sam@example.com"})
    (foretold,) = [row.at for row in rows if row.action == "send"]
    sender.engine.join()
    *_, last = sender.run(4 * pace)
    assert abs(foretold - last) <= spread
