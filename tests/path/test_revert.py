"""Whatever way DripDrop went in, it leaves nothing behind when it goes."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from dripdrop.embedded import EmbeddedServer
from dripdrop.install import install, uninstall
from tests.path.conftest import Sqitch

pytestmark = pytest.mark.slow

ROLES = "select array_agg(rolname) from pg_roles where rolname like 'dripdrop%'"


def everything(dsn: str) -> list[tuple[str, ...]]:
    """List what is in a database, and what our roles may use, but for the system and sqitch."""
    with psycopg.connect(dsn) as connection:
        return connection.execute("""
            select pg_describe_object(classid, objid, objsubid) as object
            from (
              select 'pg_namespace'::regclass as classid, oid as objid, 0 as objsubid
              from pg_namespace
              where nspname not like 'pg_%' and nspname <> 'sqitch'
              union all
              select 'pg_class'::regclass, c.oid, 0
              from pg_class as c
              join pg_namespace as n on n.oid = c.relnamespace
              where n.nspname not like 'pg_%'
                and n.nspname not in ('information_schema', 'sqitch')
              union all
              select 'pg_proc'::regclass, p.oid, 0
              from pg_proc as p
              join pg_namespace as n on n.oid = p.pronamespace
              where n.nspname not like 'pg_%' and n.nspname <> 'sqitch'
              union all
              select 'pg_default_acl'::regclass, oid, 0
              from pg_default_acl
              union all
              select classid, objid, objsubid
              from pg_shdepend
              where dbid = (select oid from pg_database where datname = current_database())
                and refobjid::regrole::text like 'dripdrop%'
              union all
              select 'pg_extension'::regclass, oid, 0
              from pg_extension
            ) as object
            order by 1
        """).fetchall()


def test_uninstall_leaves_nothing_behind(pgmq_dsn: str) -> None:
    before = everything(pgmq_dsn)
    install(pgmq_dsn)
    assert everything(pgmq_dsn) != before
    uninstall(pgmq_dsn)
    assert everything(pgmq_dsn) == before


def test_sqitch_revert_leaves_nothing_behind(pgmq_dsn: str, sqitch: Sqitch) -> None:
    before = everything(pgmq_dsn)
    sqitch("deploy", pgmq_dsn)
    with psycopg.connect(pgmq_dsn) as connection:
        connection.execute("select dripdrop.start()")
    sqitch("revert", pgmq_dsn)
    assert everything(pgmq_dsn) == before


def test_sqitch_revert_works_before_the_start(pgmq_dsn: str, sqitch: Sqitch) -> None:
    before = everything(pgmq_dsn)
    sqitch("deploy", pgmq_dsn)
    sqitch("revert", pgmq_dsn)
    assert everything(pgmq_dsn) == before


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server whose roles are nobody else's."""
    with EmbeddedServer() as server:
        yield server


def test_the_last_uninstall_on_a_server_drops_the_roles(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        install(server.dsn)
        assert connection.execute(ROLES).fetchone() != (None,)
        uninstall(server.dsn)
        assert connection.execute(ROLES).fetchone() == (None,)


def test_an_uninstall_keeps_the_roles_that_another_database_uses(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        install(server.dsn)
        roles = connection.execute(ROLES).fetchone()
        connection.execute("create database other")
        other = psycopg.conninfo.make_conninfo(server.dsn, dbname="other")
        install(other)
        uninstall(other)
        assert connection.execute(ROLES).fetchone() == roles
