"""Commands that look after people: what they are in, and what they were sent."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import typer

from dripdrop.cli.database import AsJson, Dsn, Tenant
from dripdrop.cli.output import print_json, print_rows, say
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.settings import resolve_dsn

SequenceKey: TypeAlias = Annotated[
    str | None, typer.Option(help="Only of this sequence.", metavar="KEY")
]
Subscriber: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Only of this one; the type is User unless given.", metavar="[TYPE/]ID"),
]
Whom: TypeAlias = Annotated[
    str, typer.Argument(help="Who; the type is User unless given.", metavar="[TYPE/]ID")
]
State: TypeAlias = Annotated[str | None, typer.Option(help="Only in this state.")]
PageSize: TypeAlias = Annotated[int, typer.Option(help="How many.", min=1, max=10_000)]
After: TypeAlias = Annotated[
    UUID | None, typer.Option(help="Go on after this id, the last one of the page before.")
]


def enrollments(
    subscriber: Subscriber = None,
    sequence: SequenceKey = None,
    state: State = None,
    page_size: PageSize = 100,
    after: After = None,
    tenant: Tenant = None,
    dsn: Dsn = None,
    json: AsJson = False,
) -> None:
    """List enrolments of a subscriber, a sequence or the tenant, the newest first."""
    kind, name = _whom(subscriber)
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).list_enrollments(
            tenant, kind, name, sequence, state, page_size, after
        )
    columns = ("id", "subscriber_type", "subscriber_id", "entry_key", "sequence", "state")
    _print(rows, (*columns, "exit_reason", "started_at"), json)


def messages(
    subscriber: Subscriber = None,
    sequence: SequenceKey = None,
    state: State = None,
    page_size: PageSize = 100,
    after: After = None,
    tenant: Tenant = None,
    dsn: Dsn = None,
    json: AsJson = False,
) -> None:
    """List messages of a subscriber, a sequence or the tenant, the newest first."""
    kind, name = _whom(subscriber)
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).list_messages(
            tenant, kind, name, sequence, state, page_size, after
        )
    columns = ("execution_id", "scheduled_for", "subscriber_type", "subscriber_id", "sequence")
    _print(rows, (*columns, "step", "channel", "recipient", "state", "reason"), json)


def export(whom: Whom, tenant: Tenant = None, dsn: Dsn = None) -> None:
    """Print all that is kept of a subscriber, as one JSON document."""
    with connect(resolve_dsn(dsn)) as connection:
        document = Client(connection).export_subscriber(tenant, *named(whom))
    print(dumps(document, ensure_ascii=False, indent=2))


def erase(
    whom: Whom,
    tenant: Tenant = None,
    dsn: Dsn = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a subscriber with all that is kept of them; suppressions keep a hash."""
    kind, name = named(whom)
    if not yes:
        typer.confirm(f"Erase {kind}/{name}, for good?", abort=True)
    with connect(resolve_dsn(dsn)) as connection:
        counts = Client(connection).erase_subscriber(tenant, kind, name)
    for what, number in counts.items():
        say(f"{what.replace('_', ' ')}: {number}")


def named(subscriber: str) -> tuple[str, str]:
    """Return the type and the id of a subscriber who is written `Type/42`, or `42`."""
    kind, slash, name = subscriber.partition("/")
    return (kind, name) if slash else ("User", subscriber)


def _whom(subscriber: str | None) -> tuple[str, str] | tuple[None, None]:
    return (None, None) if subscriber is None else named(subscriber)


def _print(rows: Sequence[Any], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row._asdict())
    elif rows:
        print_rows(rows, columns)
    else:
        say("there is nothing")
