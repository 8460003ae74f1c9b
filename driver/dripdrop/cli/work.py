"""Commands that run the engine: the daemon and the demo."""

from __future__ import annotations

from typing import Annotated

import typer

from dripdrop.cli.database import Dsn
from dripdrop.process.settings import resolve_dsn


def run(
    dsn: Dsn = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="Do what is due, then stop.")] = False,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Messages under way at a time, per channel and worker.")
    ] = 1000,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds to finish what is being sent, once told to stop.")
    ] = 20.0,
) -> None:
    """Run the daemon: tick, hooks, render, send, record."""
    from dripdrop.daemon import Settings
    from dripdrop.daemon import run as daemon

    settings = Settings(in_flight=in_flight, grace=grace)
    raise typer.Exit(daemon.main(resolve_dsn(dsn), settings, workers=workers, once=once))


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server up.")] = False,
) -> None:
    """Run fourteen days of an onboarding sequence in twenty seconds."""
    from dripdrop import demo as demonstration

    raise typer.Exit(demonstration.main(keep=keep))
