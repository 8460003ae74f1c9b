"""The engine for tests with many examples, which leave nothing behind."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.engine import Engine


@pytest.fixture(scope="session")
def shared(shared_connection: psycopg.Connection[Any]) -> Engine:
    """The SQL API on the database that tests share."""
    return Engine(shared_connection)
