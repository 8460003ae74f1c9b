"""Whatever the database says, a stage goes on, and the other stages meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from dripdrop.daemon import Worker
from dripdrop.daemon.health import StagesFailed
from tests.chaos.proxy import before_database
from tests.daemon.conftest import OpenWorker
from tests.daemon.servers import MailServer, wait_for
from tests.engine import Engine

pytestmark = pytest.mark.anyio

Lines = list[Any]


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    """What is logged."""
    with structlog.testing.capture_logs() as logs:
        yield logs


def break_hooks(engine: Engine, sqlstate: str) -> str:
    """Let the stage of the hooks fail; return what mends it."""
    (row,) = engine.rows(
        "select pg_get_functiondef('dripdrop.claim_hooks'::regproc) as mended,"
        " pg_get_function_arguments('dripdrop.claim_hooks'::regproc) as arguments,"
        " pg_get_function_result('dripdrop.claim_hooks'::regproc) as result"
    )
    broken = (
        f"create or replace function dripdrop.claim_hooks({row.arguments}) returns {row.result}"
        " language plpgsql as $$ begin raise exception 'no sam@example.com'"
        f" using errcode = '{sqlstate}'; end $$"
    )
    engine.connection.execute(broken.encode())
    return str(row.mended)


def events(lines: Lines, name: str) -> Lines:
    """Return the lines of one kind."""
    return [line for line in lines if line["event"] == name]


async def until(condition: Any) -> None:
    """Wait beside the loop."""
    await asyncio.to_thread(wait_for, condition)


async def stopped(worker: Worker, run: asyncio.Task[None]) -> None:
    """Let a worker come to its end."""
    worker.stop()
    await run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sqlstate", "event", "level"),
    [
        ("P0001", "stage_failed", "error"),
        ("22P02", "stage_failed", "error"),
        ("ZD201", "stage_failed", "error"),
        ("XX000", "stage_failed", "error"),
        ("40001", "database_busy", "warning"),
        ("57014", "database_busy", "warning"),
        ("53100", "database_refuses", "error"),
        ("58030", "database_refuses", "error"),
        ("25006", "stage_failed", "error"),
        ("57P03", "database_gone", "warning"),
    ],
)
async def test_a_stage_that_fails_says_so_and_goes_on_and_the_others_do_not_wait(
    mailing: Engine,
    mail: MailServer,
    open_worker: OpenWorker,
    lines: Lines,
    sqlstate: str,
    event: str,
    level: str,
) -> None:
    mended = break_hooks(mailing, sqlstate)
    async with open_worker(interval=0.05) as worker:
        run = asyncio.create_task(worker.run())
        await until(lambda: events(lines, event))
        line = events(lines, event)[0]
        assert (line["stage"], line["sqlstate"], line["log_level"]) == ("hooks", sqlstate, level)
        await asyncio.to_thread(mailing.join, "sam")
        await asyncio.to_thread(mail.wait_for, lambda: mail.mails)
        mailing.connection.execute(mended.encode())
        if event not in {"stage_failed", "database_busy"}:
            await until(lambda: events(lines, "database_back"))
            assert len(events(lines, event)) == 1
        await stopped(worker, run)
    assert "sam@example.com" not in str(lines)


@pytest.mark.slow
async def test_once_ends_when_a_stage_fails_and_says_which(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, lines: Lines
) -> None:
    break_hooks(mailing, "P0001")
    mailing.join("sam")
    async with open_worker() as worker:
        with pytest.raises(StagesFailed, match=r"^hooks$"):
            await worker.run_until_idle()
    assert len(mail.mails) == 1
    assert len(events(lines, "stage_failed")) == 1


async def test_once_waits_for_what_is_only_busy(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, lines: Lines
) -> None:
    mended = break_hooks(mailing, "40001")
    mailing.join("sam")
    async with open_worker() as worker:
        run = asyncio.create_task(worker.run_until_idle())
        await until(lambda: events(lines, "database_busy"))
        mailing.connection.execute(mended.encode())
        await run
    assert len(mail.mails) == 1


async def test_a_database_that_stays_away_ends_once_after_its_grace(
    mailing: Engine, dsn: str, open_worker: OpenWorker
) -> None:
    with before_database(dsn) as (proxy, through):
        proxy.refuse()
        async with open_worker(dsn=through, grace=0.3) as worker:
            with pytest.raises(StagesFailed) as failed:
                await worker.run_until_idle()
    assert set(failed.value.errors) >= {"tick", "reconcile"}


@pytest.mark.slow
async def test_a_database_that_becomes_read_only_is_waited_for(
    mailing: Engine, other: Engine, mail: MailServer, open_worker: OpenWorker, lines: Lines
) -> None:
    def read_only(word: str) -> None:
        database = mailing.connection.info.dbname
        mailing.connection.execute(
            f"alter database {database} set default_transaction_read_only = {word}".encode()
        )
        other.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'dripdrop' and datname = current_database()"
        )

    async with open_worker(interval=0.05) as worker:
        run = asyncio.create_task(worker.run())
        await asyncio.to_thread(mailing.join, "sam")
        await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 1)
        await asyncio.to_thread(read_only, "on")
        await until(lambda: events(lines, "database_read_only"))
        await asyncio.to_thread(other.join, "ada")
        mailing.connection.execute("set default_transaction_read_only = off")
        await asyncio.to_thread(read_only, "off")
        await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 2)
        await until(lambda: events(lines, "database_back"))
        await stopped(worker, run)
    assert not events(lines, "stage_failed")


@pytest.mark.slow
async def test_a_database_that_is_away_is_told_once_and_so_is_its_return(
    mailing: Engine, mail: MailServer, dsn: str, open_worker: OpenWorker, lines: Lines
) -> None:
    with before_database(dsn) as (proxy, through):
        async with open_worker(dsn=through, interval=0.05) as worker:
            run = asyncio.create_task(worker.run())
            await asyncio.to_thread(mailing.join, "sam")
            await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 1)
            proxy.refuse()
            await until(lambda: len(events(lines, "database_gone")) and proxy.connections > 12)
            proxy.resume()
            await asyncio.to_thread(mailing.join, "ada")
            await asyncio.to_thread(mail.wait_for, lambda: len(mail.mails) == 2)
            await until(lambda: events(lines, "database_back"))
            await stopped(worker, run)
    assert len(events(lines, "database_gone")) == len(events(lines, "database_back")) == 1


@pytest.mark.slow
async def test_outcomes_are_kept_until_the_database_is_back(
    mailing: Engine, mail: MailServer, dsn: str, open_worker: OpenWorker
) -> None:
    with before_database(dsn) as (proxy, through):
        async with open_worker(dsn=through) as worker:
            run = asyncio.create_task(worker.run())
            mail.hold()
            sam = await asyncio.to_thread(mailing.join, "sam")
            await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 1)
            proxy.refuse()
            mail.release()
            await asyncio.to_thread(mail.wait_for, lambda: mail.under_way == 0)
            proxy.resume()
            await until(lambda: mailing.last(sam.id).state == "sent")
            await stopped(worker, run)
    assert len(mail.mails) == 1
