"""The stage that calls hooks, in a worker, against a real endpoint and real functions."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from dripdrop.channels import ChannelSettings
from dripdrop.daemon import Worker
from dripdrop.process.log import logging_to
from tests.conftest import Clock
from tests.engine import Engine, email
from tests.hooks.conftest import (
    GUARDED,
    SCORED,
    SECRET,
    Endpoint,
    OpenWorker,
    add_function,
    add_hook,
    sealed,
    waiting,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the worker logs."""
    stream = io.StringIO()
    with logging_to(stream):
        yield stream


@pytest.fixture
def step(open_worker: OpenWorker) -> Callable[..., Any]:
    """Run the stage until it has nothing more under way."""

    async def run(channels: ChannelSettings | None = None, **settings: Any) -> None:
        options = {"channels": channels} if channels else {}
        async with open_worker(**options, **settings) as worker:
            await settle(worker)

    return run


async def settle(worker: Worker) -> None:
    """Claim, call and hand in, until nothing is left."""
    while await worker.hooks.step() or worker.hooks.in_flight:
        await asyncio.sleep(0.01)


def hooks_of(engine: Engine, execution: Any) -> Any:
    """Return what the hooks of an execution answered."""
    return engine.last(execution.enrollment_id).hooks


@pytest.mark.slow
async def test_a_value_reaches_the_words(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker
) -> None:
    add_hook(hooked, url=endpoint.url + "/{{ subscriber_id }}")
    enrollment = hooked.join("sam")
    async with open_worker() as worker:
        await worker.run_until_idle()
    rendered = hooked.last(enrollment.id)
    assert rendered.hooks == {"score": {"value": 85}}
    assert rendered.payload["text"] == "Your score: 85"
    assert [request.target for request in endpoint.requests] == ["/sam"]


@pytest.mark.slow
async def test_a_value_is_fetched_once_per_execution(
    engine: Engine, endpoint: Endpoint, clock: Clock, open_worker: OpenWorker
) -> None:
    condition = {"hook": "score", "operator": ">", "expected_value": 70}
    hook = {"key": "score", "url": endpoint.url, "response_path": "score"}
    engine.author(SCORED | {"conditions": [condition]}, hooks=[hook])
    enrollment = engine.join("sam")
    async with open_worker() as worker:
        await worker.run_until_idle()
        clock.advance(hours=1)
        await worker.run_until_idle()
    assert engine.last(enrollment.id).claimed_at == clock.now, "it was sent only once"
    assert len(endpoint.requests) == 1


@pytest.mark.slow
async def test_each_execution_gets_its_own_value(
    hooked: Engine, endpoint: Endpoint, step: Any
) -> None:
    add_hook(hooked, url=endpoint.url + "/{{ subscriber_id }}")
    people = [f"user{number}" for number in range(25)]
    executions = [waiting(hooked, person) for person in people]
    await step(batch_size=7)
    assert all(hooks_of(hooked, execution) for execution in executions)
    assert sorted(request.target for request in endpoint.requests) == sorted(
        f"/{person}" for person in people
    )


@pytest.mark.slow
async def test_a_slow_endpoint_does_not_hold_up_another(
    engine: Engine, endpoint: Endpoint, open_worker: OpenWorker
) -> None:
    template = {"subject": "Hello", "text": "{{ score }}"}
    engine.author(email("welcome", template=template))
    add_function(engine)
    endpoint.silent = True
    slow = email("slow", template={"subject": "Hello", "text": "{{ slow }}"})
    version = engine.author(slow, key="other", name="Other")
    engine.create_http_hook("acme", version.sequence_id, "slow", endpoint.url)
    engine.enroll("acme", "other", "User", "sam", {"email": "sam@example.com"})
    fast = waiting(engine, "ada")
    async with open_worker() as worker:
        while hooks_of(engine, fast) is None:
            await worker.hooks.step()
            await asyncio.sleep(0.01)
        assert worker.hooks.in_flight == 1
    assert hooks_of(engine, fast) == {"score": {"value": 85}}


