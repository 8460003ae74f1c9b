"""What goes on, on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import groupby
from typing import Annotated, Any

import typer

from dripdrop.cli.database import AsJson, Dsn
from dripdrop.cli.output import print_json, print_rows, say, stdout
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.settings import resolve_dsn

_COLUMNS = ("name", "tenant_key", "number", "since", "detail")


def status(
    dsn: Dsn = None,
    watch: Annotated[
        float | None,
        typer.Option("--watch", min=0.5, help="Show it again every so many seconds."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show workers, what waits, what senders did, pauses, what is held, and what failed today.

    `number` is what a worker has in flight, what a sender has sent in the last hour, or how many
    messages; `since` is when a worker was last seen, when a sender has last sent, or since when.
    """
    while True:
        with connect(resolve_dsn(dsn)) as connection:
            rows = Client(connection).status()
        if watch is not None and stdout.is_terminal:
            stdout.clear()
        _show(rows, json=json)
        if watch is None:
            return
        time.sleep(watch)


def _show(rows: Iterable[Any], *, json: bool) -> None:
    for part, lines in groupby(rows, key=lambda row: row.part):
        if json:
            for line in lines:
                print_json(line._asdict())
        else:
            say(part)
            print_rows(list(lines), _COLUMNS)
            say("")
