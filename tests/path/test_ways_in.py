"""sqitch, `create extension` and the installer give one and the same schema."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import LockNotAvailable, UndefinedTable

from dripdrop.install import install
from tests.conftest import Databases
from tests.path.conftest import ROOT, Catalogue, Sqitch

pytestmark = pytest.mark.slow

Fingerprint = Callable[[str], Catalogue]


@pytest.fixture(scope="module")
def installed(databases: Databases, fingerprint: Fingerprint) -> Iterator[Catalogue]:
    """What the installer leaves in the catalogue."""
    name = databases.create()
    install(databases.dsn(name))
    yield fingerprint(databases.dsn(name))
    databases.drop(name)


def test_sqitch_deploys_what_the_installer_installs(
    pgmq_dsn: str, sqitch: Sqitch, fingerprint: Fingerprint, installed: Catalogue
) -> None:
    sqitch("deploy", pgmq_dsn)
    start(pgmq_dsn)
    assert fingerprint(pgmq_dsn) == installed


@pytest.mark.usefixtures("extension_files")
def test_the_extension_creates_what_the_installer_installs(
    pgmq_dsn: str, fingerprint: Fingerprint, installed: Catalogue
) -> None:
    with psycopg.connect(pgmq_dsn) as connection:
        connection.execute("create extension dripdrop")
    start(pgmq_dsn)
    assert fingerprint(pgmq_dsn) == installed


@pytest.mark.usefixtures("extension_files")
def test_a_dump_of_the_extension_brings_its_rows_back(
    pgmq_dsn: str, databases: Databases, programs: Path
) -> None:
    with psycopg.connect(pgmq_dsn) as connection:
        connection.execute("create extension dripdrop")
        connection.execute("select dripdrop.create_sequence(null, 'onboarding', 'Onboarding')")
    copy = databases.create()
    try:
        dump = subprocess.check_output([programs / "pg_dump", pgmq_dsn])
        subprocess.run(
            [programs / "psql", "-qX", "-v", "ON_ERROR_STOP=1", databases.dsn(copy)],
            input=dump,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        with psycopg.connect(databases.dsn(copy)) as connection:
            assert connection.execute("select key from dripdrop.sequences").fetchall() == [
                ("onboarding",)
            ]
            assert connection.execute("select * from dripdrop.check_schema()").fetchall() == []
    finally:
        databases.drop(copy)


@pytest.mark.usefixtures("extension_files")
def test_an_extension_that_was_changed_is_put_right(pgmq_dsn: str) -> None:
    with psycopg.connect(pgmq_dsn, autocommit=True) as connection:
        connection.execute("create extension dripdrop")
        connection.execute("select dripdrop.create_sequence(null, 'onboarding', 'Onboarding')")
        members = connection.execute(MEMBERS).fetchall()
        for harm in (
            "create or replace function dripdrop.version() returns text return '0.0.9'",
            "alter type dripdrop._send_result add attribute note text",
            "drop trigger steps_of_a_draft on dripdrop.steps",
            "revoke execute on function dripdrop.tick(int) from dripdrop_sender",
        ):
            connection.execute(harm)
        (installed,) = connection.execute(INSTALLED).fetchone() or ("",)
        connection.execute(f"alter extension dripdrop update to '{installed}-repaired'".encode())
        connection.execute("alter extension dripdrop update")
        assert connection.execute("select * from dripdrop.check_schema()").fetchall() == []
        assert connection.execute(INSTALLED).fetchone() == (installed,)
        assert connection.execute(MEMBERS).fetchall() == members
        assert connection.execute("select key from dripdrop.sequences").fetchall() == [
            ("onboarding",)
        ]


INSTALLED = "select extversion from pg_extension where extname = 'dripdrop'"
MEMBERS = """
  select pg_describe_object(d.classid, d.objid, 0)
  from pg_depend as d
  join pg_extension as e on e.oid = d.refobjid and e.extname = 'dripdrop'
  where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  order by 1
"""


@pytest.mark.usefixtures("extension_files")
def test_a_refusal_of_the_extension_can_be_read(pgmq_dsn: str) -> None:
    with psycopg.connect(pgmq_dsn, autocommit=True) as connection:
        connection.execute("create extension dripdrop")
        connection.execute("alter table dripdrop.steps alter name drop not null")
        (installed,) = connection.execute(INSTALLED).fetchone() or ("",)
        with pytest.raises(psycopg.Error) as refusal:
            connection.execute(
                f"alter extension dripdrop update to '{installed}-repaired'".encode()
            )
    said = refusal.value.diag
    assert (refusal.value.sqlstate, said.message_detail) == (
        "ZD123",
        "column steps.name is different",
    )
    assert "check_schema()" in str(said.message_hint)
    assert len(str(said.context).splitlines()) < 20


def test_a_table_that_a_later_version_takes_away_is_no_fault_of_the_first(dsn: str) -> None:
    verify = (ROOT / "verify/tables.sql").read_bytes()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop table dripdrop.short_links cascade")
        connection.execute(verify)
        connection.execute("drop function dripdrop._expected() cascade")
        with pytest.raises(UndefinedTable, match="short_links"):
            connection.execute(verify)


def test_a_script_that_meets_an_open_transaction_ends_before_anybody_is_in_a_deadlock(
    dsn: str,
) -> None:
    with psycopg.connect(dsn) as application, psycopg.connect(dsn, autocommit=True) as operator:
        application.execute("select dripdrop.create_sequence(null, 'onboarding', 'Onboarding')")
        with pytest.raises(LockNotAvailable):
            operator.execute((ROOT / "deploy/code.sql").read_bytes())
        application.execute("select dripdrop.create_sequence(null, 'second', 'Second')")


def start(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("select dripdrop.start()")
