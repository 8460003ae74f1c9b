"""Daemons are killed at random moments: nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

import pytest

from tests.conftest import Clock
from tests.crash.journeys import (
    author,
    check,
    do_what_is_due,
    has_ended,
    is_idle,
    let_claims_pass,
    uncertain,
)
from tests.daemon.process import Daemon, at, daemon
from tests.daemon.servers import MailServer, wait_for
from tests.engine import Engine

pytestmark = pytest.mark.slow

MOMENTS = ("start", "EHLO", "MAIL", "RCPT", "CONTENT", "REPLY")
PAUSES = (
    timedelta(minutes=3),  # longer than the lease
    timedelta(minutes=20),  # longer than unknown messages wait
    timedelta(hours=9),
    timedelta(days=1),
)


def kill_at_some_moment(
    victim: Daemon, mail: MailServer, engine: Engine, chance: random.Random
) -> str:
    """Kill a daemon, and say when: at the n-th event of a kind, or up to 30 ms after it.

    The event is one of the mail server's, or the daemon's start. One to which it does not come,
    because nothing is left to send, leaves an idle daemon to kill.
    """
    event, number = chance.choice(MOMENTS), chance.randint(1, 6)
    delay = chance.choice((0.0, chance.uniform(0, 0.03)))
    seen = 0

    def count(happened: str) -> None:
        nonlocal seen
        seen += happened == event
        if seen == number:
            strike()

    def strike() -> None:
        if delay:
            mail.later(delay, victim.process.kill)
        else:
            victim.process.kill()

    mail.on_event = count
    victim.wait_for_log("started")
    if event == "start":
        mail.later(delay * 5, victim.process.kill)
        victim.wait()
    else:
        wait_for(lambda: victim.process.poll() is not None or is_idle(engine))
    victim.kill()
    return f"{delay * 1000:.0f} ms after {event} {number}"


@pytest.mark.parametrize(("kills", "on_unknown"), [(20, "at_most_once"), (8, "at_least_once")])
def test_whatever_moment_a_daemon_is_killed_at_no_message_is_lost_or_repeated(
    engine: Engine,
    dsn: str,
    clock: Clock,
    mail: MailServer,
    kills: int,
    on_unknown: str,
) -> None:
    chance = random.Random(kills)
    author(engine, mail, on_unknown=on_unknown)
    doubted: set[UUID] = set()
    for kill in range(kills):
        for person in range(6):
            engine.join(f"user{kill}x{person}")
        with daemon(at(dsn, clock.now)) as victim:
            print(kill_at_some_moment(victim, mail, engine, chance), len(mail.mails))
        doubted |= uncertain(engine)
        clock.advance(chance.choice(PAUSES))
        let_claims_pass(engine)

    mail.on_event = lambda event: None
    last_day = clock.now + timedelta(days=10)
    while not has_ended(engine):
        assert clock.advance(days=1) < last_day
        do_what_is_due(at(dsn, clock.now))
    check(engine, mail, doubted, repeats=on_unknown == "at_least_once")
