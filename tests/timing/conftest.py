"""A database for the functions that write nothing: one for the whole module."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.conftest import Databases
from tests.engine import Engine


@pytest.fixture(scope="module")
def shared(databases: Databases, template: str) -> Iterator[Engine]:
    """The SQL API on a database that the tests of a module share."""
    name = databases.create(template)
    with psycopg.connect(
        databases.dsn(name), autocommit=True, row_factory=namedtuple_row
    ) as connection:
        yield Engine(connection)
    databases.drop(name)
