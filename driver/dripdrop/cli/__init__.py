"""The command `dripdrop`."""

from __future__ import annotations

import sys

import psycopg
import typer

from dripdrop.cli import database, keys, work
from dripdrop.cli.output import stderr
from dripdrop.install import InstallError
from dripdrop.settings import MissingSetting
from dripdrop.vault import VaultError

app = typer.Typer(
    help="Messaging sequences that live in Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
for command in (
    *(database.install, database.uninstall, database.check, database.explain),
    *(keys.keygen, keys.seal, keys.rotate),
    *(work.run, work.bench, work.demo),
):
    app.command()(command)


def main() -> None:
    """Run the command; what a user can put right is one line on standard error, and status 1."""
    try:
        app()
    except (MissingSetting, InstallError, VaultError, psycopg.Error) as error:
        stderr.print(f"dripdrop: {error}", style="red", markup=False, highlight=False)
        hint = error.diag.message_hint if isinstance(error, psycopg.Error) else None
        if hint:
            stderr.print(f"hint: {hint}", markup=False, highlight=False)
        sys.exit(1)
