"""Senders that rest because too much of what they send bounces or is complained of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from dripdrop.errors import InvalidArgument
from tests.conftest import Clock
from tests.engine import TENANT, Engine, email


@pytest.fixture
def sender(engine: Engine) -> Any:
    """The id of a tenant's sender."""
    return engine.create_channel_adapter(TENANT, "post", "email", "smtp", is_default=True).id


def happened(
    engine: Engine,
    sender: Any,
    *,
    sent: int = 0,
    hard: int = 0,
    soft: int = 0,
    complaints: int = 0,
    tenant: str | None = TENANT,
) -> None:
    """Let messages be sent now, and the first of them bounce and be complained of."""
    engine.connection.execute(
        """
        with message as (
          select n, gen_random_uuid() as id from generate_series(1, %(sent)s) as n
        ),
        event as (
          select id, 'sent' as event_type, '{}'::jsonb as event_data from message
          union all
          select id, 'bounced', '{"hard": true}' from message where n <= %(hard)s
          union all
          select id, 'bounced', '{"hard": false}' from message where n <= %(soft)s
          union all
          select id, 'complained', '{}' from message where n <= %(complaints)s
        )
        insert into dripdrop.message_reports (
          tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data
        )
        select %(tenant)s, id, %(sender)s, 'email', 'smtp', event_type, event_data
        from event
        """,
        {
            "sent": sent,
            "hard": hard,
            "soft": soft,
            "complaints": complaints,
            "tenant": tenant,
            "sender": sender,
        },
    )


def checked(engine: Engine) -> list[tuple[str, str, float]]:
    return [(row.name, row.reason, float(row.rate)) for row in engine.check_thresholds()]


