"""Rows that the database refuses to write, one or all: at each stage, and for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.chaos.conftest import Senders, Serve
from tests.chaos.relay import Relay
from tests.conftest import START
from tests.crash.journeys import let_claims_pass
from tests.daemon.conftest import KEY
from tests.daemon.process import ENVIRONMENT, at, daemon
from tests.daemon.servers import wait_for
from tests.driver.command import dripdrop

pytestmark = pytest.mark.slow

PEOPLE = 60
STAGES = {
    "decide": "new.state = 'queued' and old.state = 'scheduled'",
    "render": "new.payload is not null and old.payload is null",
    "send": "new.state = 'sending' and old.state <> 'sending'",
    "record": "new.state = 'sent' and old.state = 'sending'",
}
"""By stage, what it writes."""


def refuse(senders: Senders, stage: str, sqlstate: str, recipient: str | None = None) -> None:
    """Let everything that a stage writes raise, or take a minute, or one recipient's message."""
    refusal = f"raise exception 'no' using errcode = '{sqlstate}'"
    if sqlstate == "57014":
        refusal = "perform pg_sleep(60); return new"
    senders.engine.connection.execute(
        f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin
          {refusal};
        end
        $$
        """.encode()
    )
    only = f" and new.recipient = '{recipient}'" if recipient else ""
    senders.engine.connection.execute(
        "create trigger refuse before update on dripdrop.step_executions for each row"
        f" when ({STAGES[stage]}{only})"
        " execute function public.refuse()".encode()
    )
    if recipient is None:  # nor is there room for a note
        senders.engine.connection.execute(
            "create trigger refuse before insert on dripdrop.faults for each row"
            " execute function public.refuse()"
        )


def mend(senders: Senders) -> None:
    """Let updates pass again."""
    senders.engine.connection.execute("drop function public.refuse() cascade")


def do_what_is_due(senders: Senders, dsn: str, now: datetime) -> None:
    """Let a daemon do what is due at a time, and end by itself."""
    let_claims_pass(senders.engine)
    environment: dict[str, Any] = ENVIRONMENT | {"DRIPDROP_ENCRYPTION_KEY": KEY}
    result = dripdrop("run", "--once", "--dsn", at(dsn, now), **environment)
    assert result.returncode == 0, result.stderr


def all_are_sent(senders: Senders) -> bool:
    """Whether nobody waits any more."""
    let_claims_pass(senders.engine)
    return senders.states() == {"sent": PEOPLE}


@pytest.mark.parametrize(
    ("stage", "sqlstate"),
    [
        *((stage, "P0001") for stage in STAGES),
        *((stage, "57014") for stage in STAGES),
        ("render", "40001"),
        ("record", "53100"),
        ("record", "ZD401"),
    ],
)
def test_a_row_that_a_stage_cannot_write_holds_up_nobody_and_is_sent_once(
    dsn: str, senders: Senders, serve: Serve[Relay], stage: str, sqlstate: str
) -> None:
    relay = serve(Relay())
    senders.add(relay)
    senders.crowd(PEOPLE)
    poison = "onboarding7@example.com"
    refuse(senders, stage, sqlstate, poison)

    do_what_is_due(senders, dsn, START)
    arrived = {receipt.recipient for receipt in relay.receipts}
    assert len(arrived | {poison}) == PEOPLE
    assert (poison in arrived) == (stage == "record")
    assert senders.states()["sent"] == PEOPLE - 1
    (row,) = senders.engine.rows("select * from dripdrop.faults")
    assert (row.stage, row.sqlstate) == (stage, sqlstate)

    mend(senders)
    for minutes in (2, 5, 70):
        do_what_is_due(senders, dsn, START + timedelta(minutes=minutes))
    assert senders.states() == {"sent": PEOPLE}
    assert len(relay.receipts) == PEOPLE
    assert relay.repeated() == []
    assert not senders.engine.rows(
        "select from dripdrop.step_executions where reason = 'presumed_sent'"
    )
    assert senders.engine.ledger() == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_for_a_while_loses_and_repeats_nothing(
    dsn: str, senders: Senders, serve: Serve[Relay], stage: str
) -> None:
    relay = serve(Relay())
    senders.engine.connection.execute("reset dripdrop.now")
    senders.add(relay)
    refuse(senders, stage, "53100")
    senders.crowd(PEOPLE)
    with daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY) as sending:
        # It says so once, when it begins to be so.
        sending.wait_for_log("database_refuses")
        mend(senders)
        wait_for(lambda: all_are_sent(senders))
        sending.signal()
        assert sending.wait() == 0
    assert len(relay.receipts) == PEOPLE
    assert relay.repeated() == []
    assert senders.engine.ledger() == []


def test_a_row_that_a_trigger_keeps_from_being_fenced_does_not_leave(
    dsn: str, senders: Senders, serve: Serve[Relay]
) -> None:
    relay = serve(Relay())
    senders.add(relay)
    senders.crowd(PEOPLE)
    kept = "onboarding7@example.com"
    senders.engine.connection.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$ begin return null; end $$"
    )
    senders.engine.connection.execute(
        "create trigger refuse before update on dripdrop.step_executions for each row"
        f" when (new.state = 'sending' and new.recipient = '{kept}')"
        " execute function public.refuse()".encode()
    )
    for minutes in (0, 2, 5):
        do_what_is_due(senders, dsn, START + timedelta(minutes=minutes))
    assert len(relay.receipts) == PEOPLE - 1
    assert kept not in {receipt.recipient for receipt in relay.receipts}
    (row,) = senders.engine.rows("select * from dripdrop.faults")
    assert (row.stage, row.sqlstate) == ("send", "09000")

    mend(senders)
    for minutes in (70, 140):
        do_what_is_due(senders, dsn, START + timedelta(minutes=minutes))
    assert senders.states() == {"sent": PEOPLE}
    assert len(relay.receipts) == PEOPLE
