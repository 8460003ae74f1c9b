"""The embedded server: up, down, crashed and kept."""

from __future__ import annotations

import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dripdrop.embedded import EmbeddedServer


def value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server that is up."""
    with EmbeddedServer() as server:
        yield server


@pytest.mark.slow
def test_a_temporary_server_leaves_no_files() -> None:
    with EmbeddedServer() as server:
        assert server.directory.is_dir()
        folder = server.socket_directory
    assert not folder.exists()


@pytest.mark.slow
def test_it_listens_on_no_network_address(server: EmbeddedServer) -> None:
    assert value(server.dsn, "show listen_addresses") == ""
    assert stat.S_IMODE(server.socket_directory.stat().st_mode) == 0o700


def test_writes_are_durable(server: EmbeddedServer) -> None:
    assert value(server.dsn, "show fsync") == "on"


@pytest.mark.slow
def test_committed_rows_survive_a_crash(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn) as connection:
        connection.execute("create table t as select 1 as n")
    server.restart("immediate")
    assert value(server.dsn, "select n from t") == 1


@pytest.mark.slow
def test_a_given_directory_keeps_its_data() -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)  # for root's server user
        directory = Path(parent) / "data"
        with EmbeddedServer(directory) as server, psycopg.connect(server.dsn) as connection:
            connection.execute("create table t as select 1 as n")
        with EmbeddedServer(directory) as server:
            assert value(server.dsn, "select n from t") == 1


@pytest.mark.slow
def test_a_kept_server_is_still_up_after_the_block() -> None:
    with EmbeddedServer(keep=True) as server:
        pass
    try:
        assert value(server.dsn, "select 1") == 1
    finally:
        server.keep = False
        server.__exit__(None, None, None)


def test_psql_reaches_it(server: EmbeddedServer) -> None:
    printed = subprocess.check_output(
        [server.psql, server.dsn, "--no-psqlrc", "-Atc", "select 40 + 2"], text=True
    )
    assert printed == "42\n"


def test_a_failed_start_tells_what_the_server_said() -> None:
    server = EmbeddedServer()
    server.directory.joinpath("stray").touch()
    with pytest.raises(RuntimeError, match="exists but is not empty"), server:
        pass
    assert not server.socket_directory.exists()
