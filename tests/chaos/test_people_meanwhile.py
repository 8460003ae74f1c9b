"""People are erased and corrected, a sequence held, history pruned, while daemons send and die."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.conftest import Senders, Serve
from tests.chaos.relay import Relay
from tests.crash.journeys import let_claims_pass
from tests.daemon.conftest import KEY
from tests.daemon.process import ENVIRONMENT, at, daemon
from tests.driver.command import dripdrop
from tests.engine import TENANT

pytestmark = pytest.mark.slow

PEOPLE = 400
PLACES = 8


def test_nobody_hears_of_us_twice_nor_after_the_erasure(
    dsn: str, senders: Senders, serve: Serve[Relay]
) -> None:
    chance = random.Random(3)
    relay = serve(Relay(pause=lambda moment: 0.03 if moment == "answer" else 0))
    engine = senders.engine
    engine.connection.execute("reset dripdrop.now")
    senders.add(relay)
    senders.crowd(PEOPLE)
    engine.update_tenant_settings(None, retention={"events": "1 day", "message_reports": "1 day"})
    # What had a place at the server when they were erased may still arrive.
    erased: dict[str, float] = {}
    kills = 0
    with ExitStack() as stack:
        running = [stack.enter_context(daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY)) for _ in range(2)]
        people = chance.sample(range(PEOPLE), 80)
        for number, person in enumerate(people):
            relay.wait_for(lambda number=number: len(relay.receipts) >= 3 * number)  # type: ignore[misc]
            name = f"onboarding{person}"
            if number % 2:
                engine.erase_subscriber(TENANT, "User", name)
                erased[f"{name}@example.com"] = time.monotonic()
            else:
                engine.update_subscriber(
                    TENANT, "User", name, data={"email": f"new{person}@example.com"}
                )
            if number % 10 == 0:
                engine.hold_sequence(TENANT, "onboarding")
                engine.prune()
                engine.resume_sequence(TENANT, "onboarding")
            if number in (25, 50):
                running.pop().process.kill()
                kills += 1
                running.append(stack.enter_context(daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY)))
        relay.wait_for(lambda: len(relay.receipts) >= PEOPLE - len(erased) - 2 * kills * PLACES)
        for each in running:
            each.wait_for_log("started")
            each.signal()
        assert [each.wait() for each in running] == [0, 0]
    now = datetime.now(UTC)
    environment = ENVIRONMENT | {"DRIPDROP_ENCRYPTION_KEY": KEY}
    for minutes in (10, 40):
        let_claims_pass(engine)
        later = at(dsn, now + timedelta(minutes=minutes))
        result = dripdrop("run", "--once", "--dsn", later, **environment)
        assert result.returncode == 0, result.stderr

    assert engine.ledger() == []
    assert senders.states() == {"sent": PEOPLE - len(erased)}
    heard = Counter(re.sub(r"\D", "", receipt.recipient) for receipt in relay.receipts)
    assert max(heard.values()) == 1
    late = [
        receipt
        for receipt in relay.receipts
        if receipt.at > erased.get(receipt.recipient, receipt.at) + 1
    ]
    assert late == []
    rows = engine.rows("select recipient from dripdrop.step_executions")
    assert not {row.recipient for row in rows} & erased.keys()