async def test_no_more_are_called_at_a_time_than_allowed(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker
) -> None:
    add_hook(hooked, url=endpoint.url)
    endpoint.silent = True
    for person in ("ada", "bob", "sam"):
        waiting(hooked, person)
    async with open_worker(hooks_in_flight=4) as worker:
        assert await worker.hooks.step()
        assert worker.hooks.in_flight == 2
        assert not await worker.hooks.step()
    assert len(hooked.claim_hooks()) == 1


async def test_a_function_answers(hooked: Engine, step: Any) -> None:
    add_function(hooked)
    execution = waiting(hooked)
    await step()
    assert hooks_of(hooked, execution) == {"score": {"value": 85}}


async def test_a_function_that_takes_too_long_is_stopped(hooked: Engine, step: Any) -> None:
    add_function(hooked, "select to_jsonb(1) from pg_sleep(60)", timeout_ms=50)
    execution = waiting(hooked)
    await step()
    assert hooks_of(hooked, execution) == {"score": {"error": "hook_timeout"}}


async def test_a_function_that_raises_is_an_error_whose_words_are_not_logged(
    hooked: Engine, step: Any, log: io.StringIO
) -> None:
    add_function(hooked, "select to_jsonb((context ->> 'secret')::int)")
    execution = waiting(hooked, data={"email": "sam@example.com", "secret": SECRET})
    await step()
    assert hooks_of(hooked, execution) == {"score": {"error": "hook_exception"}}
    assert '"code": "hook_exception"' in log.getvalue()
    assert '"sqlstate": "22P02"' in log.getvalue()
    assert SECRET not in log.getvalue()


@pytest.mark.parametrize("setting", ["", "set client_min_messages = warning"])
async def test_what_a_function_warns_of_is_not_logged(
    hooked: Engine, step: Any, log: io.StringIO, setting: str
) -> None:
    add_function(hooked)
    hooked.connection.execute(
        f"""
        create or replace function app.score(enrollment dripdrop.enrollments, context jsonb)
        returns jsonb language plpgsql security definer {setting} as $$
        begin
          raise warning 'about %', context ->> 'secret' using detail = context ->> 'secret';
          return to_jsonb(85);
        end $$
    """.encode()
    )
    execution = waiting(hooked, data={"email": "sam@example.com", "secret": SECRET})
    await step()
    assert hooks_of(hooked, execution) == {"score": {"value": 85}}
    assert SECRET not in log.getvalue()


@pytest.mark.slow
async def test_the_timeout_of_one_function_is_not_the_next_ones(hooked: Engine, step: Any) -> None:
    add_function(hooked, "select to_jsonb(current_setting('statement_timeout'))", timeout_ms=7000)
    first = waiting(hooked, "ada")
    await step()
    hooked.connection.execute("update dripdrop.hooks set timeout_ms = 9000")
    second = waiting(hooked, "sam")
    await step()
    assert [hooks_of(hooked, each)["score"]["value"] for each in (first, second)] == ["7s", "9s"]


async def test_what_a_blocked_url_gives_is_an_error(
    hooked: Engine, endpoint: Endpoint, step: Any
) -> None:
    add_hook(hooked, url=endpoint.url)
    execution = waiting(hooked)
    await step(GUARDED)
    assert hooks_of(hooked, execution) == {"score": {"error": "url_blocked"}}
    assert endpoint.requests == []


@pytest.mark.slow
async def test_secrets_and_values_are_in_no_log_and_no_answer(
    hooked: Engine, endpoint: Endpoint, step: Any, log: io.StringIO
) -> None:
    add_hook(
        hooked,
        url=endpoint.url + "/{{ card }}",
        auth_type="bearer",
        auth_config=sealed({"token": SECRET}),
    )
    endpoint.answer = (422, f"no such card, Bearer {SECRET}")
    execution = waiting(hooked, data={"email": "sam@example.com", "card": "4111-1111"})
    await step()
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert hooks_of(hooked, execution) == {"score": {"error": "http_422"}}
    contents = "".join(hooked.contents().values())
    for text in (log.getvalue(), contents):
        assert SECRET not in text
    assert "hook_failed" in log.getvalue()
    assert "4111" not in log.getvalue()


