"""The command `dripdrop`."""

from __future__ import annotations

import typer

from dripdrop.cli import (
    authoring,
    bench,
    database,
    hooks,
    importing,
    journeys,
    keys,
    people,
    prune,
    senders,
    sending,
    status,
    web,
    work,
)
from dripdrop.cli.errors import reported

app = typer.Typer(
    help="Messaging sequences that live in Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
for command in (
    *(database.install, database.uninstall, database.check),
    *(authoring.plan, authoring.apply, authoring.validate, authoring.schema),
    *(journeys.explain, journeys.simulate, journeys.forecast),
    importing.enroll,
    *(people.enrollments, people.messages, people.export, people.erase),
    *(sending.pause_sending, sending.resume_sending, sending.pauses),
    *(keys.keygen, keys.seal, keys.rotate),
    hooks.test_hook,
    *(senders.adapters, senders.circuits, senders.pause_adapter, senders.resume_adapter),
    *(work.run, status.status, prune.prune, web.web, work.demo),
):
    app.command()(command)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command."""
    with reported():
        app()
