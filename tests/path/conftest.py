"""The three ways in, and what each leaves in the catalogue."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Protocol, TypeAlias

import psycopg
import pytest
from pgmq import install_pgmq_from_sql
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).parents[2]

Catalogue: TypeAlias = dict[tuple[str, str], str]
"""(kind, name) → definition."""


class Sqitch(Protocol):
    """Runs a sqitch command on a database, in a checkout."""

    def __call__(self, command: str, dsn: str, *arguments: str, root: Path = ROOT) -> None:
        """Fail with what sqitch says if it fails."""


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[str], Catalogue]:
    """Return a function that reads what the schema dripdrop is made of, and counts its rows."""
    query = Path(__file__).with_name("fingerprint.sql").read_text()

    def read(dsn: str) -> Catalogue:
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(query).fetchall()
            catalogue = {(kind, name): definition for kind, name, definition in rows}
            for kind, name in list(catalogue):
                if kind == "relation":
                    relation = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
                    count = connection.execute(
                        sql.SQL("select count(*) from {}").format(relation)
                    ).fetchone()
                    catalogue["rows", name] = str(count)
        return catalogue

    return read


@pytest.fixture
def pgmq_dsn(empty_dsn: str) -> str:
    """A superuser's DSN of a fresh database with nothing but pgmq in it."""
    with psycopg.connect(empty_dsn) as connection:
        install_pgmq_from_sql(conn=connection)
    return empty_dsn


@pytest.fixture
def sqitch() -> Sqitch:
    """Return a function that runs a sqitch command on a database; skips without sqitch."""
    program = shutil.which("sqitch")
    if program is None:
        pytest.skip("sqitch is not installed")

    def run(command: str, dsn: str, *arguments: str, root: Path = ROOT) -> None:
        where = conninfo_to_dict(dsn)
        environment = {
            "PGHOST": str(where["host"]),
            "PGUSER": str(where["user"]),
            "PGPORT": str(where.get("port", 5432)),
            "SQITCH_FULLNAME": "Test",
            "SQITCH_EMAIL": "test@example.com",
        }
        confirmed = ["-y"] if command == "revert" else []
        result = subprocess.run(
            [program, command, f"db:pg:{where['dbname']}", *confirmed, *arguments],
            cwd=root,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr

    return run


def pg_config(dsn: str, name: str) -> Path:
    """Return one of the server's folders, as the server names it."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select setting from pg_config where name = %s", [name]).fetchone()
    assert row is not None
    return Path(row[0])


@pytest.fixture(scope="session")
def programs(server_dsn: str) -> Path:
    """The folder of the server's programs; skips where it is on another machine."""
    folder = pg_config(server_dsn, "BINDIR")
    if not (folder / "pg_dump").exists():
        pytest.skip("the server's programs are not on this machine")
    return folder


def extension_folder(dsn: str) -> Path:
    """Return the folder in which the server looks for extensions."""
    return pg_config(dsn, "SHAREDIR") / "extension"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that lock the same folder waiting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture
def extension_files(server_dsn: str, programs: Path) -> Iterator[None]:
    """`make install-extension` into the server's own folder; skips where that is not ours.

    One test at a time: the servers of two processes share the folder, and the checkout.
    """
    folder = extension_folder(server_dsn)
    if not os.access(folder, os.W_OK):
        pytest.skip("the server's extension folder is not writable")
    with locked(ROOT), locked(folder):
        subprocess.run(
            ["make", "install-extension", f"PG_CONFIG={programs / 'pg_config'}"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        yield
        for path in [folder / "dripdrop.control", *folder.glob("dripdrop--*.sql")]:
            path.unlink()
