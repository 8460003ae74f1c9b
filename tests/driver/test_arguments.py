"""What the database cannot hold is refused in Python, with its place, before anything is sent."""

from __future__ import annotations

import json
import math
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import psycopg
import pytest
from psycopg.types.json import set_json_dumps

from dripdrop.arguments import written_json
from dripdrop.client import AsyncClient, Client
from dripdrop.errors import InvalidArgument
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine

NUL, HALF = "a\0b", "a\ud83db"

CALLS: dict[str, tuple[Any, str]] = {
    "NUL in data": ({"data": {"name": NUL}}, "data.name"),
    "NUL deep in data": (
        {"data": {"orders": [{}, {"items": ["a", NUL]}]}},
        "data.orders[1].items[1]",
    ),
    "NUL in a key": ({"data": {NUL: 1}}, "data.a\\0b"),
    "half a pair": ({"data": {"name": HALF}}, "data.name"),
    "half a pair in a key": ({"data": {HALF: 1}}, "data.a\\ud83db"),
    "infinity": ({"data": {"score": math.inf}}, "data.score"),
    "minus infinity": ({"data": {"score": [-math.inf]}}, "data.score[0]"),
    "not a number": ({"metadata": {"score": math.nan}}, "metadata.score"),
    "very many digits": ({"data": {"score": 10**5000}}, "data.score"),
    "NUL in a text": ({"entry_key": NUL}, "entry_key"),
    "half a pair in a text": ({"entry_key": HALF}, "entry_key"),
    "NUL in the id": ({"subscriber_id": NUL}, "subscriber_id"),
    "NUL in the tenant": ({"tenant_key": NUL}, "tenant_key"),
}

GOOD = {
    "tenant_key": TENANT,
    "sequence": "onboarding",
    "subscriber_type": "User",
    "subscriber_id": "sam",
    "data": {"email": "sam@example.com"},
}


class Unconnected:
    """A connection that nothing may be sent over."""

    def cursor(self, **_: Any) -> Any:
        raise AssertionError("something was to be sent")


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_sent(call: str) -> None:
    fields, place = CALLS[call]
    client = Client(Unconnected())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refusal:
        client.enroll(**GOOD | fields)
    assert f'at "{place}":' in str(refusal.value)
    assert refusal.value.sqlstate == "ZD201"
    str(refusal.value).encode()
    assert "\0" not in str(refusal.value)


@pytest.mark.anyio
@pytest.mark.parametrize("call", CALLS)
async def test_nothing_is_sent_asynchronously(call: str) -> None:
    fields, place = CALLS[call]
    client = AsyncClient(Unconnected())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refusal:
        await client.enroll(**GOOD | fields)
    assert f'at "{place}":' in str(refusal.value)


def test_what_contains_itself_is_refused() -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    with pytest.raises(InvalidArgument):
        written_json(data, "data")
    tower: Any = []
    for _ in range(100_000):
        tower = [tower]
    with pytest.raises(InvalidArgument):
        written_json(tower, "data")


@pytest.mark.parametrize(
    "value", ["\\u0000", "\\\\u0000", "😀", "\ufeff", "\x01", {"\\u0000": "\\ud83d"}, 1e308, None]
)
def test_what_only_looks_like_it_is_written_as_it_is(value: Any) -> None:
    assert json.loads(written_json({"a": value}, "data")) == {"a": value}


def test_what_the_connection_knows_how_to_write_is_written_by_it(
    engine: Engine, db: psycopg.Connection[Any]
) -> None:
    engine.author()
    set_json_dumps(partial(json.dumps, default=str), db)
    address = IPv4Address("192.0.2.7")
    try:
        sam = engine.join(data={"email": "sam@example.com", "address": address})
    finally:
        set_json_dumps(json.dumps, db)
    assert sam.data["address"] == "192.0.2.7"


@pytest.mark.parametrize(
    "data", ['{"a": NaN}', '{"a": -Infinity}', '{"a": "\\u0000"}', '{"a": "\\ud83d"}']
)
def test_the_command_says_what_is_wrong_and_where(dsn: str, data: str) -> None:
    result = dripdrop(
        "simulate", "--sequence", "onboarding", "--data", data, "--dsn", dsn, "--tenant", TENANT
    )
    assert result.returncode == 1
    assert 'at "data.a":' in result.stderr
    assert "Traceback" not in result.stderr
