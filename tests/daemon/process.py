"""`dripdrop run` as a process: started, watched through its log, stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dripdrop.vault import generate_key
from tests.daemon.servers import PATIENCE, Observed, wait_for

ENVIRONMENT = {
    "DRIPDROP_ALLOW_HTTP": "1",
    "DRIPDROP_ALLOW_PRIVATE": "1",
    "DRIPDROP_ENCRYPTION_KEY": generate_key(),
}
"""What a daemon runs with: it may reach this machine, and has a key that opens nothing."""


def at(dsn: str, now: datetime) -> str:
    """Return a DSN whose connections believe that it is `now`."""
    options = f"{conninfo_to_dict(dsn).get('options') or ''} -c dripdrop.now={now.isoformat()}"
    return make_conninfo(dsn, options=options.strip())


class Daemon(Observed):
    """A running daemon."""

    def __init__(self, dsn: str, *arguments: str, **environment: str) -> None:
        super().__init__()
        self.dsn = dsn
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dripdrop", "run", "--dsn", dsn, *arguments],
            env={**os.environ, **ENVIRONMENT, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it has logged; a line that is no JSON object fails the test."""
        entries = []
        for line in self.lines:
            assert line.startswith("{"), "".join(self.lines)
            entries.append(json.loads(line))
        return entries

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the entries of one kind."""
        return [entry for entry in self.log if entry["event"] == event]

    def wait_for_log(self, event: str, times: int = 1) -> None:
        """Return as soon as it has logged an event."""
        self.wait_for(lambda: len(self.logged(event)) >= times or self.process.poll() is not None)
        assert len(self.logged(event)) >= times, self.lines

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit status, once it has ended."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def kill(self) -> None:
        """End it between two instructions, and wait until the database has noticed."""
        self.process.kill()
        self.wait()
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            wait_for(lambda: not sessions(connection))

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self.change():
                    self.lines.append(line)
        with self.change():
            pass


def sessions(connection: psycopg.Connection[Any]) -> list[int]:
    """Return the backends that serve daemons of this database."""
    rows = connection.execute(
        "select pid from pg_stat_activity"
        " where application_name = 'dripdrop' and datname = current_database()"
    )
    return [row[0] for row in rows]


@contextmanager
def daemon(dsn: str, *arguments: str, **environment: str) -> Iterator[Daemon]:
    """Run a daemon, and see that it is gone in the end."""
    running = Daemon(dsn, *arguments, **environment)
    try:
        yield running
    finally:
        running.process.kill()
        running.wait()
