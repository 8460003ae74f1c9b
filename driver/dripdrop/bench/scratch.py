"""A server to measure on, and a database of it that is dropped afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dripdrop.dsn import understood
from dripdrop.embedded import EmbeddedServer


@contextmanager
def server(dsn: str | None) -> Iterator[str]:
    """Yield the connection string of the server that is named, or of an embedded one."""
    if dsn is not None:
        yield understood(dsn)
        return
    with EmbeddedServer() as embedded:
        yield embedded.dsn


@contextmanager
def scratch_database(server_dsn: str) -> Iterator[str]:
    """Yield the connection string of a database with nothing in it, and drop it at the end."""
    name = f"dripdrop_bench_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )


def value(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> Any:
    """Return the first column of a query's first row, or None."""
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return row[0] if row else None
