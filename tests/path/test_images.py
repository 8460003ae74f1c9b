"""The installer on the official images of every supported Postgres."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
from testcontainers.community.postgres import PostgresContainer

from dripdrop.install import install

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists(),
        reason="no Docker daemon",
    ),
]


@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_the_installed_schema_is_whole(version: int) -> None:
    with PostgresContainer(f"postgres:{version}", driver=None) as server:
        dsn = server.get_connection_url()
        install(dsn)
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select * from dripdrop.check_schema()").fetchall() == []
