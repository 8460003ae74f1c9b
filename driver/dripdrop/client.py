"""The SQL API from Python: `Client` for a connection, `AsyncClient` for an async one."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from dripdrop import errors as errors  # psycopg raises what it registers
from dripdrop.statements import Statements


class Client(Statements[Any, list[Any], Any]):
    """Calls DripDrop's functions on a psycopg connection.

    It neither begins nor commits: what it does belongs to the connection's transaction, with the
    application's own statements. Rows are named tuples::

        with psycopg.connect(dsn) as connection:
            connection.execute("insert into users …")
            enrollment = Client(connection).enroll(None, "onboarding", "user", "42", {"email": …})

    Raises:
        DripdropError: the engine refused, see `dripdrop.errors`; `InvalidArgument` before anything
            is sent where a text or document cannot be stored at all.
        psycopg.Error: anything else the server says.
        TypeError: the connection is none of psycopg 3's; the message says where to find that.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Use a connection, which stays the caller's."""
        self.connection = connection

    def _cursor(self, query: sql.Composed, values: Mapping[str, Any]) -> psycopg.Cursor[Any]:
        cursor: psycopg.Cursor[Any] = _cursor_of(self.connection)
        return cursor.execute(query, values)

    def _one(self, query: sql.Composed, values: Mapping[str, Any]) -> Any:
        return self._cursor(query, values).fetchone()

    def _many(self, query: sql.Composed, values: Mapping[str, Any]) -> list[Any]:
        return self._cursor(query, values).fetchall()

    def _value(self, query: sql.Composed, values: Mapping[str, Any]) -> Any:
        row = self._cursor(query, values).fetchone()
        return None if row is None else row[0]


class AsyncClient(Statements[Awaitable[Any], Awaitable[list[Any]], Awaitable[Any]]):
    """`Client` for an async connection: the same methods, to be awaited."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Use a connection, which stays the caller's."""
        self.connection = connection

    async def _cursor(
        self, query: sql.Composed, values: Mapping[str, Any]
    ) -> psycopg.AsyncCursor[Any]:
        cursor: psycopg.AsyncCursor[Any] = _cursor_of(self.connection)
        return await cursor.execute(query, values)

    async def _one(self, query: sql.Composed, values: Mapping[str, Any]) -> Any:
        return await (await self._cursor(query, values)).fetchone()

    async def _many(self, query: sql.Composed, values: Mapping[str, Any]) -> list[Any]:
        return await (await self._cursor(query, values)).fetchall()

    async def _value(self, query: sql.Composed, values: Mapping[str, Any]) -> Any:
        row = await (await self._cursor(query, values)).fetchone()
        return None if row is None else row[0]


def _cursor_of(connection: Any) -> Any:
    """Return a cursor of psycopg 3, or say whose connection it is and where that is in it."""
    try:
        return connection.cursor(row_factory=namedtuple_row)
    except (AttributeError, TypeError):
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise TypeError(
            f"not a connection of psycopg 3: {kind}. SQLAlchemy has it as "
            "connection.connection.driver_connection, within `with engine.begin() as connection:` "
            "and of an engine postgresql+psycopg://; Django as connection.connection after "
            "connection.ensure_connection(), with psycopg 3 installed. From another driver, "
            "psycopg2 for example, call the functions in SQL: select dripdrop.enroll(…)"
        ) from None
