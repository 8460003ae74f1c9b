"""Whose fault a mail server's refusal is, from its words on the wire to the journey."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.conftest import Clock
from tests.daemon.conftest import OpenWorker
from tests.daemon.servers import MailServer
from tests.engine import TENANT, Engine

pytestmark = pytest.mark.anyio


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "state", "journey", "suppressed"),
    [
        ("550 5.4.1 Recipient address rejected: Access denied", "failed", None, True),
        ("550 5.0.0 no such user", "failed", None, True),
        ("451 4.7.1 greylisted, try again in 5 minutes", "scheduled", "active", False),
        ("553 5.7.1 <hello@acme.example>: not owned by user acme", "scheduled", "active", False),
        ("454 4.7.0 Maximum sending rate exceeded", "scheduled", "active", False),
        (
            "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname",
            "scheduled",
            "active",
            False,
        ),
        ("421 4.3.2 Service not available", "scheduled", "active", False),
    ],
)
async def test_a_refusal_ends_a_journey_only_for_the_recipients_own_good(
    mailing: Engine,
    senders: dict[str, UUID],
    mail: MailServer,
    open_worker: OpenWorker,
    said: str,
    state: str,
    journey: str | None,
    suppressed: bool,
) -> None:
    mail.refusals["sam@example.com"] = said
    sam = mailing.join("sam")
    async with open_worker() as worker:
        await worker.run_until_idle()
    message = mailing.last(sam.id)
    assert message.state == state
    if journey is not None:
        assert mailing.enrollment(sam.id).state == journey
    assert bool(mailing.is_suppressed(TENANT, "email", "sam@example.com")) == suppressed
    assert mail.mails == []


@pytest.mark.parametrize("sqlstate", ["P0001", "ZD401", "40001"])
async def test_a_refusal_that_the_database_does_not_take_is_recorded_later_and_nobody_is_presumed(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, clock: Clock, sqlstate: str
) -> None:
    mail.refusals["sam@example.com"] = "550 5.1.1 no such user"
    sam, robin = mailing.join("sam"), mailing.join("robin")
    (mended,) = mailing.rows(
        "select pg_get_functiondef('dripdrop._results_for_messages'::regproc) as definition"
    )
    mailing.connection.execute(f"""
        create or replace function dripdrop._results_for_messages(
          results dripdrop._send_result[]
        )
        returns dripdrop._send_result[] language plpgsql as $$
        begin
          if exists (select from unnest(results) as r where r.outcome <> 'sent') then
            raise exception 'not this one' using errcode = '{sqlstate}';
          end if;
          return results;
        end $$
    """)
    async with open_worker() as worker:
        await worker.run_until_idle()
        assert mailing.last(robin.id).state == "sent"
        assert mailing.last(sam.id).state == "sending"
        mailing.connection.execute(mended.definition.encode())
        clock.advance(minutes=20)
        await worker.run_until_idle()
    message = mailing.last(sam.id)
    assert (message.state, message.reason) == ("failed", "smtp_550")
