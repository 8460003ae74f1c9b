"""Two connections that share a clock, and the two-step journey most tests send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from tests.conftest import Clock
from tests.protocol import add_adapter, add_sequence


@pytest.fixture
def mail(db: psycopg.Connection[Any], clock: Clock) -> UUID:
    """The id of the default sender for email, over SMTP."""
    return add_adapter(db)


@pytest.fixture
def journey(db: psycopg.Connection[Any], mail: UUID) -> None:
    """The sequence `welcome`: `first` at once, `second` after a day."""
    add_sequence(db)


@pytest.fixture
def other(dsn: str, clock: Clock) -> Iterator[psycopg.Connection[Any]]:
    """A second connection, at the same time as `db`."""
    with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection:
        clock.connections = (*clock.connections, connection)
        clock.set(clock.now)
        yield connection
        clock.connections = clock.connections[:-1]
