"""Ask an embedded server what the sources make of a fresh database, for check_schema() to expect.

Prints the rows of `dripdrop._catalogue()` as JSON; scripts/build.py puts them into `code`.
"""

from __future__ import annotations

import json

import psycopg

from dripdrop.embedded import EmbeddedServer
from scripts.changes import guard_sql
from scripts.replaceable import code_sql
from scripts.sources import tables_sql


def main() -> None:
    """Print the rows."""
    with EmbeddedServer() as server, psycopg.connect(server.dsn) as connection:
        for text in (guard_sql(), tables_sql(), code_sql([])):
            connection.execute(text.encode())
        rows = connection.execute(
            "select kind, name, definition from dripdrop._catalogue() order by kind, name"
        )
        print(json.dumps(rows.fetchall()))


if __name__ == "__main__":
    main()
