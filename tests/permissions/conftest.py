"""Login roles: what an application, a sender and a reader connect as."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

from tests.conftest import Clock
from tests.engine import Engine

Login: TypeAlias = Callable[[str], Engine]


@pytest.fixture
def login(db: psycopg.Connection[Any], dsn: str, clock: Clock) -> Iterator[Login]:
    """Return a function that logs in as a new member of a role."""
    with ExitStack() as stack:

        def log_in(role: str) -> Engine:
            return stack.enter_context(logged_in(db, dsn, clock, role))

        yield log_in


@contextmanager
def logged_in(db: psycopg.Connection[Any], dsn: str, clock: Clock, role: str) -> Iterator[Engine]:
    name = f"{db.info.dbname}_{role}"
    db.execute(
        sql.SQL("create role {} login password 'secret' in role {}").format(
            sql.Identifier(name), sql.Identifier(role)
        )
    )
    try:
        with psycopg.connect(
            make_conninfo(dsn, user=name, password="secret"),
            autocommit=True,
            row_factory=namedtuple_row,
        ) as connection:
            clock.connections = (*clock.connections, connection)
            clock.set(clock.now)
            yield Engine(connection)
            clock.connections = clock.connections[:-1]
    finally:
        db.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