@pytest.mark.slow
async def test_a_crash_between_claim_and_answer_loses_nothing(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker, step: Any
) -> None:
    add_hook(hooked, url=endpoint.url)
    execution = waiting(hooked)
    (abandoned,) = hooked.claim_hooks(visibility=timedelta(0))
    await step()
    assert hooks_of(hooked, execution) == {"score": {"value": 85}}
    assert len(endpoint.requests) == 1
    assert abandoned.fence == execution.fence


@pytest.mark.slow
async def test_what_a_worker_that_stops_has_not_heard_comes_again(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker, clock: Clock
) -> None:
    add_hook(hooked, url=endpoint.url)
    endpoint.silent = True
    execution = waiting(hooked)
    async with open_worker(grace=0.0) as worker:
        run = asyncio.create_task(worker.run())
        await asyncio.to_thread(endpoint.wait_for, lambda: endpoint.requests)
        worker.stop()
        await run
    assert hooks_of(hooked, execution) is None
    assert hooked.claim_hooks() == [], "it is claimed"
    clock.advance(minutes=5)
    assert [claim.execution_id for claim in hooked.claim_hooks()] == [execution.id]


@pytest.mark.slow
async def test_a_call_under_way_is_handed_in_when_the_worker_stops(
    hooked: Engine, open_worker: OpenWorker, dsn: str
) -> None:
    add_function(hooked, "select to_jsonb(85) from pg_advisory_xact_lock_shared(7)")
    execution = waiting(hooked)
    async with open_worker() as worker:
        with psycopg.connect(dsn) as holder:
            holder.execute("select pg_advisory_xact_lock(7)")
            run = asyncio.create_task(worker.run())
            while not worker.hooks.in_flight:
                await asyncio.sleep(0.01)
            worker.stop()
            holder.rollback()
        await run
    assert hooks_of(hooked, execution) == {"score": {"value": 85}}


@pytest.mark.slow
async def test_a_hanging_endpoint_takes_no_places_of_others(
    engine: Engine, endpoint: Endpoint, open_worker: OpenWorker
) -> None:
    template = {"subject": "Hello", "text": "{{ slow }}"}
    version = engine.author(email("welcome", template=template))
    engine.create_http_hook("acme", version.sequence_id, "slow", endpoint.url, max_in_flight=5)
    endpoint.silent = True
    for number in range(30):
        waiting(engine, f"user{number}")
    engine.author(SCORED, key="other", name="Other")
    add_function(engine)
    fast = engine.enroll("acme", "other", "User", "sam", {"email": "sam@example.com"})
    engine.tick()
    async with open_worker(hooks_in_flight=16) as worker:
        while engine.last(fast.id).hooks is None:
            await worker.hooks.step()
            await asyncio.sleep(0.01)
        await asyncio.to_thread(endpoint.wait_for, lambda: len(endpoint.requests) == 5)
        assert worker.hooks.in_flight == 5
    assert len(endpoint.requests) == 5


@pytest.mark.slow
async def test_a_slow_function_leaves_places_to_the_others(
    engine: Engine, open_worker: OpenWorker, dsn: str
) -> None:
    engine.author(email("welcome", template={"subject": "Hello", "text": "{{ slow }}"}))
    slow = "select to_jsonb(1) from pg_advisory_xact_lock_shared(7)"
    add_function(engine, slow, key="slow", timeout_ms=30_000)
    for number in range(10):
        waiting(engine, f"user{number}")
    engine.author(SCORED, key="other", name="Other")
    add_function(engine)
    fast = engine.enroll("acme", "other", "User", "sam", {"email": "sam@example.com"})
    engine.tick()
    async with open_worker() as worker:
        with psycopg.connect(dsn) as holder:
            holder.execute("select pg_advisory_xact_lock(7)")
            while engine.last(fast.id).hooks is None:
                await worker.hooks.step()
                await asyncio.sleep(0.01)
            assert worker.hooks.in_flight == 2
            holder.rollback()
        await settle(worker)
    assert {execution.hooks["slow"]["value"] for execution in waiting_rows(engine)} == {1}


