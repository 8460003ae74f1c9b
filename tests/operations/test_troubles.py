"""startup_check names what goes wrong while it runs, and `dripdrop check` says so by its status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import START, Clock
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine, after, email, onboarding

WEBHOOK = {"key": "ping", "channel": "webhook", "template": {"url": "https://{{ host }}/in"}}


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """The engine with a sequence of one message, and nothing wrong with it."""
    engine.author(email("welcome"))
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    assert engine.startup_check() == []
    return engine


def found(engine: Engine) -> list[Any]:
    """Return the problems, but for the trigger by which a test makes one."""
    return [row for row in engine.startup_check() if row.problem != "schema_differs"]


def only(engine: Engine) -> Any:
    """Return the one problem there is."""
    (problem,) = found(engine)
    assert problem.hint
    return problem


def crowd(engine: Engine, count: int) -> list[Any]:
    """Enrol so many people."""
    return [engine.join(f"user{number}") for number in range(count)]


@pytest.fixture
def broken(journey: Engine) -> Iterator[Engine]:
    """The engine with one person of whom nothing can be written."""
    sam = journey.join()
    journey.connection.execute(f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin raise exception 'no more room' using errcode = '53100'; end $$;
        create trigger refuse before update on dripdrop.step_executions
        for each row when (new.enrollment_id = '{sam.id}') execute function public.refuse();
    """)
    yield journey
    journey.connection.execute("drop function public.refuse cascade")


def test_a_sender_that_is_away_is_named_with_since_why_until_and_how_many_wait(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 4)
    journey.record(journey.claim(), "unreachable", code="connect_error", detail="no route")
    clock.advance(seconds=5)
    journey.tick()
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("circuit_open", True)
    assert problem.detail == (
        'sender "email" (tenant acme) is away since 2026-03-02 09:00:00Z: connect_error, no route;'
        " 4 messages waiting, it is tried again at 2026-03-02 09:00:30Z"
    )
    assert "resume_adapter" in problem.hint
    clock.advance(seconds=30)
    assert only(journey).detail.endswith("the next one tries it")
    (probe,) = journey.claim()
    assert only(journey).detail.endswith("one tries it")
    journey.record([probe])
    assert journey.startup_check() == []


def test_an_endpoint_that_is_away_is_named_as_the_hook_that_it_is(journey: Engine) -> None:
    sequence = journey.rows("select id from dripdrop.sequences")[0].id
    journey.create_http_hook(TENANT, sequence, "score", "https://score.acme.example/")
    journey.connection.execute("""
        insert into dripdrop.sender_states (tenant_key, http_hook_id, state, reason, until)
        select tenant_key, id, 'resting', 'http_503', dripdrop._now() + interval '30 seconds'
        from dripdrop.http_hooks
    """)
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("circuit_open", True)
    assert problem.detail.startswith('hook "score" (tenant acme) is away since')
    assert "resume_adapter" not in problem.hint


def test_receivers_hosts_that_are_away_are_one_row_and_block_nothing(journey: Engine) -> None:
    journey.connection.execute("""
        insert into dripdrop.sender_states (tenant_key, adapter_id, host, state, reason, until)
        select tenant_key, id, n || '.example', 'resting', 'connect_error', dripdrop._now()
        from dripdrop.channel_adapters, generate_series(1, 40) as n where channel = 'webhook'
    """)
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("hosts_away", False)
    assert "40 hosts" in problem.detail


@pytest.mark.parametrize("reason", ["no_adapter", "adapter_inactive"])
def test_what_waits_for_a_sender_is_counted_by_tenant_channel_and_reason(
    journey: Engine, reason: str
) -> None:
    mail = journey.get_default_adapter(TENANT, "email")
    if reason == "adapter_inactive":
        journey.author(email("welcome", adapter="email"))
    crowd(journey, 3)
    journey.update_channel_adapter(TENANT, mail.id, active=False)
    journey.tick()
    problems = {row.problem: row for row in journey.startup_check()}
    held = problems["held_without_sender"]
    assert held.detail == (
        f"3 messages over email (tenant acme) held since 2026-03-02 09:00:00Z: {reason}"
    )
    assert held.blocks
    journey.update_channel_adapter(TENANT, mail.id, active=True)
    assert journey.startup_check() == []


def test_what_is_held_as_stale_is_counted_until_somebody_decides(
    journey: Engine, clock: Clock
) -> None:
    journey.author(email("welcome", config={"stale_after": "1 hour", "on_stale": "hold"}))
    sam = journey.join()
    clock.advance(hours=2)
    assert only(journey).problem == "overdue"
    journey.tick()
    held = only(journey)
    assert (held.problem, held.blocks) == ("held_as_stale", True)
    assert "1 message over email (tenant acme)" in held.detail
    journey.release(TENANT, journey.last(sam.id).id)
    assert journey.startup_check() == []


