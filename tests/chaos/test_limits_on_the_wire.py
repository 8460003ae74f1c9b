"""Limits as the server sees them: kept in every window, and used while work waits.

Every test takes real time, and judges by when contents came to the server.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import pytest

from tests.chaos.conftest import Senders, Serve
from tests.chaos.relay import Relay, Server, Web, most_in_any
from tests.daemon.conftest import KEY
from tests.daemon.process import daemon

pytestmark = pytest.mark.chaos

TOLERANCE = 0.1
"""Seconds that the test's clock and the server's may differ by."""
USED = 0.9
"""Of the room that there is, what must be used while work waits."""
LONG = 60.0


def let_all_be_sent(dsn: str, counts: Mapping[Server, int], daemons: int = 1) -> None:
    """Let daemons run until each server has taken so many messages."""

    def all_have_come() -> bool:
        return all(len(server.receipts) >= count for server, count in counts.items())

    with ExitStack() as stack:
        for _ in range(daemons):
            stack.enter_context(daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY))
        give_up = time.monotonic() + LONG
        while not all_have_come() and time.monotonic() < give_up:
            time.sleep(0.05)
    assert [len(server.receipts) for server in counts] == list(counts.values())
    assert [server.repeated() for server in counts] == [[] for _ in counts]


def check(server: Server, most: int, window: float) -> None:
    """Check that a rate was kept in every window, and that its room was used.

    Who is `most` messages later could leave a window later: that long each place in the window is
    taken, and what comes on top is room that nobody used.
    """
    times = server.times
    since = str([round(at - times[0], 3) for at in times])
    assert most_in_any(times, window - TOLERANCE) <= most, since
    again = [later - at for at, later in zip(times, times[most:], strict=False)]
    assert window / (sum(again) / len(again)) >= USED, since


@pytest.fixture
def live(senders: Senders) -> Senders:
    """Senders of an engine that goes by the machine's clock."""
    senders.engine.connection.execute("reset dripdrop.now")
    return senders


def test_rates_and_gaps_are_kept_and_used_on_the_wire(
    dsn: str, live: Senders, serve: Serve[Relay]
) -> None:
    rate, short_gap, long_gap = (serve(Relay()) for _ in range(3))
    live.add(rate, "rate", rate_limits={"adapter": "20/10s"})
    live.add(short_gap, "short-gap", min_gap_seconds=1)
    live.add(long_gap, "long-gap", min_gap_seconds=3)
    live.crowd(40, "rate")
    live.crowd(11, "short-gap")
    live.crowd(4, "long-gap")
    let_all_be_sent(dsn, {rate: 40, short_gap: 11, long_gap: 4})
    check(rate, 20, 10)
    check(short_gap, 1, 1)
    check(long_gap, 1, 3)


def test_a_concurrency_is_kept_and_used_on_the_wire(
    dsn: str, live: Senders, serve: Serve[Relay]
) -> None:
    relay = serve(Relay(pause=lambda moment: 0.2 if moment == "answer" else 0))
    live.add(relay, concurrency=8)
    live.crowd(500)
    let_all_be_sent(dsn, {relay: 500})
    assert relay.most_at_once <= 8
    rate = 500 / (relay.times[-1] - relay.times[0])
    assert rate >= USED * 8 / 0.2, rate


def at_random(moments: set[str], seed: int) -> Callable[[str], float]:
    """Return a hesitation of up to a second before some moments."""
    chance = random.Random(seed)
    return lambda moment: chance.uniform(0, 1) if moment in moments else 0


def once(at: str, seconds: float) -> Callable[[str], float]:
    """Return a hesitation before the fifth of some moments."""
    lock = threading.Lock()
    seen = 0

    def pause(moment: str) -> float:
        nonlocal seen
        with lock:
            seen += moment == at
            return seconds if moment == at and seen == 5 else 0

    return pause


def test_four_daemons_keep_rates_and_gaps_together_at_servers_that_hesitate(
    dsn: str, live: Senders, serve: Serve[Server]
) -> None:
    relay = serve(Relay(at_random({"RCPT", "DATA"}, 2)))
    web = serve(Web(at_random({"answer"}, 3)))
    spaced = serve(Relay())
    live.add(relay, "mail", rate_limits={"adapter": "20/10s"})
    live.add(web, "web", rate_limits={"adapter": "20/10s"})
    live.add(spaced, "spaced", min_gap_seconds=1)
    live.crowd(40, "mail")
    live.crowd(40, "web")
    live.crowd(11, "spaced")
    let_all_be_sent(dsn, {relay: 40, web: 40, spaced: 11}, daemons=4)
    check(relay, 20, 10)
    check(web, 20, 10)
    check(spaced, 1, 1)


def test_one_hesitation_of_eight_seconds_exceeds_no_rate_and_holds_up_nobody_else(
    dsn: str, live: Senders, serve: Serve[Relay]
) -> None:
    relays = {at: serve(Relay(once(at, 8))) for at in ("RCPT", "DATA")}
    for at, relay in relays.items():
        live.add(relay, at.lower(), rate_limits={"adapter": "20/10s"})
        live.crowd(40, at.lower())
    let_all_be_sent(dsn, dict.fromkeys(relays.values(), 40))
    for relay in relays.values():
        check(relay, 20, 10)
