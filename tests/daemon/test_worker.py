"""A worker in this process, under the test's clock, against real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
import structlog
from aiohttp import web
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from dripdrop import Vault
from dripdrop.channels import Adapter, ChannelSettings, Message, Outcome
from dripdrop.daemon import Worker
from dripdrop.vault import generate_key
from tests.conftest import Clock
from tests.daemon.conftest import KEY, NOTIFY, OpenWorker, sealed, smtp
from tests.daemon.servers import Endpoint, MailServer, serving, wait_for
from tests.engine import TENANT, Engine, after, email

pytestmark = pytest.mark.anyio


def crowd(engine: Engine, count: int) -> list[UUID]:
    """Enrol so many users; return their enrolments."""
    return [engine.join(f"user{number}").id for number in range(count)]


def states(engine: Engine) -> dict[str, int]:
    """Return how many executions are in which state."""
    rows = engine.rows("select state, count(*) as n from dripdrop.step_executions group by state")
    return {row.state: row.n for row in rows}


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    """Let a worker run beside the block; it has come to its end after it.

    What the block writes, it writes in another thread: a statement that waits for a lock of the
    worker's would keep the worker, whose loop this thread runs, from ever giving it back.
    """
    async with worker:
        run = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await run


async def test_a_journey_is_sent_over_smtp_and_http(
    engine: Engine,
    senders: dict[str, UUID],
    mail: MailServer,
    endpoint: Endpoint,
    open_worker: OpenWorker,
) -> None:
    engine.author(email("welcome"), NOTIFY)
    sam = engine.join("sam", data={"email": "sam@example.com", "name": "Sam"})
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert mail.subjects("sam@example.com") == ["Hello Sam"]
    assert [body["name"] for _, body in endpoint.requests] == ["Sam"]
    assert engine.enrollment(sam.id).state == "completed"
    assert engine.ledger() == []


@pytest.mark.slow
async def test_a_message_leaves_when_it_is_due(
    engine: Engine,
    senders: dict[str, UUID],
    mail: MailServer,
    clock: Clock,
    open_worker: OpenWorker,
) -> None:
    engine.author(email("welcome"), email("tip", timing=after(3, "days")))
    engine.join("sam")
    async with open_worker() as worker:
        await worker.run_until_idle()
        clock.advance(days=2, hours=23)
        await worker.run_until_idle()
        assert len(mail.mails) == 1
        clock.advance(hours=1)
        await worker.run_until_idle()
        assert len(mail.mails) == 2


@pytest.mark.slow
async def test_more_than_a_batch_is_sent_in_batches(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 25)
    async with open_worker(batch_size=7) as worker:
        await worker.run_until_idle()
    assert states(mailing) == {"sent": 25}
    assert len(mail.mails) == 25
    assert mail.repeated() == []


@pytest.mark.slow
async def test_an_address_that_bounces_stops_only_its_own_journey(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    mail.refusals["sam@example.com"] = "550 5.1.1 No such user"
    sam, ada = mailing.join("sam"), mailing.join("ada")
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert mailing.last(sam.id).state == "failed"
    assert mailing.last(ada.id).state == "sent"
    assert mailing.rows("select recipient from dripdrop.suppressions")[0].recipient == (
        "sam@example.com"
    )


@pytest.mark.slow
async def test_a_refusal_for_now_is_tried_again_later_with_the_same_bytes(
    mailing: Engine, mail: MailServer, clock: Clock, open_worker: OpenWorker
) -> None:
    mail.refusals["sam@example.com"] = "451 4.3.0 Try again"
    sam = mailing.join("sam", data={"email": "sam@example.com", "name": "Sam"})
    async with open_worker() as worker:
        await worker.run_until_idle()
        first = mailing.last(sam.id)
        assert (first.state, first.retry_count, first.reason) == ("scheduled", 1, "smtp_451")
        mail.refusals.clear()
        clock.set(first.due_at)
        await worker.run_until_idle()
    assert mailing.last(sam.id).state == "sent"
    assert mailing.last(sam.id).payload == first.payload


@pytest.mark.slow
async def test_a_reply_that_postgres_cannot_store_is_recorded_all_the_same(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    mail.refusals["sam@example.com"] = "554 5.7.1 Spam\0sorry"
    sam = mailing.join("sam")
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert mailing.last(sam.id).state == "failed"
    assert "Spam?sorry" in mailing.last(sam.id).error_message


@pytest.mark.slow
async def test_a_message_that_cannot_be_rendered_fails_alone(
    engine: Engine, senders: dict[str, UUID], mail: MailServer, open_worker: OpenWorker
) -> None:
    text = "{{ 1 | divided_by: n }}"
    engine.author(email("welcome", template={"subject": "Hello", "text": text}))
    sam = engine.join("sam", data={"email": "sam@example.com", "n": 0})
    ada = engine.join("ada", data={"email": "ada@example.com", "n": 1})
    async with open_worker() as worker:
        await worker.run_until_idle()
    failed = engine.last(sam.id)
    assert (failed.state, failed.reason) == ("failed", "liquid_error")
    assert engine.last(ada.id).state == "sent"


@pytest.mark.slow
async def test_no_more_than_its_window_is_at_an_adapter_at_once(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 10)
    mail.hold()
    async with running(open_worker(in_flight_per_adapter=3)):
        await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 3)
        assert states(mailing) == {"sending": 3, "rendered": 7}
        mail.release()
        await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 10)
    assert mail.most_under_way == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "limits", "most"),
    [({}, {}, range(40, 257)), ({"max_in_flight": 6}, {}, [6]), ({}, {"concurrency": 6}, [6])],
)
async def test_a_distant_endpoint_gets_as_many_at_once_as_it_takes(
    engine: Engine,
    senders: dict[str, UUID],
    endpoint: Endpoint,
    open_worker: OpenWorker,
    config: dict[str, Any],
    limits: dict[str, Any],
    most: Any,
) -> None:
    engine.author(NOTIFY)
    engine.update_channel_adapter(TENANT, senders["webhook"], config=config)
    engine.set_adapter_limits(TENANT, senders["webhook"], **limits)
    endpoint.away = 0.2
    count = 160 if 40 in most else 30
    crowd(engine, count)
    async with running(open_worker()):
        await asyncio.to_thread(endpoint.wait_for, lambda: len(endpoint.requests) == count)
    assert endpoint.most_under_way in most


@pytest.mark.slow
async def test_an_adapter_may_set_its_own_window(
    mailing: Engine, senders: dict[str, UUID], mail: MailServer, open_worker: OpenWorker
) -> None:
    mailing.update_channel_adapter(TENANT, senders["email"], config={"max_in_flight": 1})
    crowd(mailing, 5)
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert len(mail.mails) == 5
    assert mail.most_under_way == 1


@pytest.mark.slow
@pytest.mark.parametrize("window", [0, -1, "many"])
async def test_a_window_that_is_no_count_rests_the_adapter(
    mailing: Engine,
    senders: dict[str, UUID],
    mail: MailServer,
    open_worker: OpenWorker,
    window: Any,
) -> None:
    mailing.connection.execute(
        "update dripdrop.channel_adapters set config = config || %s",
        [Jsonb({"max_in_flight": window})],
    )
    sam = mailing.join("sam")
    async with open_worker() as worker:
        await worker.run_until_idle()
    waiting = mailing.last(sam.id)
    assert (waiting.state, waiting.reason, waiting.retry_count) == (
        "scheduled",
        "invalid_adapter",
        0,
    )
    assert mail.mails == []


@pytest.mark.slow
async def test_no_more_than_the_channels_window_is_claimed_at_once(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 10)
    mail.hold()
    async with running(open_worker(in_flight=4)):
        await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 4)
        await asyncio.to_thread(wait_for, lambda: states(mailing).get("rendered") == 6)
        assert states(mailing) == {"sending": 4, "rendered": 6}
        mail.release()
        await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 10)
    assert mail.most_under_way == 4


@pytest.mark.slow
async def test_a_slow_channel_does_not_hold_up_another(
    engine: Engine,
    senders: dict[str, UUID],
    mail: MailServer,
    endpoint: Endpoint,
    open_worker: OpenWorker,
) -> None:
    engine.author(email("welcome"), NOTIFY)
    engine.join("ada")
    async with open_worker() as worker:
        await worker.run_until_idle()
    mail.hold()
    engine.author(email("welcome"))
    engine.apply(TENANT, {"key": "alerts", "name": "Alerts", "steps": [NOTIFY]})
    crowd(engine, 5)
    async with running(open_worker(in_flight=2)):
        await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 2)
        await asyncio.to_thread(
            engine.enroll, TENANT, "alerts", "User", "eve", data={"name": "Eve"}
        )
        await asyncio.to_thread(endpoint.wait_for, lambda: len(endpoint.requests) == 2)
        mail.release()


@pytest.mark.slow
async def test_retry_after_rests_the_whole_adapter(
    engine: Engine,
    senders: dict[str, UUID],
    endpoint: Endpoint,
    clock: Clock,
    open_worker: OpenWorker,
) -> None:
    engine.author(NOTIFY)
    crowd(engine, 5)
    endpoint.answers = [web.Response(status=429, headers={"Retry-After": "120"})]
    async with open_worker(in_flight_per_adapter=1) as worker:
        await worker.run_until_idle()
        assert len(endpoint.requests) == 1
        assert states(engine) == {"scheduled": 5}
        clock.advance(seconds=119)
        await worker.run_until_idle()
        assert len(endpoint.requests) == 1
        clock.advance(seconds=1)
        await worker.run_until_idle()
    assert states(engine) == {"sent": 5}
    assert len(endpoint.requests) == 6


@pytest.mark.slow
async def test_a_rest_costs_no_message_a_retry(
    engine: Engine, senders: dict[str, UUID], endpoint: Endpoint, open_worker: OpenWorker
) -> None:
    engine.author(NOTIFY)
    crowd(engine, 3)
    endpoint.answers = [web.Response(status=429, headers={"Retry-After": "120"})]
    async with open_worker(in_flight_per_adapter=1) as worker:
        await worker.run_until_idle()
    assert engine.rows("select sum(retry_count) as n from dripdrop.step_executions")[0].n == 0


@pytest.mark.slow
async def test_credentials_that_do_not_open_rest_the_adapter_and_cost_no_retry(
    mailing: Engine, mail: MailServer, clock: Clock, open_worker: OpenWorker
) -> None:
    sam = mailing.join("sam")
    async with open_worker(vault=lambda: Vault(generate_key())) as worker:
        await worker.run_until_idle()
    waiting = mailing.last(sam.id)
    assert (waiting.state, waiting.reason, waiting.retry_count) == ("scheduled", "vault_error", 0)
    assert waiting.due_at > clock.now
    assert mail.mails == []
    clock.advance(seconds=30)
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert mailing.last(sam.id).state == "sent"


@pytest.mark.slow
async def test_credentials_that_change_are_used_from_then_on(
    mailing: Engine, senders: dict[str, UUID], mail: MailServer, open_worker: OpenWorker
) -> None:
    with serving() as (other, _):
        async with open_worker() as worker:
            mailing.join("sam")
            await worker.run_until_idle()
            mailing.update_channel_adapter(TENANT, senders["email"], sealed(smtp(other.port)))
            mailing.join("ada")
            await worker.run_until_idle()
        assert [each.recipient for each in mail.mails] == ["sam@example.com"]
        assert [each.recipient for each in other.mails] == ["ada@example.com"]


@pytest.mark.slow
async def test_what_is_being_sent_while_credentials_change_is_finished(
    mailing: Engine, senders: dict[str, UUID], mail: MailServer, open_worker: OpenWorker
) -> None:
    with serving() as (other, _):
        mail.hold()
        async with running(open_worker()):
            sam = await asyncio.to_thread(mailing.join, "sam")
            await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 1)
            changed = sealed(smtp(other.port))
            await asyncio.to_thread(
                mailing.update_channel_adapter, TENANT, senders["email"], changed
            )
            await asyncio.to_thread(mailing.join, "ada")
            await asyncio.to_thread(other.wait_for, lambda: other.mails)
            mail.release()
            await asyncio.to_thread(wait_for, lambda: mailing.last(sam.id).state == "sent")
        assert states(mailing) == {"sent": 2}


@pytest.mark.slow
async def test_a_worker_that_stops_finishes_what_is_being_sent_and_leaves_the_rest(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 5)
    mail.hold()
    async with running(open_worker(in_flight_per_adapter=2)) as worker:
        await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 2)
        await asyncio.to_thread(wait_for, lambda: states(mailing) == {"sending": 2, "rendered": 3})
        worker.stop()
        mail.release()
    assert states(mailing) == {"sent": 2, "rendered": 3}
    assert len(mail.mails) == 2
    assert mailing.ledger() == []


@pytest.mark.slow
async def test_what_is_still_being_sent_after_the_grace_is_unknown(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 3)
    mail.hold()
    async with running(open_worker(in_flight_per_adapter=2, grace=0.1)):
        await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 2)
        await asyncio.to_thread(wait_for, lambda: states(mailing) == {"sending": 2, "rendered": 1})
    assert states(mailing) == {"unknown": 2, "rendered": 1}
    assert {x.reason for x in mailing.rows("select reason from dripdrop.step_executions")} == {
        "maybe_sent",
        None,
    }


@pytest.mark.slow
async def test_what_is_claimed_while_the_worker_stops_is_released(
    mailing: Engine, other: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 3)
    mailing.tick()
    mailing.render()
    async with open_worker() as worker:
        with other.connection.transaction():
            other.connection.execute("lock table pgmq.q_dripdrop_send_email")
            run = asyncio.create_task(worker.run())
            await asyncio.to_thread(wait_for, lambda: claim_waits(mailing))
            worker.stop()
        await run
    assert states(mailing) == {"scheduled": 1, "rendered": 2}
    assert mail.mails == []


def claim_waits(engine: Engine) -> bool:
    """Whether a claim of messages to send waits for a lock."""
    return bool(
        engine.rows(
            "select from pg_stat_activity where query like '%%claim_sends%%'"
            " and wait_event_type = 'Lock' and datname = current_database()"
        )
    )


@pytest.mark.slow
async def test_a_worker_that_is_stopped_before_it_is_idle_stops(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    crowd(mailing, 3)
    mail.hold()
    async with open_worker(in_flight_per_adapter=1) as worker:
        run = asyncio.create_task(worker.run_until_idle())
        await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 1)
        worker.stop()
        mail.release()
        await run
    assert states(mailing) == {"sent": 1, "rendered": 2}


async def test_a_lost_lease_is_unknown_and_then_presumed_sent(
    mailing: Engine, mail: MailServer, clock: Clock, open_worker: OpenWorker
) -> None:
    sam = mailing.join("sam")
    mailing.bring_to("sending", sam.id)
    clock.advance(minutes=2)
    async with open_worker() as worker:
        await worker.run_until_idle()
        assert mailing.last(sam.id).state == "unknown"
        clock.advance(timedelta(minutes=15))
        await worker.run_until_idle()
    assert (mailing.last(sam.id).state, mailing.last(sam.id).reason) == ("sent", "presumed_sent")
    assert mail.mails == []


async def test_a_worker_lets_a_sender_rest_that_bounces_too_much(
    mailing: Engine, senders: dict[str, UUID], open_worker: OpenWorker
) -> None:
    mailing.update_tenant_settings(TENANT, thresholds={"min_sample": 1})
    mailing.join()
    mailing.deliver("bounced", hard=True)
    async with open_worker() as worker:
        with structlog.testing.capture_logs() as logs:
            await worker.run_until_idle()
    (line,) = [each for each in logs if each["event"] == "sender_rests"]
    assert (line["adapter"], line["reason"], line["rate"]) == ("email", "bounce_threshold", 1.0)
    sender = mailing.get_default_adapter(TENANT, "email")
    assert sender.resting_reason == "bounce_threshold"


class OneByOne:
    """A channel that takes one message at a time, and its time for it."""

    required_credentials: ClassVar[tuple[str, ...]] = ()
    places = 1

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Take what every channel takes."""

    async def send(self, message: Message) -> Outcome:
        """Take the message."""
        await asyncio.sleep(0.01)
        return Outcome("sent", "accepted")

    async def aclose(self) -> None:
        """Close nothing."""


