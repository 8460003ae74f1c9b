"""sqitch, `create extension` and the installer give one and the same schema."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from dripdrop.install import install
from tests.conftest import Databases
from tests.path.conftest import ROOT, Catalogue, Sqitch

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