def test_four_complaints_in_a_thousand_let_a_sender_rest(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    happened(engine, sender, sent=1000, complaints=4)
    assert checked(engine) == [("post", "complaint_threshold", 0.004)]
    (adapter,) = engine.list_channel_adapters(TENANT)
    assert adapter.resting_until == clock.now + timedelta(days=1)
    assert adapter.resting_reason == "complaint_threshold"


def test_one_complaint_in_a_thousand_does_not(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=1000, complaints=1)
    assert checked(engine) == []


def test_two_bounces_in_a_hundred_are_exactly_enough(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=100, hard=2)
    assert checked(engine) == [("post", "bounce_threshold", 0.02)]


def test_a_message_more_is_a_message_too_many(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=101, hard=2)
    assert checked(engine) == []


def test_a_small_sample_says_nothing(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=99, hard=50, complaints=50)
    assert checked(engine) == []
    happened(engine, sender, sent=1)
    assert len(checked(engine)) == 1


def test_one_bounce_in_fifty_counts_where_fifty_are_enough(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=50, hard=1)
    assert checked(engine) == []
    engine.update_tenant_settings(TENANT, thresholds={"min_sample": 50})
    assert checked(engine) == [("post", "bounce_threshold", 0.02)]


def test_complaints_come_before_bounces(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=100, hard=50, complaints=1)
    assert [reason for _, reason, _ in checked(engine)] == ["complaint_threshold"]


def test_soft_bounces_count_only_where_they_have_a_rate(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=100, soft=50)
    assert checked(engine) == []
    engine.update_tenant_settings(TENANT, thresholds={"soft_bounce_rate": 0.6})
    assert checked(engine) == []
    engine.update_tenant_settings(TENANT, thresholds={"soft_bounce_rate": 0.5})
    assert checked(engine) == [("post", "bounce_threshold", 0.5)]


def test_a_rate_can_be_left_out(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=100, hard=50)
    engine.update_tenant_settings(TENANT, thresholds={"bounce_rate": None})
    assert checked(engine) == []


def test_what_bounced_before_it_was_accepted_is_a_message_too(engine: Engine, sender: Any) -> None:
    engine.update_tenant_settings(TENANT, thresholds={"min_sample": 3, "bounce_rate": 0.5})
    engine.apply(TENANT, {"key": "onboarding", "name": "Onboarding", "steps": [email("welcome")]})
    for person, outcome in (("a", "sent"), ("b", "bounced"), ("c", "bounced")):
        engine.join(person)
        engine.deliver(outcome, hard=True)
    assert checked(engine) == [("post", "bounce_threshold", 0.666667)]
    (rest,) = engine.rows("select * from dripdrop.adapter_rests")
    assert (rest.detail["messages"], rest.detail["hard_bounces"]) == (3, 2)


def test_what_a_sender_reports_is_told_apart(engine: Engine, sender: Any, clock: Clock) -> None:
    engine.apply(TENANT, {"key": "onboarding", "name": "Onboarding", "steps": [email("welcome")]})
    for hard in (True, False, None):
        engine.join(str(hard))
        engine.deliver("bounced", hard=hard)
    events = engine.rows(
        "select event_data -> 'hard' as hard from dripdrop.message_events"
        " where event_type = 'bounced' order by id"
    )
    assert [event.hard for event in events] == [True, False, False]


def test_a_message_counts_once_however_often_it_is_reported(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=200, hard=3)
    engine.rows(
        "insert into dripdrop.message_reports"
        " (step_execution_id, adapter_id, channel, provider, event_type, event_data)"
        " select step_execution_id, adapter_id, channel, provider, event_type, event_data"
        " from dripdrop.message_events where event_type = 'bounced' returning 1"
    )
    assert checked(engine) == []


def test_a_sender_that_rests_is_not_rested_again(engine: Engine, sender: Any, clock: Clock) -> None:
    happened(engine, sender, sent=100, hard=50)
    assert len(checked(engine)) == 1
    for _ in range(5):
        clock.advance(hours=4)
        assert checked(engine) == []
    (adapter,) = engine.list_channel_adapters(TENANT)
    assert adapter.resting_until == clock.now + timedelta(hours=4)


def test_a_rest_ends_by_itself_and_the_old_bounces_do_not_count_again(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    happened(engine, sender, sent=100, hard=50)
    checked(engine)
    clock.advance(hours=23)
    happened(engine, sender, hard=10, sent=10)
    clock.advance(hours=1)
    engine.author(email("welcome"))
    engine.join()
    assert len(engine.deliver()) == 1
    happened(engine, sender, sent=200)
    assert checked(engine) == []


def test_what_happens_after_a_rest_counts_anew(engine: Engine, sender: Any, clock: Clock) -> None:
    happened(engine, sender, sent=100, hard=50)
    checked(engine)
    clock.advance(days=1)
    happened(engine, sender, sent=100, hard=1)
    assert checked(engine) == []
    happened(engine, sender, sent=100, hard=3)
    assert checked(engine) == [("post", "bounce_threshold", 0.02)]


def test_resuming_a_sender_forgives_what_led_to_its_rest(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    happened(engine, sender, sent=100, hard=50)
    checked(engine)
    clock.advance(hours=1)
    engine.resume_adapter(TENANT, sender)
    assert checked(engine) == []


@pytest.mark.parametrize("reason", ["manual", "bounce_threshold"])
def test_a_pause_forgives_nothing_whatever_its_reason(
    engine: Engine, sender: Any, clock: Clock, reason: str
) -> None:
    happened(engine, sender, sent=100, hard=50)
    engine.pause_adapter(TENANT, sender, reason=reason)
    clock.advance(hours=1)
    assert checked(engine) == []
    engine.resume_adapter(TENANT, sender)
    assert len(checked(engine)) == 1


def test_what_happened_before_the_window_does_not_count(
    engine: Engine, sender: Any, clock: Clock
) -> None:
    happened(engine, sender, sent=100, hard=50)
    clock.advance(days=30, seconds=1)
    assert checked(engine) == []


def test_a_window_and_a_pause_can_be_set(engine: Engine, sender: Any, clock: Clock) -> None:
    happened(engine, sender, sent=100, hard=50)
    clock.advance(days=31)
    engine.update_tenant_settings(TENANT, thresholds={"window": "40 days", "pause": "2 hours"})
    (rest,) = engine.check_thresholds()
    assert rest.until == clock.now + timedelta(hours=2)


def test_a_global_sender_is_counted_over_all_tenants(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "shared", "email", "smtp").id
    for tenant in (TENANT, "other", None):
        happened(engine, shared, sent=40, hard=1, tenant=tenant)
    ((row),) = engine.check_thresholds()
    assert (row.tenant_key, row.adapter_id, row.detail["messages"]) == (None, shared, 120)


def test_each_sender_is_counted_by_itself(engine: Engine, sender: Any) -> None:
    b = engine.create_channel_adapter(TENANT, "b", "email", "smtp").id
    happened(engine, sender, sent=100, hard=1)
    happened(engine, b, sent=100, hard=2)
    assert [name for name, *_ in checked(engine)] == ["b"]


def test_a_sender_that_cannot_be_written_keeps_no_other_from_its_rest(
    engine: Engine, sender: Any
) -> None:
    second = engine.create_channel_adapter(TENANT, "second", "email", "smtp").id
    for each in (sender, second):
        happened(engine, each, sent=1000, complaints=4)
    engine.connection.execute("""
        create function public.refuse() returns trigger language plpgsql as $$
        begin assert new.name <> 'post', 'not this one'; return new; end $$;
        create trigger refuse before update on dripdrop.channel_adapters
        for each row execute function public.refuse();
    """)
    assert [name for name, *_ in checked(engine)] == ["second"]
    engine.connection.execute("drop function public.refuse() cascade")
    assert [name for name, *_ in checked(engine)] == ["post"]


def test_malformed_events_harm_nothing(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=100, hard=2)
    for data in ("[]", '"x"', "null", '{"hard": "maybe"}', '{"hard": {}}', '{"adapter_id": "x"}'):
        for adapter in (sender, None, "00000000-0000-0000-0000-000000000000"):
            engine.rows(
                "insert into dripdrop.message_reports"
                " (adapter_id, channel, provider, event_type, event_data)"
                " values (%s, 'email', 'smtp', 'bounced', %s::jsonb) returning 1",
                adapter,
                data,
            )
    assert checked(engine) == [("post", "bounce_threshold", 0.02)]


def test_false_switches_them_off(engine: Engine, sender: Any) -> None:
    happened(engine, sender, sent=100, hard=50)
    engine.update_tenant_settings(TENANT, thresholds=False)
    assert checked(engine) == []


@pytest.mark.parametrize(
    ("general", "own", "of_sender", "rests"),
    [
        (None, None, None, True),
        (False, None, None, False),
        ({"bounce_rate": 0.9}, None, None, False),
        ({"bounce_rate": 0.9}, {"min_sample": 10}, None, False),
        ({"bounce_rate": 0.9}, {"bounce_rate": 0.1}, None, True),
        (False, {"bounce_rate": 0.1}, None, True),
        (False, False, {"bounce_rate": 0.1}, True),
        (None, None, {"bounce_rate": 0.9}, False),
        (None, None, False, False),
        ({"bounce_rate": 0.1}, {"bounce_rate": 0.1}, False, False),
    ],
)
def test_the_sender_has_the_last_word_then_the_tenant_then_all(
    engine: Engine, sender: Any, general: Any, own: Any, of_sender: Any, rests: bool
) -> None:
    happened(engine, sender, sent=100, hard=50)
    engine.update_tenant_settings(None, thresholds=general)
    engine.update_tenant_settings(TENANT, thresholds=own)
    if of_sender is not None:
        engine.update_channel_adapter(TENANT, sender, config={"thresholds": of_sender})
    assert bool(checked(engine)) == rests


def test_setting_something_else_leaves_the_thresholds(engine: Engine) -> None:
    engine.update_tenant_settings(TENANT, thresholds={"min_sample": 10})
    settings = engine.update_tenant_settings(TENANT, "Europe/Berlin")
    assert settings.thresholds == {"min_sample": 10}


FAULTS: list[tuple[Any, str]] = [
    (True, ""),
    ([], ""),
    ({"bounces": 0.1}, ".bounces"),
    ({"window": "soon"}, ".window"),
    ({"window": 30}, ".window"),
    ({"pause": "-1 day"}, ".pause"),
    ({"pause": None}, ".pause"),
    ({"min_sample": 0}, ".min_sample"),
    ({"min_sample": None}, ".min_sample"),
    ({"min_sample": 1.5}, ".min_sample"),
    ({"complaint_rate": 0}, ".complaint_rate"),
    ({"bounce_rate": 1.1}, ".bounce_rate"),
    ({"bounce_rate": "2 %"}, ".bounce_rate"),
    ({"soft_bounce_rate": -1}, ".soft_bounce_rate"),
]


@pytest.mark.parametrize(("thresholds", "path"), FAULTS)
def test_a_bad_threshold_is_refused_when_written(
    engine: Engine, sender: Any, thresholds: Any, path: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.update_tenant_settings(TENANT, thresholds=thresholds)
    assert refusal.value.diag.column_name == "thresholds" + path
    with engine.refused(InvalidArgument) as refusal:
        engine.update_channel_adapter(TENANT, sender, config={"thresholds": thresholds})
    assert refusal.value.diag.column_name == "config.thresholds" + path
    with engine.refused(InvalidArgument):
        engine.create_channel_adapter(
            TENANT, "b", "email", "smtp", config={"thresholds": thresholds}
        )


def test_two_checks_at_once_let_a_sender_rest_once(
    engine: Engine, other: Engine, sender: Any
) -> None:
    happened(engine, sender, sent=100, hard=50)
    with engine.connection.transaction():
        assert len(engine.check_thresholds()) == 1
        assert other.check_thresholds() == []
    assert other.check_thresholds() == []
    assert len(engine.rows("select from dripdrop.adapter_rests")) == 1


@pytest.mark.slow
def test_a_sender_that_is_made_to_rest_stops_what_has_not_left(
    engine: Engine, other: Engine, sender: Any
) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    engine.bring_to("rendered", sam.id)
    happened(engine, sender, sent=100, hard=50)
    with other.connection.transaction():
        assert len(other.check_thresholds()) == 1
        assert engine.claim_sends("email") == []
    assert engine.claim_sends("email") == []
    engine.tick()
    assert engine.last(sam.id).reason == "bounce_threshold"


@pytest.mark.slow
def test_no_more_is_read_than_can_matter(engine: Engine, sender: Any) -> None:
    """A few bounces among very many messages are settled by reading a few messages."""
    happened(engine, sender, sent=30_000, hard=10)
    engine.connection.execute("analyze dripdrop.message_reports")
    with engine.connection.transaction():
        engine.connection.execute("select pg_stat_force_next_flush()")
        before = fetched(engine)
        assert checked(engine) == []
        assert fetched(engine) - before < 2500


def fetched(engine: Engine) -> int:
    (row,) = engine.rows(
        "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) as rows"
        " from pg_stat_xact_user_tables where relname in ('message_reports', 'step_executions')"
    )
    return int(row.rows)


def test_the_settings_are_shown_as_they_were_written(engine: Engine) -> None:
    engine.rows("select dripdrop.update_tenant_settings('acme', thresholds => %s)", Jsonb(False))
    (row,) = engine.rows("select thresholds from dripdrop.tenant_settings")
    assert row.thresholds is False