@pytest.mark.slow
async def test_messages_are_not_asked_for_while_every_place_is_taken(
    mailing: Engine, dsn: str, clock: Clock
) -> None:
    crowd(mailing, 40)
    counted = make_conninfo(dsn, options="-c track_functions=all")
    worker = Worker(
        counted, vault=lambda: Vault(KEY), clock=lambda: clock.now, open_channel=OneByOne
    )
    began = time.monotonic()
    async with running(worker):
        await asyncio.to_thread(wait_for, lambda: states(mailing) == {"sent": 40})
    looks = 2 * (time.monotonic() - began) / 0.1  # at the queue of each channel, now and then
    (row,) = mailing.rows("select calls from pg_stat_user_functions where funcname = 'claim_sends'")
    assert row.calls <= 40 + looks + 10


@pytest.mark.parametrize("credentials", [None, {"token": "x"}], ids=["open", "sealed"])
async def test_what_another_program_sends_is_left_to_it(
    engine: Engine,
    mailing: Engine,
    mail: MailServer,
    clock: Clock,
    open_worker: OpenWorker,
    credentials: dict[str, Any] | None,
) -> None:
    engine.register_provider(
        "email", "acme", [{"field": "token", "description": "A token.", "secret": True}]
    )
    envelope = sealed(credentials, "theirs", generate_key()) if credentials else None
    adapter = engine.create_channel_adapter(TENANT, "theirs", "email", "acme", envelope)
    engine.author(email("welcome", adapter="theirs"), key="theirs")
    mailing.join("sam")
    engine.enroll(TENANT, "theirs", "User", "eve", data={"email": "eve@example.com"})
    with structlog.testing.capture_logs() as logs:
        async with open_worker() as worker:
            await worker.run_until_idle()
            await worker.run_until_idle()
    assert [log["adapter"] for log in logs if log["event"] == "not_served"] == ["theirs"]
    assert len(mail.mails) == len(mail.subjects("sam@example.com")) == 1
    assert engine.list_circuits(TENANT) == []
    assert not_served(engine) == []
    clock.advance(minutes=5)
    (problem,) = not_served(engine)
    assert problem.blocks
    assert '"acme"' in problem.hint
    (claim,) = engine.claim_sends("email")
    assert claim.adapter_id == adapter.id
    assert not_served(engine) == []


def not_served(engine: Engine) -> list[Any]:
    """Return what startup_check() says of messages that nothing takes."""
    return [row for row in engine.startup_check() if row.problem == "not_served"]
