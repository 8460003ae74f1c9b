"""Links that reset, stall, go half-open or refuse: to the database, and to the relay."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.chaos.conftest import Senders, Serve
from tests.chaos.proxy import Proxy, before_database, to_port
from tests.chaos.relay import Relay
from tests.crash.journeys import let_claims_pass
from tests.daemon.conftest import KEY
from tests.daemon.process import daemon, sessions
from tests.daemon.servers import wait_for

pytestmark = pytest.mark.slow

PEOPLE = 400
PLACES = 8


def stall(proxy: Proxy) -> None:
    """Stall for a second."""
    proxy.stall()
    time.sleep(1)
    proxy.resume()


def refuse(proxy: Proxy) -> None:
    """Refuse for a second."""
    proxy.refuse()
    time.sleep(1)
    proxy.resume()


TROUBLES: dict[str, Callable[[Proxy], None]] = {
    "reset": Proxy.reset,
    "stall": stall,
    "half_open": Proxy.half_open,
    "refuse": refuse,
}


def all_are_sent(senders: Senders) -> bool:
    """Whether nobody waits any more."""
    let_claims_pass(senders.engine)
    return senders.states() == {"sent": PEOPLE}


def check(senders: Senders, relay: Relay, doubted: int = 0) -> None:
    """Check that nothing is lost nor repeated, but for what had a place and is presumed sent."""
    assert relay.repeated() == []
    rows = senders.engine.rows("select recipient, reason from dripdrop.step_executions")
    presumed = {row.recipient for row in rows if row.reason == "presumed_sent"}
    assert len(presumed) <= doubted
    missing = {row.recipient for row in rows} - {each.recipient for each in relay.receipts}
    assert missing <= presumed
    assert senders.engine.ledger() == []


@pytest.fixture
def crowd(senders: Senders, serve: Serve[Relay]) -> Relay:
    """A relay, and people to whom it is to deliver; the engine goes by the machine's clock."""
    relay = serve(Relay(pause=lambda moment: 0.02 if moment == "answer" else 0))
    senders.engine.connection.execute("reset dripdrop.now")
    return relay


@pytest.mark.chaos
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_bad_link_to_the_database_loses_and_repeats_nothing(
    dsn: str, senders: Senders, crowd: Relay, trouble: str
) -> None:
    senders.add(crowd)
    senders.crowd(PEOPLE)
    with (
        before_database(dsn) as (proxy, through),
        daemon(through, DRIPDROP_ENCRYPTION_KEY=KEY) as sending,
    ):
        for number in (50, 200):
            crowd.wait_for(lambda number=number: len(crowd.receipts) >= number)  # type: ignore[misc]
            TROUBLES[trouble](proxy)
        wait_for(lambda: all_are_sent(senders))
        sending.signal()
        assert sending.wait() == 0
        assert not sending.logged("stage_failed")
    check(senders, crowd)
    assert len(crowd.receipts) == PEOPLE


def test_backends_that_are_terminated_lose_and_repeat_nothing(
    dsn: str, senders: Senders, crowd: Relay
) -> None:
    chance = random.Random(5)
    senders.add(crowd)
    senders.crowd(PEOPLE)
    with daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY) as sending:
        for number in range(20, PEOPLE, 40):
            crowd.wait_for(lambda number=number: len(crowd.receipts) >= number)  # type: ignore[misc]
            backends = sessions(senders.engine.connection)
            for backend in chance.sample(backends, min(2, len(backends))):
                senders.engine.rows("select pg_terminate_backend(%s)", backend)
        wait_for(lambda: all_are_sent(senders))
        sending.signal()
        assert sending.wait() == 0
    check(senders, crowd)
    assert len(crowd.receipts) == PEOPLE


def test_a_claim_whose_answer_is_lost_is_given_back(
    dsn: str, senders: Senders, crowd: Relay
) -> None:
    senders.add(crowd)
    senders.crowd(PEOPLE)
    with (
        before_database(dsn) as (proxy, through),
        daemon(through, DRIPDROP_ENCRYPTION_KEY=KEY) as sending,
    ):

        def has_given_back() -> bool:
            # A claim may find nobody: then the next one's answer is lost.
            if proxy.has_lost_it:
                proxy.lose_answer(b"claim_sends", b"claim_rendered")
            return bool(sending.logged("claim_released"))

        crowd.wait_for(lambda: len(crowd.receipts) >= 50)
        wait_for(has_given_back)
        wait_for(lambda: all_are_sent(senders))
        sending.signal()
        assert sending.wait() == 0
        assert sum(line["messages"] for line in sending.logged("claim_released")) > 0
    check(senders, crowd)
    assert len(crowd.receipts) == PEOPLE


@pytest.mark.chaos
@pytest.mark.parametrize("trouble", ["reset", "stall", "refuse"])
def test_a_bad_link_to_the_relay_costs_no_more_than_what_had_a_place(
    dsn: str, senders: Senders, crowd: Relay, trouble: str
) -> None:
    with Proxy(to_port(crowd.port)).running() as proxy:
        crowd.port = proxy.port
        senders.add(crowd)
        senders.crowd(PEOPLE)
        with daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY) as sending:

            def have_come(number: int) -> bool:
                # A server that is away is asked again when its rest is over; here it is at once.
                end_rests(senders)
                return len(crowd.receipts) >= number

            def nobody_waits() -> bool:
                end_rests(senders)
                return senders.states().keys() <= {"sent", "unknown"}

            for number in (100, 200):
                wait_for(lambda number=number: have_come(number))  # type: ignore[misc]
                TROUBLES[trouble](proxy)
            wait_for(nobody_waits)
            sending.signal()
            assert sending.wait() == 0
        senders.engine.rows("select * from dripdrop.reconcile('0 seconds')")
    assert senders.states() == {"sent": PEOPLE}
    check(senders, crowd, doubted=2 * PLACES)


def end_rests(senders: Senders) -> None:
    """Let the rest of a circuit end now."""
    resting = senders.engine.rows(
        "update dripdrop.sender_states set until = dripdrop._now()"
        " where ended_at is null and state = 'resting' and until > dripdrop._now() returning id"
    )
    if resting:
        senders.engine.rows(
            "update dripdrop.step_executions set due_at = dripdrop._now()"
            " where due_at > dripdrop._now() and ended_at is null returning id"
        )
