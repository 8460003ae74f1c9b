"""The command that serves what recipients reach."""

from __future__ import annotations

from typing import Annotated

import typer

from dripdrop.cli.database import Dsn
from dripdrop.process.reporting import stderr
from dripdrop.process.settings import resolve_dsn


def web(
    dsn: Dsn = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8080,
    connections: Annotated[
        int, typer.Option(min=1, help="How many connections there may be at a time.")
    ] = 500,
    connections_per_address: Annotated[
        int,
        typer.Option(min=0, help="How many of them from one address; 0 is any number of them."),
    ] = 250,
) -> None:
    """Serve the pages on which recipients unsubscribe."""
    try:
        from dripdrop.web import server
    except ModuleNotFoundError as error:
        stderr.out(f"dripdrop: {error.name} is missing", highlight=False)
        stderr.out("hint: pip install 'dripdrop-postgres[web]'", highlight=False)
        raise typer.Exit(1) from None
    raise typer.Exit(
        server.main(
            resolve_dsn(dsn),
            host=host,
            port=port,
            connections=connections,
            per_address=connections_per_address or None,
        )
    )
