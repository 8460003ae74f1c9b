"""`dripdrop web`: the application under uvicorn."""

from __future__ import annotations

import os
import signal
import sys

import structlog
import uvicorn

from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.log import logging_to
from dripdrop.process.version import OTHER_VERSION, is_version
from dripdrop.unsubscribe import WEB_KEY_VARIABLE
from dripdrop.vault import KEY_VARIABLE
from dripdrop.web.application import app
from dripdrop.web.connections import HEAD_BYTES, limited

CONNECTIONS = 500
"""How many connections there may be at a time."""

PER_ADDRESS = 250
"""How many of them may be from one address; behind a proxy all of them are."""

_BACKLOG = 128  # no more are accepted at once, so that there is a file descriptor for each


def main(
    dsn: str,
    *,
    host: str,
    port: int,
    connections: int = CONNECTIONS,
    per_address: int | None = PER_ADDRESS,
) -> int:
    """Serve until SIGTERM or SIGINT, or until a request finds the schema of another version.

    Returns the exit status.

    Raises:
        psycopg.Error: there is no such database, or DripDrop is not in it.
        VaultError: there is no usable key.
    """
    with logging_to(sys.stderr):
        with connect(dsn) as connection:
            installed = Client(connection).version()
        if not is_version(installed):
            return OTHER_VERSION
        _warn_of_the_master_key()
        outdated = False

        def stop_as_outdated() -> None:
            nonlocal outdated
            server.should_exit = outdated = True

        site = app(dsn, on_other_version=stop_as_outdated)
        server = uvicorn.Server(configuration(site, host, port, connections, per_address))
        # uvicorn comes to its end on these, and then raises them again: that is no failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        structlog.get_logger("dripdrop").info("serving", host=host, port=port)
        server.run()
    if outdated:
        return OTHER_VERSION
    return 0 if server.started else 1


def _warn_of_the_master_key() -> None:
    """Say so if this process, which strangers talk to, holds the key that opens credentials."""
    if os.environ.get(KEY_VARIABLE, "").strip():
        structlog.get_logger("dripdrop").warning(
            "master_key_present",
            detail=f"{KEY_VARIABLE} opens credentials, which nobody needs here",
            hint=f"dripdrop keygen --web makes {WEB_KEY_VARIABLE} from it: set that alone.",
        )


def configuration(
    application: object,
    host: str,
    port: int,
    connections: int = CONNECTIONS,
    per_address: int | None = PER_ADDRESS,
) -> uvicorn.Config:
    """Return how the server runs: without an access log, which would hold the tokens."""
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        log_level="error",  # else each request that makes no sense writes a line
        http=limited(connections, per_address),
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=_BACKLOG,
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
    )
