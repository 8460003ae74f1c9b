"""Daily caps, ramps, shares, gaps and concurrency of a sender."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from dripdrop.errors import AdapterNotFound, InvalidArgument
from tests.capacity.conftest import Sender
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

RAMP = [5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 40, 40]
"""What a floor of 5, an increment of 3 and a cap of 40 allow on the first fourteen days."""


def test_a_ramp_grows_by_the_day_up_to_the_cap(sender: Sender) -> None:
    sender.limit(daily_cap=40, ramp_floor=5, ramp_increment=3)
    caps = sender.engine.rows(
        "select dripdrop._daily_cap(a, '2026-03-02'::date + n, 'UTC') as cap"
        " from dripdrop.channel_adapters as a, generate_series(0, 13) as n"
        " where a.channel = 'email' order by n"
    )
    assert [row.cap for row in caps] == RAMP


@pytest.mark.slow
def test_what_a_ramp_allows_is_what_leaves(sender: Sender) -> None:
    sender.limit(daily_cap=40, ramp_floor=5, ramp_increment=3)
    sender.crowd(30)
    left = sender.run(timedelta(days=4))
    days = [at.date() for at in left]
    assert [days.count(day) for day in sorted(set(days))] == [5, 8, 11, 6]


def test_a_ramp_without_a_cap_is_a_ramp(sender: Sender) -> None:
    sender.limit(ramp_floor=2, ramp_increment=1)
    sender.crowd(4)
    assert len(sender.work()) == 2


def test_a_ramp_that_began_earlier_is_further(sender: Sender) -> None:
    began = sender.clock.now - timedelta(days=2)
    sender.limit(ramp_floor=1, ramp_increment=2, ramp_started_at=began)
    sender.crowd(9)
    assert len(sender.work()) == 5


def test_a_ramp_of_a_hundred_years_stops_no_tick(sender: Sender) -> None:
    began = sender.clock.now - timedelta(days=36_000)
    sender.limit(ramp_floor=1, ramp_increment=1_000_000_000, ramp_started_at=began)
    sender.crowd(1)
    assert len(sender.work()) == 1


@pytest.mark.parametrize(("days", "cap"), [(10, 25), (30, 50)])
def test_a_ramp_is_as_far_as_its_days(sender: Sender, days: int, cap: int) -> None:
    began = sender.clock.now - timedelta(days=days)
    sender.limit(daily_cap=50, ramp_floor=5, ramp_increment=2, ramp_started_at=began)
    sender.crowd(60)
    assert len(sender.work()) == cap


def test_the_days_of_a_ramp_are_the_senders(sender: Sender) -> None:
    """It begins at one in the morning of Los Angeles, whose next day begins 23 hours later."""
    sender.limit(ramp_floor=1, ramp_increment=1, time_zone="America/Los_Angeles")
    sender.crowd(6)
    assert len(sender.work()) == 1
    for moment, left in [
        (datetime(2026, 3, 3, 7, 59, tzinfo=UTC), 0),
        (datetime(2026, 3, 3, 8, 10, tzinfo=UTC), 2),
        (datetime(2026, 3, 4, 7, 59, tzinfo=UTC), 0),
        (datetime(2026, 3, 4, 8, 10, tzinfo=UTC), 3),
    ]:
        sender.clock.set(moment)
        assert len(sender.work()) == left


def test_half_a_ramp_is_refused(sender: Sender) -> None:
    with sender.engine.refused(InvalidArgument):
        sender.limit(ramp_floor=5)


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", datetime(2026, 3, 3, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 3, 3, 5, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2026, 3, 2, 15, tzinfo=UTC)),
    ],
)
def test_a_day_is_the_senders(sender: Sender, zone: str, midnight: datetime) -> None:
    sender.limit(daily_cap=2, time_zone=zone)
    sender.crowd(3)
    assert len(sender.work()) == 2
    (waiting,) = sender.waiting()
    assert (waiting.reason, waiting.defer_count) == ("daily_cap", 1)
    assert midnight <= waiting.due_at < midnight + timedelta(minutes=10)


def test_a_cap_is_one_for_all_tenants_of_a_shared_sender(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.set_adapter_limits(None, shared.id, daily_cap=3)
    for tenant in ("one", "two"):
        engine.apply(tenant, {"key": "hi", "name": "Hi", "steps": [email("welcome")]})
        for number in range(3):
            data = {"email": f"user{number}@{tenant}.example"}
            engine.enroll(tenant, "hi", "User", str(number), data=data)
    assert len(engine.claim()) == 3


def test_what_is_promised_counts_before_it_has_left(engine: Engine, sender: Sender) -> None:
    sender.limit(daily_cap=2)
    sender.crowd(1)
    assert engine.tick().queued == 1
    sender.crowd(2, domain="example.org")
    assert (engine.tick().queued, len(sender.waiting())) == (1, 1)


def test_what_providers_report_is_not_counted_again(engine: Engine, sender: Sender) -> None:
    sender.limit(daily_cap=2, rate_limits={"adapter": "2/h"})
    sender.crowd(1)
    sender.work()
    engine.rows(
        "insert into dripdrop.message_reports"
        " (tenant_key, step_execution_id, adapter_id, channel, provider, event_type)"
        " select tenant_key, step_execution_id, adapter_id, channel, provider, 'sent'"
        " from dripdrop.message_events, generate_series(1, 5) returning 1"
    )
    sender.crowd(2, domain="example.org")
    assert len(sender.work()) == 1


def test_who_waits_for_tomorrow_does_not_wait_for_one_moment(sender: Sender) -> None:
    sender.limit(daily_cap=100)
    sender.crowd(200)
    sender.work()
    moments = {each.due_at for each in sender.waiting()}
    assert len(moments) > 50
    assert max(moments) - min(moments) < timedelta(minutes=9)


def test_only_what_may_leave_is_rendered(engine: Engine, sender: Sender) -> None:
    sender.limit(daily_cap=2)
    sender.crowd(5)
    engine.tick()
    assert len(engine.claim_renders()) == 2


def test_a_gap_is_one_for_all_tenants_of_a_shared_sender(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.set_adapter_limits(None, shared.id, min_gap_seconds=90)
    for tenant in ("one", "two"):
        engine.apply(tenant, {"key": "hi", "name": "Hi", "steps": [email("welcome")]})
        engine.enroll(tenant, "hi", "User", "sam", data={"email": "sam@example.com"})
    assert len(engine.deliver()) == 1


def test_a_gap_lies_between_any_two_messages(sender: Sender) -> None:
    sender.limit(min_gap_seconds=90)
    sender.crowd(5)
    left = sender.run(timedelta(hours=1))
    assert [later - earlier for earlier, later in pairwise(left)] == [timedelta(seconds=90)] * 4
    counts = sender.engine.rows("select max(defer_count) as n from dripdrop.step_executions")
    assert counts[0].n == 1


def test_a_version_has_no_more_than_its_share(engine: Engine, sender: Sender) -> None:
    version = engine.get_active_sequence_version(
        TENANT, engine.get_sequence(TENANT, "onboarding").id
    )
    engine.set_adapter_sequence_budget(TENANT, sender.id, version.id, max_share_pct=50)
    sender.limit(daily_cap=10)
    sender.crowd(8)
    assert len(sender.work()) == 5
    assert {each.reason for each in sender.waiting()} == {"share_cap"}
    sender.sequence("news")
    sender.crowd(8, sequence="news", domain="example.org")
    assert len(sender.work()) == 5


def test_a_budget_that_is_set_again_is_the_same_budget(engine: Engine, sender: Sender) -> None:
    version = engine.get_active_sequence_version(
        TENANT, engine.get_sequence(TENANT, "onboarding").id
    )
    first = engine.set_adapter_sequence_budget(
        TENANT, sender.id, version.id, max_share_pct=50, daily_volume_target=15
    )
    again = engine.set_adapter_sequence_budget(TENANT, sender.id, version.id, max_share_pct=40)
    assert (first.max_share_pct, first.daily_volume_target) == (50, 15)
    assert (again.id, again.max_share_pct, again.daily_volume_target) == (first.id, 40, None)
    sender.limit(daily_cap=10)
    sender.crowd(8)
    assert len(sender.work()) == 4


def test_weights_divide_what_is_scarce(engine: Engine, sender: Sender) -> None:
    news = sender.sequence("news")
    onboarding = engine.get_active_sequence_version(
        TENANT, engine.get_sequence(TENANT, "onboarding").id
    )
    engine.set_adapter_sequence_budget(TENANT, sender.id, onboarding.id, weight=3)
    engine.set_adapter_sequence_budget(TENANT, sender.id, news.id, weight=1)
    sender.limit(daily_cap=8)
    sender.crowd(10)
    sender.crowd(10, sequence="news", domain="example.org")
    gone = [claim.recipient.partition("@")[2] for claim in sender.work()]
    assert (gone.count("example.com"), gone.count("example.org")) == (6, 2)


def test_a_target_is_met_before_others_get_more(engine: Engine, sender: Sender) -> None:
    news = sender.sequence("news")
    engine.set_adapter_sequence_budget(TENANT, sender.id, news.id, daily_volume_target=6)
    sender.limit(daily_cap=8)
    sender.crowd(10)
    sender.crowd(10, sequence="news", domain="example.org")
    gone = [claim.recipient.partition("@")[2] for claim in sender.work()]
    assert gone.count("example.org") >= 6


def test_no_more_than_its_concurrency_is_under_way(engine: Engine, sender: Sender) -> None:
    sender.limit(concurrency=3)
    sender.crowd(5)
    first = engine.claim()
    assert len(first) == 3
    assert engine.claim() == []
    engine.record(first)
    assert len(engine.claim()) == 2


def test_what_is_answered_and_not_recorded_yet_takes_no_place(
    engine: Engine, sender: Sender
) -> None:
    sender.limit(concurrency=3)
    sender.crowd(5)
    first = engine.claim()
    answered = [claim.execution_id for claim in first[:2]]
    assert len(engine.claim_sends("email", answered=answered)) == 2


@pytest.mark.parametrize("limit", [{"daily_cap": 3}, {"concurrency": 3}])
def test_a_limit_that_is_set_after_messages_were_decided_holds_at_the_fence(
    engine: Engine, sender: Sender, limit: dict[str, int]
) -> None:
    sender.crowd(5)
    engine.tick()
    engine.render()
    sender.limit(**limit)
    assert len(engine.claim_sends("email", 2)) == 2
    assert len(engine.claim_sends("email")) == 1


def test_tenants_that_share_a_sender_take_turns(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.set_adapter_limits(None, shared.id, daily_cap=6)
    for tenant, sequences in (("one", 3), ("two", 1)):
        for key in map(str, range(sequences)):
            engine.apply(tenant, {"key": key, "name": key, "steps": [email("welcome")]})
            people = [
                {"subscriber_id": str(n), "data": {"email": f"user{n}@{tenant}.example"}}
                for n in range(6)
            ]
            engine.enroll_many(tenant, key, people)
    engine.tick()
    engine.render()
    claims = engine.claim_sends("email")
    assert Counter(claim.tenant_key for claim in claims) == {"one": 3, "two": 3}


def test_a_tenant_that_comes_late_takes_turns_with_one_that_fills_the_line(
    engine: Engine, clock: Clock
) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp", is_default=True)
    engine.set_adapter_limits(None, shared.id, rate_limits={"adapter": "1/m"})
    for tenant in ("early", "late"):
        engine.apply(tenant, {"key": "hi", "name": "Hi", "steps": [email("welcome")]})
        for number in range(4):
            data = {"email": f"user{number}@{tenant}.example"}
            engine.enroll(tenant, "hi", "User", str(number), data=data)
        engine.tick()
    left = []
    for _ in range(6):
        left += [claim.tenant_key for claim in engine.deliver()]
        clock.advance(minutes=1)
    assert left == ["early", "early", "late", "early", "late", "early"]


def test_a_step_has_a_daily_cap_of_its_own(engine: Engine, sender: Sender) -> None:
    sender.limit(daily_cap=100)
    engine.author(email("welcome", config={"daily_cap": 1}))
    sender.crowd(3)
    assert len(sender.work()) == 1
    assert {each.reason for each in sender.waiting()} == {"step_daily_cap"}


def test_without_limits_nothing_is_counted(sender: Sender) -> None:
    sender.crowd(5)
    assert len(sender.work()) == 5
    assert sender.engine.rows("select from dripdrop.counters") == []


def test_a_lower_limit_holds_at_once(sender: Sender) -> None:
    sender.limit(rate_limits={"adapter": "50/h"})
    sender.crowd(10)
    assert len(sender.work()) == 10
    sender.limit(rate_limits={"adapter": "10/h"})
    sender.crowd(5, domain="example.org")
    assert sender.work() == []


@pytest.mark.parametrize(
    "limits",
    [
        {"daily_cap": 0},
        {"concurrency": 0},
        {"min_gap_seconds": -1},
        {"ramp_increment": 0},
        {"ramp_floor": 5, "ramp_increment": 2_000_000_000},
        {"ramp_floor": 5, "ramp_increment": 3, "ramp_started_at": "-infinity"},
    ],
)
def test_a_limit_that_is_none_is_refused(sender: Sender, limits: dict[str, Any]) -> None:
    with sender.engine.refused(InvalidArgument):
        sender.limit(**limits)


def test_another_tenants_sender_is_not_found(sender: Sender) -> None:
    with sender.engine.refused(AdapterNotFound):
        sender.engine.set_adapter_limits("other", sender.id, daily_cap=1)
