"""Install DripDrop into a database: no psql, no Perl, no file on the server's disk.

The scripts are the ones sqitch deploys, in the order of sqitch.plan. Everything happens in one
transaction.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as distribution_version
from itertools import count
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

from dripdrop.connections import INSTALL_GATE, connect
from dripdrop.errors import UntrustedOwner

_Connection = psycopg.Connection[tuple[Any, ...]]

# A view or a policy of somebody else's would run as us.
_OUR_SQITCH: LiteralString = """exists (
  select
  from pg_class
  where oid = to_regclass('sqitch.changes')
    and relkind = 'r'
    and pg_has_role(relowner, current_user, 'member')
)"""

_PATIENCE = 60.0
_GATE_SECONDS = 10


class InstallError(Exception):
    """The database holds something that `install` or `uninstall` must not touch."""


def install(dsn: str, warn: Callable[[str], None] = warnings.warn) -> str:
    """Install DripDrop, bring an installed one to this version, or put this one right.

    What can be replaced is; people and messages stay. Installs pgmq first where it is missing: the
    extension if the server has it, else the SQL that the package `pgmq` ships. Then calls
    `dripdrop.start()`, which creates the queues.

    Args:
        dsn: a connection string of a role that may create schemas and, at best, roles.
        warn: told what the server warns of, such as that the installing role owns the schema.

    Returns:
        The installed version.

    Raises:
        InstallError: the schema `dripdrop` belongs to something else, to a newer version, to the
            extension or to sqitch; or it, or pgmq, to a role that could act as ours through it; or
            somebody's transaction holds its tables for a minute.
        SchemaDiffers: the tables are not what this version needs; the detail says which are not.
        StillUsed: something of yours uses what this version changes.
        psycopg.Error: the server refused a statement; nothing was changed.
    """

    def pass_on(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warn(diagnostic.message_primary or "")

    def work(connection: _Connection) -> None:
        connection.add_notice_handler(pass_on)
        _install_pgmq(connection)
        for script in _way_from(_known_schema(connection)):
            _run(connection, script)
        connection.execute("select dripdrop.start()")

    _alone(dsn, work)
    return _package_version()


def uninstall(dsn: str) -> None:
    """Remove DripDrop with all its data, its queues and those of its roles nobody else uses.

    pgmq stays.

    Raises:
        InstallError: as `install`, or there is nothing to remove.
        psycopg.Error: the server refused a statement; nothing was changed.
    """

    def work(connection: _Connection) -> None:
        if _known_schema(connection) is None:
            raise InstallError("dripdrop is not installed in this database")
        connection.execute("select dripdrop.stop()")
        _run(connection, "revert/tables.sql")

    _alone(dsn, work)


def _alone(dsn: str, work: Callable[[_Connection], None]) -> None:
    """Do something with everything of ours locked; try again while others hold parts of it.

    Daemons are kept out by their gate. Others' transactions are waited for, but never as long as
    Postgres lets two wait for each other: so theirs are not the ones that it ends.
    """
    give_up = time.monotonic() + _PATIENCE
    for attempt in count():
        try:
            with _connected(dsn) as connection:
                _lock_everything(connection)
                work(connection)
            return
        except (LockNotAvailable, QueryCanceled, DeadlockDetected):
            if time.monotonic() > give_up:
                raise InstallError(
                    f"transactions have held tables of dripdrop for {_PATIENCE:.0f} seconds: "
                    "select * from pg_stat_activity where xact_start is not null shows which"
                ) from None
            time.sleep(min(0.1 * 2.0**attempt, 2) * random.uniform(0.5, 1))


def _lock_everything(connection: _Connection) -> None:
    """Take the gate, then every relation of ours, as docs/locking.md says."""
    connection.execute("select set_config('lock_timeout', %s, true)", [f"{_GATE_SECONDS}s"])
    connection.execute(INSTALL_GATE)
    connection.execute(_block("lock"))


@contextmanager
def _connected(dsn: str) -> Iterator[_Connection]:
    """Connect, and trust nothing in the database before its owner is known.

    Names are found in pg_catalog alone: a database's owner may set another search_path for it, or
    make better matches for our calls in schema public.
    """
    try:
        with connect(dsn) as connection:
            connection.execute("set local search_path = pg_catalog, pg_temp")
            connection.execute("set local standard_conforming_strings = on")
            connection.execute(_block("guard"))
            yield connection
    except UntrustedOwner as error:
        diagnostic = error.diag
        raise InstallError(f"{diagnostic.message_primary}: {diagnostic.message_hint}") from None


def _known_schema(connection: _Connection) -> str | None:
    """Return the version the schema `dripdrop` holds, None without one, or refuse it."""
    if not _exists(connection, "to_regnamespace('dripdrop') is not null"):
        return None
    if _exists(connection, "exists (select from pg_extension where extname = 'dripdrop')"):
        raise InstallError(
            "dripdrop is installed as an extension: use alter or drop extension; to put it right,"
            f" alter extension dripdrop update to '{_package_version()}-repaired', then alter"
            " extension dripdrop update"
        )
    if _exists(connection, _OUR_SQITCH) and _exists(
        connection, "exists (select from sqitch.changes where project = 'dripdrop')"
    ):
        raise InstallError("dripdrop was deployed by sqitch: use sqitch deploy or sqitch revert")
    if not _exists(connection, "to_regprocedure('dripdrop.version()') is not null"):
        raise InstallError('schema "dripdrop" exists and is not ours: it has no version()')
    row = connection.execute("select dripdrop.version()").fetchone()
    assert row is not None
    installed = str(row[0])
    if _numbers(installed) > _numbers(_package_version()):
        raise InstallError(
            f'schema "dripdrop" is at version {installed}, newer than this package '
            f"({_package_version()}): upgrade the package"
        )
    return installed


def _exists(connection: _Connection, condition: LiteralString) -> bool:
    row = connection.execute("select " + condition).fetchone()
    assert row is not None
    return bool(row[0])


def _install_pgmq(connection: _Connection) -> None:
    if _exists(connection, "to_regnamespace('pgmq') is not null"):
        return
    if _exists(connection, "exists (select from pg_available_extensions where name = 'pgmq')"):
        connection.execute("create extension pgmq")
        return
    from pgmq import install_pgmq_from_sql

    install_pgmq_from_sql(conn=connection)


def _way_from(installed: str | None) -> list[str]:
    """Return the scripts that take a database from a version, or from nothing, to this one.

    A version that is no release has this one's tables, or the script says what they lack.
    """
    way, releases = _plan()
    if installed is None:
        return way
    return way[releases.get(f"v{installed}", len(way)) :] or way[-1:]


def _plan() -> tuple[list[str], dict[str, int]]:
    """Return the scripts in the order of sqitch.plan, and how many belong to each tag.

    A change that was reworked stands there again; its earlier script is kept under the tag before.
    """
    changes: list[str] = []
    scripts: list[str] = []
    tags: dict[str, int] = {}
    for line in (_scripts() / "sqitch.plan").read_text(encoding="utf-8").splitlines():
        word = line.partition("#")[0].partition(" ")[0]
        if word.startswith("@"):
            tags[word[1:]] = len(changes)
        elif word and not word.startswith("%"):
            changes.append(word)
    for number, change in enumerate(changes):
        if change in changes[number + 1 :]:
            tag = next(tag for tag, count in tags.items() if count > number)
            scripts.append(f"history/deploy/{change}@{tag}.sql")
        else:
            scripts.append(f"deploy/{change}.sql")
    return scripts, tags


def _run(connection: _Connection, script: str) -> None:
    """Run one of our scripts inside the connection's transaction."""
    text = (_scripts() / script).read_text(encoding="utf-8")
    body = text.partition("\nbegin;\n")[2].removesuffix("\ncommit;\n")
    connection.execute(body)


def _block(name: str) -> str:
    """Return a block at the head of our scripts: the guard against strangers, or the lock."""
    text = (_scripts() / "deploy/code.sql").read_text(encoding="utf-8")
    return f"do ${name}$" + text.split(f"${name}$")[1] + f"${name}$"


def _scripts() -> Path:
    """Return the folder of sqitch.plan and its scripts: in the wheel, else the checkout's root."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]


def _package_version() -> str:
    return distribution_version("dripdrop-postgres")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
