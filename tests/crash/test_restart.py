"""The database is restarted under a daemon: it carries on, loses nothing and repeats nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

from dripdrop.embedded import EmbeddedServer
from dripdrop.install import install
from tests.conftest import START
from tests.crash.journeys import (
    author,
    check,
    do_what_is_due,
    has_ended,
    let_claims_pass,
    uncertain,
)
from tests.daemon.process import at, daemon
from tests.daemon.servers import MailServer, wait_for
from tests.engine import Engine

pytestmark = pytest.mark.slow

PEOPLE = 30


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server of its own, which may be crashed."""
    with EmbeddedServer() as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            # What a server has handed to its machine outlives the server.
            connection.execute("alter system set fsync = off")
        server.restart()
        yield server


@contextmanager
def connected(dsn: str, now: datetime) -> Iterator[Engine]:
    """Connect to a server for as long as it is up."""
    with psycopg.connect(at(dsn, now), autocommit=True, row_factory=namedtuple_row) as connection:
        yield Engine(connection)


def has_taken(mail: MailServer, count: int) -> bool:
    """Whether a mail server has taken so many mails."""
    return len(mail.mails) >= count


def nothing_waits(engine: Engine) -> bool:
    """Whether all that is due has left, but for what was claimed by a call that never returned."""
    return not engine.rows(
        "select from dripdrop.step_executions where due_at <= dripdrop._now() or state = 'rendered'"
    )


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_database_loses_and_repeats_nothing(
    server: EmbeddedServer, mail: MailServer, mode: Literal["fast", "immediate"]
) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"create database {mode}")
    dsn = make_conninfo(server.dsn, dbname=mode)
    install(dsn)
    with connected(dsn, START) as engine:
        author(engine, mail)

    with daemon(at(dsn, START)) as sending:
        sending.wait_for_log("started")
        for round_ in range(4):
            with connected(dsn, START) as engine:
                for person in range(PEOPLE):
                    engine.join(f"user{round_}x{person}")
            mail.wait_for(partial(has_taken, mail, PEOPLE * round_ // 2 + 7 * (round_ + 1)))
            server.restart(mode)
        with connected(dsn, START) as engine:
            wait_for(partial(nothing_waits, engine))
        assert sending.logged("database_gone")
        sending.wait_for_log("database_back", times=len(sending.logged("database_gone")))
        sending.signal()
        assert sending.wait() == 0

    doubted: set[UUID] = set()
    now = START
    while True:
        with connected(dsn, now) as engine:
            doubted |= uncertain(engine)
            let_claims_pass(engine)
            if has_ended(engine):
                break
        now += timedelta(days=1)
        assert now < START + timedelta(days=10)
        do_what_is_due(at(dsn, now))
    with connected(dsn, now) as engine:
        check(engine, mail, doubted, repeats=False)
