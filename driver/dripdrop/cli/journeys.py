"""Commands that say what became of people in a sequence, and what will."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import typer

from dripdrop.cli.database import AsJson, Dsn, Tenant
from dripdrop.cli.output import cell, print_json, print_rows, print_table, say
from dripdrop.cli.people import named
from dripdrop.cli.times import parse_time
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.errors import EnrollmentNotFound
from dripdrop.process.settings import resolve_dsn


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}") from None


SequenceKey: TypeAlias = Annotated[str, typer.Option(help="The sequence's key.", metavar="KEY")]
Horizon: TypeAlias = Annotated[
    str, typer.Option(help="How far to look ahead: an interval.", metavar="INTERVAL")
]


def explain(
    enrollment_id: Annotated[UUID | None, typer.Argument(help="The enrolment's id.")] = None,
    sequence: Annotated[
        str | None,
        typer.Option(help="Instead of the id: the sequence's key, and who.", metavar="KEY"),
    ] = None,
    subscriber: Annotated[
        str | None, typer.Option(help="Who; the type is User unless given.", metavar="[TYPE/]ID")
    ] = None,
    entry_key: Annotated[
        str, typer.Option(help="Which of the subscriber's enrolments, if there are several.")
    ] = "",
    tenant: Tenant = None,
    dsn: Dsn = None,
    json: AsJson = False,
) -> None:
    """Show what became of an enrolment's steps, why its next message waits, and what comes next."""
    if enrollment_id is None:
        named_once = sequence is not None and subscriber is not None
    else:
        named_once = sequence is None and subscriber is None and not entry_key
    if not named_once:
        raise typer.BadParameter("give the enrolment's id, or --sequence and --subscriber")
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        if enrollment_id is None:
            enrollment_id = _enrollment(client, tenant, str(sequence), str(subscriber), entry_key)
        rows = client.explain(tenant, enrollment_id)
    if json:
        for row in rows:
            print_json(row._asdict())
        return
    past = [row for row in rows if row.phase == "past"]
    if past:
        print_table(
            ("at", "step", "outcome", "reason", "detail"),
            [(row.at, _step(row), row.next_action, _why(row), row.detail) for row in past],
        )
    for row in rows:
        if row.phase == "end":
            why = "" if row.reason == row.detail else f": {row.reason}"
            say(f"{row.detail} at {cell(row.at)}{why}")
    if not rows:
        say("nothing is planned")
    waiting = [row for row in rows if row.phase == "now"]
    for step, gates in groupby(waiting, key=_step):
        _print_gates(step, list(gates), after_something=bool(past) or step != _step(waiting[0]))


def _enrollment(
    client: Client, tenant: str | None, sequence: str, subscriber: str, entry_key: str
) -> UUID:
    kind, name = named(subscriber)
    enrollment = client.get_enrollment(tenant, sequence, kind, name, entry_key)
    if enrollment is None:
        entry = f' for entry "{entry_key}"' if entry_key else ""
        raise EnrollmentNotFound(f'no enrolment of "{kind}/{name}"{entry} in sequence "{sequence}"')
    found: UUID = enrollment.id
    return found


def _step(row: Any) -> str:
    """Return a step's key, with the number of its turn where it is not the first."""
    return f"{row.step} #{row.occurrence + 1}" if row.occurrence else str(row.step)


def _why(row: Any) -> str | None:
    return None if row.reason == row.next_action else row.reason


def _print_gates(step: str, gates: Sequence[Any], *, after_something: bool) -> None:
    first = gates[0]
    if after_something:
        say("")
    say(f"{step}: {first.next_action}" + (f" at {cell(first.next_at)}" if first.next_at else ""))
    print_rows(gates, ("gate", "open", "reason", "until", "detail"))


def simulate(
    sequence: Annotated[
        str | None, typer.Option(help="The key of a sequence; not with --enrollment.")
    ] = None,
    data: Annotated[
        Any,
        typer.Option(
            parser=_document,
            help="The subscriber's data, an object; of somebody who is there, what would change.",
            metavar="JSON",
        ),
    ] = None,
    horizon: Horizon = "30 days",
    events: Annotated[
        Any,
        typer.Option(
            parser=_document,
            help="What would happen meanwhile: "
            """[{"at": "2 days", "event_key": "order_completed"}].""",
            metavar="JSON",
        ),
    ] = "[]",
    hooks: Annotated[
        Any,
        typer.Option(
            parser=_document,
            help="""What hooks would answer: {"lead_score": 85}.""",
            metavar="JSON",
        ),
    ] = "{}",
    version: Annotated[
        int | None, typer.Option(help="Its version, active or not; else the active one.")
    ] = None,
    start_at: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_time,
            help="When it would begin; UTC unless it says otherwise.",
            metavar="TIME",
        ),
    ] = None,
    enrollment: Annotated[
        UUID | None, typer.Option(help="An enrolment: how it goes on.", metavar="ID")
    ] = None,
    subscriber: Annotated[
        str | None,
        typer.Option(
            help="A subscriber of the sequence; the type is User unless given.",
            metavar="[TYPE/]ID",
        ),
    ] = None,
    tenant: Tenant = None,
    dsn: Dsn = None,
    json: AsJson = False,
) -> None:
    """Show what would happen to a subscriber, made up or real, and leave nothing behind."""
    who = None if subscriber is None else named(subscriber)
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).simulate(
            tenant,
            sequence,
            data,
            horizon,
            events,
            hooks,
            version,
            start_at,
            enrollment,
            who and who[1],
            who[0] if who else "User",
        )
    _print(rows, ("at", "step_key", "channel", "action", "reason", "recipient"), json, horizon)


def forecast(
    sequence: SequenceKey,
    horizon: Horizon = "30 days",
    time_zone: Annotated[str, typer.Option(help="Whose days are counted.")] = "UTC",
    tenant: Tenant = None,
    dsn: Dsn = None,
    json: AsJson = False,
) -> None:
    """Count the messages that a sequence's active enrolments would be sent, by day and step."""
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).forecast(tenant, sequence, horizon, time_zone)
    _print(rows, ("day", "step_key", "channel", "messages"), json, horizon)


def _print(rows: Sequence[Any], columns: Sequence[str], as_json: bool, horizon: str) -> None:
    if as_json:
        for row in rows:
            print_json(row._asdict())
    elif rows:
        print_rows(rows, columns)
    else:
        say(f"nothing would happen within {horizon}")
