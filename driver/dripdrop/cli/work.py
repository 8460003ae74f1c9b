"""Commands that run the engine: the daemon, the benchmark and the demo."""

from __future__ import annotations

from typing import Annotated, Literal

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


def bench(
    what: Annotated[Literal["pipeline"], typer.Argument()] = "pipeline",
    dsn: Annotated[
        str | None, typer.Option(help="A server to use; without one an embedded one.")
    ] = None,
    enrollments: Annotated[int, typer.Option(min=1)] = 20_000,
    steps: Annotated[int, typer.Option(min=1)] = 3,
    mode: Annotated[
        Literal["render", "sql"], typer.Option(help="sql: claim and complete, no rendering.")
    ] = "render",
    logic: Annotated[
        bool,
        typer.Option("--logic", help="Then again with conditions, transitions and events."),
    ] = False,
    policies: Annotated[
        bool,
        typer.Option("--policies", help="Then again with a window, suppressions and limits."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the pipeline, and a bare pgmq loop beside it."""
    from dripdrop import bench as benchmark

    if logic and policies:
        raise typer.BadParameter("compare with one of --logic and --policies at a time")
    beside: Literal["logic", "policies"] | None = (
        "logic" if logic else "policies" if policies else None
    )
    raise typer.Exit(
        benchmark.main(
            dsn, enrollments=enrollments, steps=steps, mode=mode, beside=beside, json=json
        )
    )


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server up.")] = False,
) -> None:
    """Run fourteen days of an onboarding sequence in twenty seconds."""
    from dripdrop import demo as demonstration

    raise typer.Exit(demonstration.main(keep=keep))
