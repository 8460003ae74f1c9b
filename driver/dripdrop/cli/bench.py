"""Commands that measure the engine, each beside something bare in the same run."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, TypeAlias

import typer

from dripdrop.bench import sizes

app = typer.Typer(help="Measure the engine, and something bare beside it.", no_args_is_help=True)

Server: TypeAlias = Annotated[
    str | None, typer.Option("--dsn", help="A server to use; without one an embedded one.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Mode: TypeAlias = Annotated[
    Literal["render", "sql"], typer.Option(help="sql: claim and complete, no rendering.")
]
Turns: TypeAlias = Annotated[int, typer.Option(min=1, help="How often each is measured.")]


@app.command()
def pipeline(
    dsn: Server = None,
    enrollments: Annotated[int, typer.Option(min=1)] = sizes.ENROLLMENTS,
    steps: Annotated[int, typer.Option(min=1)] = sizes.STEPS,
    mode: Mode = "render",
    logic: Annotated[
        bool,
        typer.Option("--logic", help="Again with conditions, transitions and events."),
    ] = False,
    policies: Annotated[
        bool,
        typer.Option("--policies", help="Again with a window, suppressions and limits."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Measure the pipeline, and a bare pgmq loop beside it."""
    from dripdrop.bench import pipeline as benchmark
    from dripdrop.bench.report import report

    if logic and policies:
        raise typer.BadParameter("compare with one of --logic and --policies at a time")
    beside: Literal["logic", "policies"] | None = (
        "logic" if logic else "policies" if policies else None
    )
    measure = partial(
        benchmark.measure, enrollments=enrollments, steps=steps, mode=mode, beside=beside
    )
    report(dsn, measure, json=json)


@app.command()
def enroll(dsn: Server = None, turns: Turns = sizes.ENROLL_TURNS, json: AsJson = False) -> None:
    """Measure enrolment by one, by eight and in bulk, and bare inserts beside it."""
    from dripdrop.bench import enroll as benchmark
    from dripdrop.bench.report import report

    report(dsn, partial(benchmark.measure, turns=turns), json=json)


@app.command()
def tick(
    dsn: Server = None,
    turns: Turns = sizes.TICK_TURNS,
    asleep: Annotated[
        int, typer.Option(min=1, help="How many messages are far from due.")
    ] = sizes.ASLEEP,
    senders: Annotated[
        int, typer.Option(min=1, help="How many senders have a line.")
    ] = sizes.SENDERS,
    json: AsJson = False,
) -> None:
    """Measure deciding what is due, a bare UPDATE beside it, and a tick that finds nothing."""
    from dripdrop.bench import tick as benchmark
    from dripdrop.bench.report import report

    measure = partial(benchmark.measure, turns=turns, asleep=asleep, senders=senders)
    report(dsn, measure, json=json)


@app.command()
def send(
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long a turn takes.")
    ] = sizes.SEND_SECONDS,
    turns: Turns = sizes.SEND_TURNS,
    json: AsJson = False,
) -> None:
    """Measure the channels, at once and from afar, and the bare client libraries beside them."""
    from dripdrop.bench import send as benchmark
    from dripdrop.bench.report import machine, print_result

    print_result(benchmark.measure(seconds=seconds, turns=turns) | machine(), json=json)


@app.command()
def held(
    dsn: Server = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long it is held.")
    ] = sizes.HELD_SECONDS,
    windows: Annotated[
        int, typer.Option(min=3, help="How many rates to take of it.")
    ] = sizes.HELD_WINDOWS,
    enrollments: Annotated[int, typer.Option(min=1)] = sizes.HELD_ENROLLMENTS,
    mode: Mode = "sql",
    json: AsJson = False,
) -> None:
    """Measure sending while another session holds a snapshot, and without it."""
    from dripdrop.bench import held as benchmark
    from dripdrop.bench.report import report

    measure = partial(
        benchmark.measure, seconds=seconds, windows=windows, enrollments=enrollments, mode=mode
    )
    report(dsn, measure, json=json)


@app.command()
def prune(
    dsn: Server = None,
    rows: Annotated[
        int, typer.Option(min=4, help="Rows that are no longer to be kept.")
    ] = sizes.PRUNE_ROWS,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long pages are pruned.")
    ] = sizes.PRUNE_SECONDS,
    windows: Annotated[
        int, typer.Option(min=3, help="How many rates to take of it.")
    ] = sizes.PRUNE_WINDOWS,
    enrollments: Annotated[int, typer.Option(min=1)] = sizes.HELD_ENROLLMENTS,
    mode: Mode = "sql",
    json: AsJson = False,
) -> None:
    """Measure sending while old rows are pruned, and without it."""
    from dripdrop.bench import prune as benchmark
    from dripdrop.bench.report import report

    measure = partial(
        benchmark.measure,
        rows=rows,
        seconds=seconds,
        windows=windows,
        enrollments=enrollments,
        mode=mode,
    )
    report(dsn, measure, json=json)


@app.command()
def grow(
    dsn: Server = None,
    waves: Annotated[int, typer.Option(min=1)] = sizes.WAVES,
    size: Annotated[int, typer.Option(min=1, help="Messages in a wave.")] = sizes.WAVE,
    mode: Mode = "sql",
    json: AsJson = False,
) -> None:
    """Measure wave after wave while the history grows, and the median wave beside each."""
    from dripdrop.bench import grow as benchmark
    from dripdrop.bench.report import report

    report(dsn, partial(benchmark.measure, waves=waves, size=size, mode=mode), json=json)


@app.command(name="all")
def everything(dsn: Server = None, json: AsJson = False) -> None:
    """Measure all of it, in about a quarter of an hour."""
    from dripdrop.bench import everything as benchmark
    from dripdrop.bench.report import report

    report(dsn, benchmark.measure, json=json)
