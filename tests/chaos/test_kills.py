"""Several daemons at a time, killed between two instructions."""

from __future__ import annotations

import random
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.conftest import Senders, Serve
from tests.chaos.relay import Relay
from tests.crash.journeys import let_claims_pass
from tests.daemon.conftest import KEY
from tests.daemon.process import ENVIRONMENT, at, daemon
from tests.driver.command import dripdrop

PEOPLE = 400
PLACES = 8


@pytest.mark.chaos
def test_three_daemons_that_are_killed_again_and_again_lose_and_repeat_nothing(
    dsn: str, senders: Senders, serve: Serve[Relay]
) -> None:
    chance = random.Random(11)
    relay = serve(Relay(pause=lambda moment: 0.03 if moment in ("answer", "RCPT") else 0))
    senders.engine.connection.execute("reset dripdrop.now")
    senders.add(relay)
    senders.crowd(PEOPLE)
    kills = 0
    with ExitStack() as stack:
        running = [stack.enter_context(daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY)) for _ in range(3)]
        for number in range(40, PEOPLE - 60, 70):
            relay.wait_for(lambda number=number: len(relay.receipts) >= number)  # type: ignore[misc]
            running.pop(chance.randrange(len(running))).process.kill()
            kills += 1
            running.append(stack.enter_context(daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY)))
        relay.wait_for(lambda: len(relay.receipts) >= PEOPLE - kills * PLACES)
        for each in running:
            each.wait_for_log("started")
            each.signal()
        assert [each.wait() for each in running] == [0, 0, 0]
    now = datetime.now(UTC)
    for minutes in (10, 40):  # longer than leases; longer than what is unknown waits
        let_claims_pass(senders.engine)
        environment = ENVIRONMENT | {"DRIPDROP_ENCRYPTION_KEY": KEY}
        later = at(dsn, now + timedelta(minutes=minutes))
        result = dripdrop("run", "--once", "--dsn", later, **environment)
        assert result.returncode == 0, result.stderr

    assert senders.states() == {"sent": PEOPLE}
    assert relay.repeated() == []
    rows = senders.engine.rows("select recipient, reason from dripdrop.step_executions")
    presumed = {row.recipient for row in rows if row.reason == "presumed_sent"}
    assert len(presumed) <= kills * PLACES
    missing = {row.recipient for row in rows} - {each.recipient for each in relay.receipts}
    assert missing <= presumed
    assert senders.engine.ledger() == []