def test_a_row_that_a_stage_cannot_deal_with_is_named_with_its_error(
    broken: Engine, clock: Clock
) -> None:
    crowd(broken, 2)
    assert broken.tick().queued == 2
    problem = only(broken)
    assert (problem.problem, problem.blocks) == ("row_fault", True)
    sam = broken.rows("select id from dripdrop.enrollments where subscriber_id = 'sam'")[0].id
    assert problem.detail == (
        "1 message since 2026-03-02 09:00:00Z, stage decide: 53100 no more room; for example"
        f" enrolment {sam} (tenant acme), failed attempts: 1, the next at 2026-03-02 09:01:00Z"
    )


def test_what_a_trigger_repeats_of_a_person_is_not_printed(journey: Engine) -> None:
    journey.connection.execute("""
        create function public.refuse() returns trigger language plpgsql as $$ begin
        raise exception 'customer "%" with token s3cr3t-77, phone +49 30 1234567, % is blocked',
          new.recipient, new.id; end $$;
        create trigger refuse before update on dripdrop.step_executions
        for each row when (new.state = 'queued') execute function public.refuse()
    """)
    sam = journey.join()
    journey.tick()
    (problem,) = (p for p in journey.startup_check() if p.problem == "row_fault")
    execution = journey.last(sam.id).id
    assert (
        f'P0001 customer "[redacted]" with token [redacted], phone [redacted], {execution} is'
        " blocked; for example enrolment"
    ) in problem.detail


def test_a_result_that_cannot_be_recorded_is_named_after_ten_seconds(
    journey: Engine, clock: Clock
) -> None:
    sam = journey.join()
    claims = journey.claim()
    journey.connection.execute("""
        create function public.refuse() returns trigger language plpgsql as $$
        begin raise exception 'no more room' using errcode = '53100'; end $$;
        create trigger refuse before update on dripdrop.step_executions
        for each row execute function public.refuse();
    """)
    journey.record(claims)
    assert found(journey) == []
    clock.advance(seconds=10)
    problem = only(journey)
    assert problem.problem == "result_not_recorded"
    assert "stage record: 53100 no more room" in problem.detail
    journey.connection.execute("drop function public.refuse cascade")
    clock.advance(minutes=1)
    journey.tick()
    assert journey.startup_check() == []
    assert journey.last(sam.id).state == "sent"


def test_what_waits_for_the_daemons_key_is_told_from_other_faults(journey: Engine) -> None:
    sam = journey.join()
    journey.tick()
    journey.note_fault(
        journey.last(sam.id).id, "render", "XX000", "vault_error: DRIPDROP_KEY is not set"
    )
    problem = only(journey)
    assert problem.problem == "held_for_key"
    assert "stage render: vault_error: DRIPDROP_KEY is not set;" in problem.detail
    assert "DRIPDROP_KEY" in problem.hint


@pytest.mark.slow
def test_recipients_that_fail_for_an_hour_are_named_and_block_nobody(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 3)
    journey.deliver("retry", code="smtp_452")
    for pause in (2, 8, 30, 40):
        assert journey.startup_check() == []
        clock.advance(minutes=pause)
        journey.deliver("retry", code="smtp_452")
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("retrying", False)
    assert problem.detail == (
        '3 messages over sender "email" (tenant acme) failing for the time being, the first since'
        " 2026-03-02 09:00:00Z, most with smtp_452; the last is given up at 2026-03-04 09:00:00Z"
    )


def test_what_nobody_takes_up_is_named_after_five_minutes(journey: Engine, clock: Clock) -> None:
    crowd(journey, 2)
    clock.advance(minutes=4)
    assert journey.startup_check() == []
    clock.advance(minutes=1)
    assert only(journey).detail == (
        "2 messages due since 2026-03-02 09:00:00Z, and not taken up; no worker was seen for a day"
    )
    journey.tick()
    assert journey.startup_check() == []


def test_what_cannot_be_found_out_is_a_problem_too(journey: Engine) -> None:
    journey.connection.execute("alter table dripdrop.faults rename to errors_of_rows")
    problems = [row.problem for row in journey.startup_check()]
    assert problems == ["schema_differs", "check_failed"]


