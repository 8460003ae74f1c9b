"""Limits as the server sees them: kept in every window, and used while work waits.

Every test takes real time, and judges by when contents came to the server.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
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


def let_all_be_sent(dsn: str, server: Server, count: int, daemons: int = 1) -> None:
    """Let daemons run until the server has taken so many messages."""
    with ExitStack() as stack:
        for _ in range(daemons):
            stack.enter_context(daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY))
        give_up = time.monotonic() + LONG
        while len(server.receipts) < count and time.monotonic() < give_up:
            time.sleep(0.05)
    assert len(server.receipts) == count
    assert server.repeated() == []


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


def test_a_rate_is_kept_and_used_on_the_wire(dsn: str, live: Senders, serve: Serve[Relay]) -> None:
    relay = serve(Relay())
    live.add(relay, rate_limits={"adapter": "20/10s"})
    live.crowd(40)
    let_all_be_sent(dsn, relay, 40)
    check(relay, 20, 10)


@pytest.mark.parametrize(("gap", "count"), [(1, 11), (3, 4)])
def test_a_gap_is_kept_and_used_on_the_wire(
    dsn: str, live: Senders, serve: Serve[Relay], gap: int, count: int
) -> None:
    relay = serve(Relay())
    live.add(relay, min_gap_seconds=gap)
    live.crowd(count)
    let_all_be_sent(dsn, relay, count)
    check(relay, 1, gap)


def test_a_concurrency_is_kept_and_used_on_the_wire(
    dsn: str, live: Senders, serve: Serve[Relay]
) -> None:
    relay = serve(Relay(pause=lambda moment: 0.1 if moment == "answer" else 0))
    live.add(relay, concurrency=8)
    live.crowd(1500)
    let_all_be_sent(dsn, relay, 1500)
    assert relay.most_at_once <= 8
    rate = 1500 / (relay.times[-1] - relay.times[0])
    assert rate >= USED * 80, rate


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


@pytest.mark.parametrize(
    ("server", "daemons"),
    [
        pytest.param(Relay(at_random({"RCPT", "DATA"}, 2)), 4, id="smtp, four daemons"),
        pytest.param(Web(at_random({"answer"}, 3)), 4, id="http, four daemons"),
    ],
)
def test_servers_that_hesitate_see_a_rate_kept_and_used(
    dsn: str, live: Senders, serve: Serve[Server], server: Server, daemons: int
) -> None:
    serve(server)
    live.add(server, rate_limits={"adapter": "20/10s"})
    live.crowd(40)
    let_all_be_sent(dsn, server, 40, daemons)
    check(server, 20, 10)


@pytest.mark.parametrize("at", ["RCPT", "DATA"])
def test_one_hesitation_of_eight_seconds_exceeds_no_rate_and_holds_up_nobody_else(
    dsn: str, live: Senders, serve: Serve[Relay], at: str
) -> None:
    relay = serve(Relay(once(at, 8)))
    live.add(relay, rate_limits={"adapter": "20/10s"})
    live.crowd(40)
    let_all_be_sent(dsn, relay, 40)
    check(relay, 20, 10)


def test_four_daemons_keep_a_gap_together(dsn: str, live: Senders, serve: Serve[Relay]) -> None:
    relay = serve(Relay())
    live.add(relay, min_gap_seconds=1)
    live.crowd(11)
    let_all_be_sent(dsn, relay, 11, daemons=4)
    check(relay, 1, 1)
