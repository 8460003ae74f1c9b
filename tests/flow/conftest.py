"""A database that the tests share: each leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.conftest import Databases


@pytest.fixture(scope="package")
def shared(databases: Databases, template: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to a database for all tests here."""
    name = databases.create(template)
    with psycopg.connect(
        databases.dsn(name), autocommit=True, row_factory=namedtuple_row
    ) as connection:
        yield connection
    databases.drop(name)


@pytest.fixture
def db(shared: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The connection, in a transaction that is rolled back."""
    with shared.transaction(force_rollback=True):
        yield shared
