"""What goes wrong is one line of the daemon's log for each change, and names nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from dripdrop.process.log import logging_to
from tests.conftest import Clock
from tests.daemon.conftest import OpenWorker, sealed, smtp
from tests.daemon.servers import MailServer
from tests.engine import TENANT, Engine

pytestmark = pytest.mark.anyio

NOBODY_LISTENS = 9  # the port of "discard"


class Log:
    """The lines of a daemon's log."""

    def __init__(self) -> None:
        self.stream = StringIO()

    def warnings(self) -> list[dict[str, Any]]:
        """Return the warnings since it was last asked; each line is one object of JSON."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        self.stream.seek(0)
        self.stream.truncate()
        assert "@" not in json.dumps(lines)
        return [line for line in lines if line["level"] == "warning"]

    def events(self) -> list[str]:
        """Return what the warnings since it was last asked say."""
        return [str(line["event"]) for line in self.warnings()]


@pytest.fixture
def log() -> Iterator[Log]:
    """What daemons log while the test runs."""
    lines = Log()
    with logging_to(lines.stream):
        yield lines


def crowd(engine: Engine, count: int) -> None:
    """Enrol so many people."""
    for number in range(count):
        engine.join(f"user{number}")


def without_times(event: str) -> str:
    """Return a line without when it is tried again."""
    return event.split(" until ")[0]


@pytest.mark.slow
async def test_a_circuit_is_one_line_when_it_opens_still_rests_and_closes(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, clock: Clock, log: Log
) -> None:
    sender = mailing.get_default_adapter(TENANT, "email")
    mailing.update_channel_adapter(
        TENANT, sender.id, credentials=sealed(smtp(NOBODY_LISTENS)), config={}
    )
    crowd(mailing, 20)
    async with open_worker() as worker:
        await worker.run_until_idle()
        (opened,) = log.warnings()
        assert opened["event"].startswith('sender "email" rests until 2026-03-02 09:00:30Z (')
        assert "list_circuits" in opened["hint"]
        for _ in range(3):
            clock.advance(seconds=5)
            await worker.run_until_idle()
        assert log.events() == []

        clock.advance(seconds=20)
        await worker.run_until_idle()
        assert [without_times(event) for event in log.events()] == ['sender "email" still rests']

        mailing.update_channel_adapter(TENANT, sender.id, credentials=sealed(smtp(mail.port)))
        clock.advance(minutes=2)
        await worker.run_until_idle()
        clock.advance(minutes=1)
        await worker.run_until_idle()
        assert log.events() == ['sender "email" answers again']
    assert len(mail.mails) == 20


@pytest.mark.slow
async def test_a_row_that_is_held_is_one_line_however_often_it_is_tried(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, clock: Clock, log: Log
) -> None:
    sam = mailing.join("sam")
    mailing.connection.execute(f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin raise exception 'no room for sam@example.com' using errcode = '53100'; end $$;
        create trigger refuse before update on dripdrop.step_executions
        for each row when (new.enrollment_id = '{sam.id}') execute function public.refuse();
    """)
    crowd(mailing, 3)
    async with open_worker() as worker:
        await worker.run_until_idle()
        execution = mailing.last(sam.id).id
        (held,) = log.warnings()
        assert held["event"] == f'message "{execution}" is held: no room for [redacted]'
        assert held["detail"] == "stage decide"
        for _ in range(3):
            clock.advance(minutes=5)
            await worker.run_until_idle()
        assert log.events() == []
    assert len(mail.mails) == 3


async def test_what_is_no_pointer_is_one_line_for_each_queue(
    mailing: Engine, open_worker: OpenWorker, log: Log
) -> None:
    queues = ["dripdrop_hooks", "dripdrop_render", "dripdrop_send_email"]
    for queue in queues:
        for _ in range(5):
            mailing.rows('select pgmq.send(%s, \'{"to": "sam@example.com"}\')', queue)
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert sorted(log.events()) == [
        f'threw away 5 messages of queue "{queue}": no pointers' for queue in queues
    ]
