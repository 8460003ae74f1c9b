"""sqitch, `create extension` and the installer give one and the same schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from dripdrop.install import install
from tests.conftest import Databases
from tests.path.conftest import Catalogue

Fingerprint = Callable[[str], Catalogue]
Sqitch = Callable[[str, str], None]


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


def start(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("select dripdrop.start()")
