"""Servers that take connections and say nothing, among others that work."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import Senders, Serve
from tests.chaos.relay import Relay, Server, Web
from tests.daemon.conftest import KEY
from tests.daemon.process import daemon

RATE = 40
PEOPLE = 400


@pytest.mark.chaos
def test_healthy_senders_keep_their_rate_behind_servers_that_hang(
    dsn: str, senders: Senders, serve: Serve[Server]
) -> None:
    senders.engine.connection.execute("reset dripdrop.now")
    for silent, key in ((Relay(), "mail-hangs"), (Web(), "web-hangs")):
        senders.add(serve(silent), key)
        silent.become("silent")
        senders.crowd(500, key)
    healthy: dict[str, Server] = {"mail": Relay(), "web": Web()}
    for key, server in healthy.items():
        senders.add(serve(server), key, rate_limits={"adapter": f"{RATE}/1s"})
        senders.crowd(PEOPLE, key)
    with daemon(dsn, DRIPDROP_ENCRYPTION_KEY=KEY) as sending:
        sending.wait_for_log("started")
        began = time.monotonic()
        # Ten seconds, and then nine tenths of the rate.
        in_time = 10 + PEOPLE / (0.9 * RATE)
        while time.monotonic() < began + in_time and any(
            len(server.receipts) < PEOPLE for server in healthy.values()
        ):
            time.sleep(0.05)
        assert {key: len(server.receipts) for key, server in healthy.items()} == {
            key: PEOPLE for key in healthy
        }
    for server in healthy.values():
        assert server.repeated() == []
