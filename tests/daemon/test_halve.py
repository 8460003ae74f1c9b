"""A batch that the database refuses is halved down to the row that is to blame."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest

from dripdrop.daemon.halve import halved

pytestmark = pytest.mark.anyio

Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    """A connection with a table that refuses what is not positive."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("create temp table taken (n int check (n > 0))")
        yield connection


class Handing:
    """Hands numbers to the table, and remembers the calls and the refusals."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.calls = 0
        self.refused: list[tuple[int, str | None]] = []

    async def call(self, batch: Sequence[int]) -> None:
        """Hand in a batch."""
        self.calls += 1
        await self.connection.execute("insert into taken select unnest(%s::int[])", [list(batch)])

    async def on_single(self, row: int, error: psycopg.Error) -> None:
        """Remember a refusal."""
        self.refused.append((row, error.sqlstate))

    async def taken(self) -> list[int]:
        """Return what the table has."""
        rows = await (await self.connection.execute("select n from taken order by n")).fetchall()
        return [row[0] for row in rows]


async def test_what_nobody_refuses_is_one_call(connection: Connection) -> None:
    handing = Handing(connection)
    await halved([1, 2, 3], handing.call, handing.on_single)
    assert (handing.calls, await handing.taken()) == (1, [1, 2, 3])


@pytest.mark.parametrize("place", [0, 1, 250, 498, 499])
async def test_one_bad_row_of_500_is_found_in_twenty_calls_and_the_rest_goes_in(
    connection: Connection, place: int
) -> None:
    rows = list(range(1, 501))
    rows[place] = -1
    handing = Handing(connection)
    await halved(rows, handing.call, handing.on_single)
    assert handing.refused == [(-1, "23514")]
    assert await handing.taken() == sorted(set(rows) - {-1})
    assert handing.calls <= 20


async def test_several_bad_rows_are_all_found(connection: Connection) -> None:
    handing = Handing(connection)
    await halved([-3, 1, -2, 2, 3, -1], handing.call, handing.on_single)
    assert [row for row, _ in handing.refused] == [-3, -2, -1]
    assert await handing.taken() == [1, 2, 3]


async def test_nothing_is_no_call(connection: Connection) -> None:
    handing = Handing(connection)
    await halved([], handing.call, handing.on_single)
    assert handing.calls == 0


async def test_a_lost_connection_is_no_rows_fault(connection: Connection) -> None:
    handing = Handing(connection)
    await connection.close()
    with pytest.raises(psycopg.OperationalError):
        await halved([1, 2], handing.call, handing.on_single)
    assert (handing.calls, handing.refused) == (1, [])


async def test_a_read_only_database_is_no_rows_fault(connection: Connection) -> None:
    handing = Handing(connection)
    await connection.execute("set default_transaction_read_only = on")

    async def write(batch: Sequence[int]) -> None:
        handing.calls += 1
        await connection.execute("create table public.written (n int)")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await halved([1, 2], write, handing.on_single)
    assert (handing.calls, handing.refused) == (1, [])