def waiting_rows(engine: Engine) -> list[Any]:
    """Return the executions that asked for the slow value."""
    return engine.rows("select hooks from dripdrop.step_executions where hooks ? 'slow'")


@pytest.mark.slow
async def test_a_function_that_catches_its_cancellation_is_ended(hooked: Engine, step: Any) -> None:
    add_function(hooked, timeout_ms=50)
    hooked.connection.execute(
        "create or replace function app.score(enrollment dripdrop.enrollments, context jsonb)"
        " returns jsonb language plpgsql security definer as $$ begin loop begin"
        " perform pg_sleep(60); exception when query_canceled then null; end; end loop; end $$"
    )
    execution = waiting(hooked)
    await step()
    assert hooks_of(hooked, execution) == {"score": {"error": "hook_timeout"}}


@pytest.mark.parametrize("returns", ["1e400", "repeat('[', 60) || repeat(']', 60)"])
async def test_what_a_function_returns_that_nobody_could_read_is_an_error(
    hooked: Engine, step: Any, returns: str
) -> None:
    returns = f"'{returns}'" if returns[0].isdigit() else f"({returns})"
    add_function(hooked, f"select {returns}::jsonb")
    execution = waiting(hooked)
    await step()
    assert hooks_of(hooked, execution) == {"score": {"error": "hook_unusable"}}


async def test_an_exit_rules_function_ends_the_enrolment_in_the_next_round(
    engine: Engine, open_worker: OpenWorker
) -> None:
    add_function(engine)
    engine.author(
        email("tip", timing={"type": "delay", "delay_amount": 3, "delay_unit": "days"}),
        exit_when=[{"hook": "score", "expected_value": 85}],
    )
    enrollment = engine.join()
    engine.track_event("acme", "visited", subscriber_id="sam")
    assert engine.enrollment(enrollment.id).state == "active"
    async with open_worker() as worker:
        await worker.run_until_idle()
    ended = engine.enrollment(enrollment.id)
    assert (ended.state, ended.exit_reason, ended.ask_at) == ("cancelled", "exit_rule", None)


async def test_what_a_setting_of_one_call_says_no_other_statement_of_the_worker_sees(
    hooked: Engine, open_worker: OpenWorker
) -> None:
    add_function(
        hooked,
        "select to_jsonb(set_config('dripdrop.tenant_key', enrollment.subscriber_id, false))",
    )
    waiting(hooked)
    async with open_worker() as worker:
        await settle(worker)
        async with worker.database() as database:
            cursor = await database.connection.execute(
                "select coalesce(current_setting('dripdrop.tenant_key', true), '')"
            )
            assert await cursor.fetchone() == ("",)


@pytest.mark.slow
async def test_answers_that_the_database_refuses_are_errors_and_the_others_are_kept(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker
) -> None:
    add_hook(hooked, url=endpoint.url + "/{{ subscriber_id }}")
    executions = [waiting(hooked, person) for person in ("ada", "bob", "sam")]
    hooked.connection.execute(
        "alter table dripdrop.step_executions add constraint odd_one check"
        f" (hooks #>> '{{score,value}}' is null or id <> '{executions[1].id}')".encode()
    )
    async with open_worker() as worker:
        await settle(worker)
    assert [hooks_of(hooked, each)["score"] for each in executions] == [
        {"value": 85},
        {"error": "hook_unusable"},
        {"value": 85},
    ]