@pytest.mark.slow
def test_troubles_are_found_without_reading_the_history(journey: Engine) -> None:
    """What is over is in none of the indexes that it reads."""
    journey.author(email("welcome"), email("tip", timing=after(3, "days")))
    with journey.unguarded():
        journey.connection.execute("""
            insert into dripdrop.step_executions (
              tenant_key, enrollment_id, step_id, channel, state, reason, scheduled_for, ended_at,
              failing_since
            )
            select 'acme', gen_random_uuid(), s.id, 'email', 'sent', 'sent', now(), now(), now()
            from dripdrop.steps as s, generate_series(1, 20000) where s.key = 'tip'
        """)
    journey.connection.execute("analyze dripdrop.step_executions")
    before = journey.rows(
        "select pg_stat_get_xact_tuples_returned('dripdrop.step_executions'::regclass) as read"
    )[0].read
    assert journey.startup_check() == []
    after_check = journey.rows(
        "select pg_stat_get_xact_tuples_returned('dripdrop.step_executions'::regclass) as read"
    )[0].read
    assert after_check - before < 100


def check(dsn: str) -> Any:
    """Run the command at the time at which tests begin."""
    return dripdrop("check", "--dsn", dsn, PGOPTIONS=f"-c dripdrop.now={START.isoformat()}")


@pytest.fixture
def mailing(engine: Engine) -> Engine:
    """The engine with a sequence of one message, and no sender that needs a key."""
    engine.create_channel_adapter(TENANT, "email", "email", "smtp", is_default=True)
    engine.apply(TENANT, onboarding(email("welcome")))
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    return engine


@pytest.mark.slow
def test_check_fails_while_something_keeps_messages_from_leaving(mailing: Engine, dsn: str) -> None:
    mailing.join()
    mailing.deliver("unreachable", code="connect_error", detail="cannot reach sam@example.com")
    result = check(dsn)
    assert result.returncode == 1
    header, row = result.stdout.splitlines()
    assert header.split() == ["problem", "detail", "hint", "blocks"]
    assert row.startswith('circuit_open  sender "email" (tenant acme) is away since')
    assert "sam@example.com" not in result.stdout


@pytest.mark.slow
def test_check_does_not_fail_for_what_only_recipients_can_mend(
    mailing: Engine, dsn: str, clock: Clock
) -> None:
    clock.set(START - timedelta(hours=2))
    mailing.join()
    mailing.deliver("retry", code="smtp_452")
    result = check(dsn)
    assert result.returncode == 1, "it is overdue by then"
    clock.set(START)
    mailing.deliver("retry", code="smtp_452")
    result = check(dsn)
    assert (result.returncode, result.stdout.splitlines()[1].split()[0]) == (0, "retrying")


def test_what_is_paused_is_named_with_who_did_it(journey: Engine) -> None:
    crowd(journey, 2)
    journey.pause_sending(TENANT, "channel", "email", "wrong prices")
    assert journey.tick().held == 2
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("sending_paused", True)
    assert problem.detail == (
        'channel "email" (tenant acme) is paused since 2026-03-02 09:00:00Z by postgres: '
        "wrong prices"
    )


def test_a_pause_of_everything_is_of_all_tenants(journey: Engine) -> None:
    journey.pause_sending(None, "everything")
    assert only(journey).detail.startswith("everything (tenant all) is paused since")


def test_a_sender_that_rests_is_named(journey: Engine) -> None:
    mail = journey.get_default_adapter(TENANT, "email")
    journey.pause_adapter(TENANT, mail.id, reason="too many bounces")
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("sender_rests", True)
    assert "too many bounces" in problem.detail
    journey.resume_adapter(TENANT, mail.id)
    assert found(journey) == []


def test_journeys_that_a_failure_has_ended_are_named_for_a_day(
    journey: Engine, clock: Clock
) -> None:
    for _ in crowd(journey, 31):
        pass
    while journey.deliver("failed", code="http_422"):
        pass
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("journeys_failed", True)
    assert problem.detail.startswith(
        '31 journeys of sequence "onboarding" (tenant acme) ended within a day because step '
        '"welcome" failed: http_422; for example enrolment '
    )
    clock.advance(days=1, seconds=1)
    assert found(journey) == []


def test_what_bounced_is_the_recipients_affair(journey: Engine) -> None:
    journey.join()
    journey.deliver("bounced", code="smtp_550", hard=True)
    problem = only(journey)
    assert (problem.problem, problem.blocks) == ("journeys_failed", False)


def test_what_is_overdue_says_when_a_worker_was_last_seen(journey: Engine, clock: Clock) -> None:
    journey.join()
    journey.rows("select dripdrop.note_worker(gen_random_uuid(), 'web-1', 1, '0.1.0'), 1")
    clock.advance(hours=3)
    assert only(journey).detail.endswith("a worker was last seen at 2026-03-02 09:00:00Z")


def test_what_is_overdue_says_that_no_worker_was_seen(journey: Engine, clock: Clock) -> None:
    journey.join()
    clock.advance(days=6)
    assert "no worker was seen for a day" in only(journey).detail
