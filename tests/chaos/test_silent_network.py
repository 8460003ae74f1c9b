"""The network between daemon and database falls silent: packets vanish, and nobody is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import namedtuple_row

from tests.crash.journeys import let_claims_pass
from tests.daemon.process import daemon
from tests.daemon.servers import MailServer, serving, wait_for
from tests.engine import TENANT, Engine, email

SILENT = 12  # seconds
NET = f"10.{64 + os.getpid() // 250 % 64}.{os.getpid() % 250}"
"""Of this process alone: one that was killed leaves its network behind."""
HERE, THERE = f"{NET}.1", f"{NET}.2"
RELAY = f"""
import asyncio, sys

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()

async def serve(reader, writer):
    inner, outer = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(reader, outer), pump(inner, writer))

async def main():
    server = await asyncio.start_server(serve, "{THERE}", 5432)
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class Network:
    """A network of two machines, one of which has the database and can lose its address."""

    def __init__(self) -> None:
        number = os.getpid()
        self.name, self.near, self.far = f"dd{number}", f"dda{number}", f"ddb{number}"

    def up(self) -> None:
        """Set the network up. Raises `OSError` where that is not allowed, or `ip` is missing."""
        self._ip("netns", "add", self.name)
        self._ip("link", "add", self.near, "type", "veth", "peer", "name", self.far)
        self._ip("link", "set", self.far, "netns", self.name)
        self._ip("addr", "add", f"{HERE}/24", "dev", self.near)
        self._ip("link", "set", self.near, "up")
        self._ip("-n", self.name, "link", "set", self.far, "up")
        self.speak()

    def speak(self) -> None:
        """Give the other machine its address."""
        self._ip("-n", self.name, "addr", "add", f"{THERE}/24", "dev", self.far)

    def fall_silent(self) -> None:
        """Take it away."""
        self._ip("-n", self.name, "addr", "del", f"{THERE}/24", "dev", self.far)

    def down(self) -> None:
        """Take the network down."""
        with suppress(OSError):
            self._ip("link", "del", self.near)
        with suppress(OSError):
            self._ip("netns", "del", self.name)

    def _ip(self, *arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr)


@pytest.fixture
def network() -> Iterator[Network]:
    """Such a network; skips where none can be made."""
    made = Network()
    try:
        made.up()
        yield made
    except OSError as error:
        pytest.skip(f"no network of our own here: {error}")
    finally:
        made.down()


@pytest.fixture
def remote(network: Network, dsn: str) -> Iterator[str]:
    """The DSN of the database on the other machine."""
    given = conninfo_to_dict(dsn)
    if not str(given["host"]).startswith("/"):
        pytest.skip("the server has no Unix socket")
    path = f"{given['host']}/.s.PGSQL.{given.get('port') or 5432}"
    relay = subprocess.Popen(
        ["ip", "netns", "exec", network.name, sys.executable, "-c", RELAY, path],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert relay.stdout is not None
        with relay.stdout as lines:
            assert lines.readline() == "ready\n"
            yield make_conninfo(
                host=THERE, user=given["user"], dbname=given["dbname"], sslmode="disable"
            )
    finally:
        relay.kill()
        relay.wait()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    with serving() as (server, _):
        yield server


@pytest.mark.chaos
def test_seconds_after_the_network_is_back_messages_leave_at_their_full_rate(
    dsn: str, remote: str, network: Network, mail: MailServer
) -> None:
    connection = psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row)
    engine = Engine(connection)
    account = {"host": "127.0.0.1", "port": mail.port, "security": "none"}
    sender = account | {"from": "hello@acme.example"}
    engine.create_channel_adapter(TENANT, "email", "email", "smtp", config=sender, is_default=True)
    engine.author(email("welcome"))
    over = threading.Event()

    def enrol() -> None:
        with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as own:
            number = 0
            while not over.wait(0.05):
                Engine(own).join(f"user{number}")
                number += 1

    application = threading.Thread(target=enrol)
    with connection, daemon(remote) as sending:
        sending.wait_for_log("started")
        application.start()
        try:
            mail.wait_for(lambda: len(mail.mails) > 40)
            network.fall_silent()
            time.sleep(SILENT)
            network.speak()
            back, before = time.monotonic(), len(mail.mails)
            # What came due meanwhile, and what comes due now, at its rate.
            mail.wait_for(lambda: len(mail.mails) > before + 20 * (SILENT + 4))
            took = time.monotonic() - back
        finally:
            over.set()
            application.join()
        assert took < 10, sending.log

        def all_has_left() -> bool:
            let_claims_pass(engine)
            rows = engine.rows("select distinct state from dripdrop.step_executions")
            return {row.state for row in rows} <= {"sent", "sending"}

        wait_for(all_has_left)
        sending.signal()
        assert sending.wait() == 0
        assert sending.logged("database_gone") and sending.logged("database_back")
    assert mail.repeated() == []