@pytest.mark.parametrize("sqlstate", ["P0001", "57P01", "57014"])
async def test_answers_of_a_message_that_cannot_be_written_are_held_and_the_others_are_kept(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker, sqlstate: str
) -> None:
    add_hook(hooked, url=endpoint.url + "/{{ subscriber_id }}")
    executions = [waiting(hooked, person) for person in ("ada", "bob", "sam")]
    hooked.connection.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        f" $$ begin raise exception 'no' using errcode = '{sqlstate}'; end $$".encode()
    )
    hooked.connection.execute(
        "create trigger refuse before update on dripdrop.step_executions for each row"
        f" when (new.id = '{executions[1].id}') execute function public.refuse()".encode()
    )
    async with open_worker() as worker:
        await settle(worker)
    answered = {"score": {"value": 85}}
    assert [hooks_of(hooked, each) for each in executions] == [answered, None, answered]
    (fault,) = hooked.rows("select * from dripdrop.faults")
    assert (fault.execution_id, fault.stage) == (executions[1].id, "hooks")
    assert (fault.sqlstate, fault.message) == (sqlstate, "no")


ECHOES: dict[str, Callable[[str], str]] = {
    "as it was sent": lambda sent: sent,
    "as JSON escapes it": lambda sent: sent.replace("/", "\\/").replace('"', '\\"'),
    "with characters as numbers": lambda sent: "".join(f"\\u{ord(each):04x}" for each in sent),
    "as a URL has it": lambda sent: quote(sent, safe=""),
    "in base64": lambda sent: base64.b64encode(sent.encode()).decode(),
    "in hexadecimal": lambda sent: sent.encode().hex(),
}


@pytest.mark.parametrize("kind", ["bearer", "basic", "header"])
@pytest.mark.parametrize("echo", ECHOES)
async def test_what_an_endpoint_repeats_of_the_credentials_is_neither_kept_nor_logged(
    hooked: Engine, endpoint: Endpoint, step: Any, log: io.StringIO, kind: str, echo: str
) -> None:
    secret = 'ses/ame+7316"ö' if kind == "basic" else "ses/ame+7316=="
    fields = {
        "bearer": {"token": secret},
        "basic": {"username": "engine", "password": secret},
        "header": {"name": "x-api-key", "value": secret},
    }[kind]
    add_hook(
        hooked,
        url=endpoint.url,
        response_path="$",
        auth_type=kind,
        auth_config=sealed(fields),
    )
    sent = secret
    if kind == "basic" and echo == "as it was sent":
        sent = base64.b64encode(f"engine:{secret}".encode()).decode()
    endpoint.answer = (200, '{"score": 85, "heard": "Authorization: ' + ECHOES[echo](sent) + '"}')
    execution = waiting(hooked)
    await step()
    kept = hooks_of(hooked, execution)
    told = str(kept) + log.getvalue() + "".join(hooked.contents().values())
    assert "heard" in str(kept)
    assert "[redacted]" in str(kept)
    for form in (*(spell(sent) for spell in ECHOES.values()), sent):
        assert form not in told


@pytest.mark.slow
async def test_an_endpoint_that_is_away_for_a_while_ends_nobodys_journey(
    hooked: Engine, endpoint: Endpoint, open_worker: OpenWorker, clock: Clock
) -> None:
    add_hook(hooked, url=endpoint.url, retry_count=0)
    people = [hooked.join(f"user{number}") for number in range(12)]
    endpoint.answer = (503, "")
    async with open_worker(hooks_in_flight=2) as worker:
        for _ in range(10):
            await worker.run_until_idle()
            clock.advance(minutes=2)
        tried = len(endpoint.requests)
        assert tried < len(people), "it was left alone"
        assert {hooked.enrollment(each.id).state for each in people} == {"active"}
        endpoint.answer = (200, '{"score": 85}')
        for _ in range(20):
            await worker.run_until_idle()
            clock.advance(minutes=2)
    assert all(hooked.last(each.id).hooks == {"score": {"value": 85}} for each in people)
    assert hooked.ledger() == []
