"""What somebody registered is theirs: no upgrade of the code takes it away, and no revert."""

from __future__ import annotations

import psycopg
from psycopg.rows import namedtuple_row

from scripts.sources import ROOT
from tests.engine import Engine

TEXT = [{"field": "text", "description": "The message."}]


def test_what_is_registered_survives_the_code(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection:
        engine = Engine(connection)
        engine.register_channel("fax", TEXT, "phone", "fax")
        engine.register_provider("fax", "acme")
        engine.register_provider("email", "acme", TEXT)
        before = (engine.channels(), engine.providers(), engine.fields())
        for script in ("deploy/code.sql", "revert/code.sql", "deploy/code.sql"):
            connection.execute((ROOT / script).read_bytes())
        assert (engine.channels(), engine.providers(), engine.fields()) == before


def test_what_comes_with_the_code_is_put_right_by_it(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection:
        engine = Engine(connection)
        before = (engine.channels(), engine.provider_settings())
        connection.execute("update dripdrop.channels set retry_for = '1 day', own_headers = null")
        connection.execute("delete from dripdrop.fields where field = 'host'")
        connection.execute((ROOT / "deploy/code.sql").read_bytes())
        assert (engine.channels(), engine.provider_settings()) == before
