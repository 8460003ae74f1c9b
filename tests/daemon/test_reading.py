"""A value that Python cannot hold costs its own row and no other."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads

from dripdrop.daemon.reading import Unreadable, read_json, unreadable
from tests.daemon.conftest import OpenWorker
from tests.engine import Engine


@pytest.mark.parametrize("document", ["1e400", "-1e400", '{"a": [{"b": 1e309}]}'])
def test_a_number_beyond_a_double_is_unreadable_and_the_rest_of_the_result_is_not(
    dsn: str, document: str
) -> None:
    with psycopg.connect(dsn, row_factory=namedtuple_row) as connection:
        set_json_loads(read_json, connection)
        rows = connection.execute(
            "select n, v::jsonb as value from (values (1, '{}'), (2, %s), (3, '[1]')) as t (n, v)",
            [document],
        ).fetchall()
    assert [unreadable(row) for row in rows[::2]] == [None, None]
    assert (unreadable(rows[1]) or "").startswith("value: number is infinity")


def test_what_is_nested_deeper_than_the_parser_goes_is_unreadable() -> None:
    assert isinstance(read_json("[" * 5000 + "]" * 5000), Unreadable)


def test_the_reason_holds_no_value() -> None:
    value = read_json('{"name": "sesame-7316", "n": 1e400}')
    assert isinstance(value, Unreadable)
    assert "sesame" not in value.reason


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_row_that_cannot_be_read_fails_with_a_reason_and_the_others_are_rendered(
    mailing: Engine, open_worker: OpenWorker, place: int
) -> None:
    joined = [mailing.join(name) for name in ("ann", "eve", "sam")]
    poisoned = joined.pop(place)
    with mailing.unguarded():
        mailing.connection.execute(
            "update dripdrop.enrollments set data = data || '{\"big\": 1e400}' where id = %s",
            [poisoned.id],
        )
    async with open_worker() as worker:
        await worker.run_until_idle()
    failed = mailing.last(poisoned.id)
    assert (failed.state, failed.reason) == ("failed", "unreadable")
    assert failed.error_message.startswith("variables: number")
    assert {mailing.last(each.id).state for each in joined} == {"sent"}
    assert mailing.ledger() == []
