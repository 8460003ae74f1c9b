"""Install DripDrop into a database: no psql, no Perl, no file on the server's disk.

The scripts are the ones sqitch deploys. Everything happens in one transaction.
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

_LOCK_EVERYTHING: LiteralString = """do $$
declare
  v_lock text;
begin
  for v_lock in
    select case c.relkind
      when 'm' then format(
        'alter materialized view %s owner to %s', c.oid::regclass, c.relowner::regrole
      )
      else format('lock table %s in access exclusive mode', c.oid::regclass)
    end
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'm')
      and (
        n.nspname = 'dripdrop'
        or n.nspname = 'pgmq' and c.relname ~ '^[qa]_dripdrop_'
      )
    order by c.relkind = 'v', n.nspname, c.relname
  loop
    execute v_lock;
  end loop;
end
$$"""

_PATIENCE = 60.0
_GATE_SECONDS = 10


class InstallError(Exception):
    """The database holds something that `install` or `uninstall` must not touch."""


def install(dsn: str, warn: Callable[[str], None] = warnings.warn) -> str:
    """Install DripDrop, or bring the functions of an installed one to this version.

    Installs pgmq first where it is missing: the extension if the server has it, else the SQL that
    the package `pgmq` ships. Then calls `dripdrop.start()`, which creates the queues.

    Args:
        dsn: a connection string of a role that may create schemas and, at best, roles.
        warn: told what the server warns of, such as that the installing role owns the schema.

    Returns:
        The installed version.

    Raises:
        InstallError: the schema `dripdrop` belongs to something else, to a newer version, to the
            extension or to sqitch; or it, or pgmq, to a role that could act as ours through it; or
            somebody's transaction holds its tables for a minute.
        psycopg.Error: the server refused a statement; nothing was changed.
    """

    def pass_on(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warn(diagnostic.message_primary or "")

    def work(connection: _Connection) -> None:
        connection.add_notice_handler(pass_on)
        _install_pgmq(connection)
        if _known_schema(connection) is None:
            _run(connection, "deploy/tables.sql")
        _run(connection, "deploy/code.sql")
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
        _run(connection, "revert/code.sql")
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
    row = connection.execute(
        "select setting::int from pg_settings where name = 'deadlock_timeout'"
    ).fetchone()
    assert row is not None
    limit = f"{max(int(row[0]) * 4 // 5, 1)}ms"
    connection.execute("select set_config('lock_timeout', %s, true)", [f"{_GATE_SECONDS}s"])
    connection.execute(INSTALL_GATE)
    connection.execute("select set_config('lock_timeout', %s, true)", [limit])
    previous = connection.execute("show statement_timeout").fetchone()
    connection.execute("select set_config('statement_timeout', %s, true)", [limit])
    connection.execute(_LOCK_EVERYTHING)
    connection.execute("select set_config('statement_timeout', %s, true)", previous)


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
            connection.execute(_guard())
            yield connection
    except UntrustedOwner as error:
        diagnostic = error.diag
        raise InstallError(f"{diagnostic.message_primary}: {diagnostic.message_hint}") from None


def _known_schema(connection: _Connection) -> str | None:
    """Return the version the schema `dripdrop` holds, None without one, or refuse it."""
    if not _exists(connection, "to_regnamespace('dripdrop') is not null"):
        return None
    if _exists(connection, "exists (select from pg_extension where extname = 'dripdrop')"):
        raise InstallError("dripdrop is installed as an extension: use alter or drop extension")
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


def _run(connection: _Connection, script: str) -> None:
    """Run one of our scripts inside the connection's transaction."""
    text = (_scripts() / script).read_text(encoding="utf-8")
    body = text.partition("\nbegin;\n")[2].removesuffix("\ncommit;\n")
    connection.execute(body)


def _guard() -> str:
    """Return the block at the head of our scripts that refuses what belongs to a stranger."""
    text = (_scripts() / "deploy/code.sql").read_text(encoding="utf-8")
    return "do $guard$" + text.split("$guard$")[1] + "$guard$"


def _scripts() -> Path:
    """Return the folder of deploy/ and revert/: in the wheel, else the checkout's root."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]


def _package_version() -> str:
    return distribution_version("dripdrop-postgres")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
