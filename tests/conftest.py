"""The server, a database with DripDrop in it, and the clock.

The server is an embedded one, or the one that DRIPDROP_TEST_DSN names (a superuser's DSN).
DripDrop is installed once, into a template; each test gets a copy of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import namedtuple_row
from pytest_postgresql.janitor import DatabaseJanitor

from dripdrop.embedded import EmbeddedServer
from dripdrop.install import install, uninstall
from tests.engine import Engine

# How fast the machine is today is no property of the code.
settings.register_profile("dripdrop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dripdrop")

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""When every test begins: a Monday morning."""

ROOM = 4 * 1024**3
"""How many bytes must be free in memory for the servers' data."""

_names = (f"dripdrop_test_{os.getpid()}_{number}" for number in count())


class Databases:
    """Databases on the test server, made and dropped by name."""

    def __init__(self, server_dsn: str) -> None:
        self.server_dsn = server_dsn
        given = conninfo_to_dict(server_dsn)
        where: dict[str, Any] = {
            key: given.get(key) for key in ("user", "password", "host", "port")
        }
        self._janitor = partial(DatabaseJanitor, **where)

    def create(self, template: str = "template0") -> str:
        """Return the name of a new database."""
        name = next(_names)
        # Copying files is ten times as fast as logging every page of a new database.
        create = sql.SQL("create database {} template {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        with psycopg.connect(self.server_dsn, autocommit=True) as connection:
            connection.execute(create)
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._janitor(dbname=name).drop()

    def dsn(self, name: str) -> str:
        """Return a superuser's connection string to a database."""
        return make_conninfo(self.server_dsn, dbname=name)


class SavepointCursor(psycopg.Cursor[Any]):
    """A cursor whose statements do not spoil their transaction when they fail."""

    def execute(self, *arguments: Any, **options: Any) -> Self:
        """Execute a statement in a savepoint."""
        with self.connection.transaction():
            return super().execute(*arguments, **options)


class Clock:
    """The time that `dripdrop._now()` tells the connections it was given."""

    def __init__(self, *connections: psycopg.Connection[Any]) -> None:
        self.connections = connections
        self.set(START)

    def set(self, now: datetime) -> datetime:
        """Make it `now`."""
        self.now = now
        for connection in self.connections:
            connection.execute("select set_config('dripdrop.now', %s, false)", [now.isoformat()])
        return now

    def advance(self, delta: timedelta | None = None, **units: float) -> datetime:
        """Let `delta` pass, or the units that `timedelta` takes (`days=1, hours=2`)."""
        return self.set(self.now + (timedelta(**units) if delta is None else delta))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the limit by which what should be marked slow is found."""
    parser.addoption(
        "--quick-within",
        type=float,
        metavar="SECONDS",
        help="fail a test that takes longer, its fixtures apart, and is not marked slow",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is marked chaos, so that `-m "not slow"` leaves out both."""
    for item in items:
        if item.get_closest_marker("chaos"):
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is not as quick as the option says."""
    report = yield
    limit = item.config.getoption("quick_within")
    slow = item.get_closest_marker("slow") is not None
    if limit and report.when == "call" and report.passed and call.duration > limit and not slow:
        report.outcome = "failed"
        report.longrepr = f"took {call.duration:.2f} s, and is not marked slow"
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@contextmanager
def memory_folder() -> Iterator[Path | None]:
    """Yield a path in memory, where a database is made eight times as fast as on a disk.

    None if there is no room for the databases of a few servers.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM:
        yield None
        return
    folder = memory / f"dripdrop-{uuid4()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A superuser's DSN of the server under test."""
    given = os.environ.get("DRIPDROP_TEST_DSN")
    if given:
        yield given
        return
    with memory_folder() as folder, EmbeddedServer(folder) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            # Nothing here has to outlive the machine.
            connection.execute("alter system set fsync = off")
            connection.execute("alter system set full_page_writes = off")
            connection.execute("alter system set max_wal_size = '256MB'")
            connection.execute("select pg_reload_conf()")
        yield server.dsn


@pytest.fixture(scope="session")
def databases(server_dsn: str) -> Databases:
    """The databases of the server, for tests that need more than one, or an empty one."""
    return Databases(server_dsn)


@pytest.fixture(scope="session")
def template(databases: Databases) -> Iterator[str]:
    """The name of the database that tests are copied from."""
    name = databases.create()
    install(databases.dsn(name))
    yield name
    databases.drop(name)


@pytest.fixture
def dsn(databases: Databases, template: str) -> Iterator[str]:
    """A superuser's DSN of a fresh database with DripDrop installed."""
    name = databases.create(template)
    yield databases.dsn(name)
    databases.drop(name)


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    """A superuser's DSN of a fresh database with nothing in it."""
    name = databases.create()
    yield databases.dsn(name)
    databases.drop(name)


@pytest.fixture
def cron_dsn(server_dsn: str) -> Iterator[str]:
    """A superuser's DSN of the one database pg_cron works in, DripDrop installed; else skips."""
    with psycopg.connect(server_dsn) as connection:
        row = connection.execute("select current_setting('cron.database_name', true)").fetchone()
    if row is None or not row[0]:
        pytest.skip("the server does not preload pg_cron")
    dsn = make_conninfo(server_dsn, dbname=row[0])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create extension pg_cron")
        install(dsn)
        yield dsn
        if connection.execute("select to_regnamespace('dripdrop')").fetchone() != (None,):
            uninstall(dsn)
        connection.execute("drop schema pgmq cascade")
        connection.execute("drop extension pg_cron")


@pytest.fixture(scope="session")
def shared_connection(databases: Databases, template: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to the database of all tests that need no other connection."""
    name = databases.create(template)
    with psycopg.connect(
        databases.dsn(name),
        autocommit=True,
        row_factory=namedtuple_row,
        cursor_factory=SavepointCursor,
    ) as connection:
        keep_statistics(connection)
        yield connection
    databases.drop(name)


def keep_statistics(connection: psycopg.Connection[Any]) -> None:
    """Keep autovacuum off the tables.

    Nothing is ever committed to them: it would find them empty, and have every plan made for no
    rows, however many a test then has.
    """
    for table in connection.execute(
        "select c.oid::regclass::text as name from pg_class as c"
        " where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('dripdrop', 'pgmq')"
    ).fetchall():
        connection.execute(f"alter table {table.name} set (autovacuum_enabled = false)".encode())


@pytest.fixture
def db(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection, rows are named tuples.

    To a fresh database in autocommit where the test asks for its `dsn`, because it has something to
    connect to it; else to one that is shared, in a transaction that is rolled back.
    """
    if "dsn" in request.fixturenames:
        with psycopg.connect(
            request.getfixturevalue("dsn"), autocommit=True, row_factory=namedtuple_row
        ) as connection:
            yield connection
    else:
        connection = request.getfixturevalue("shared_connection")
        with connection.transaction(force_rollback=True):
            yield connection


@pytest.fixture
def clock(db: psycopg.Connection[Any]) -> Clock:
    """The clock of `db`, at START."""
    return Clock(db)


@pytest.fixture
def now(clock: Clock) -> datetime:
    """The time at which the test begins."""
    return clock.now


@pytest.fixture
def engine(db: psycopg.Connection[Any], clock: Clock) -> Engine:
    """The SQL API on `db`, at START."""
    return Engine(db)


@pytest.fixture
def other(dsn: str, clock: Clock) -> Iterator[Engine]:
    """A second connection to the same database, at the same time."""
    with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection:
        clock.connections = (*clock.connections, connection)
        clock.set(clock.now)
        yield Engine(connection)
