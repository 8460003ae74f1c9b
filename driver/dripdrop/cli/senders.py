"""Commands that show senders, pause them and let them go on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

import typer

from dripdrop.cli.database import AsJson, Dsn, Tenant
from dripdrop.cli.output import cell, print_json, print_rows, say
from dripdrop.cli.times import parse_time
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.errors import AdapterNotFound
from dripdrop.process.settings import resolve_dsn

_COLUMNS = (
    *("name", "channel", "provider", "is_default", "active"),
    *("health_state", "resting_until", "resting_reason", "last_send_at"),
)

_CIRCUIT = (
    *("server", "state", "reason", "until", "waiting"),
    *("faults", "probes", "started_at", "ended_at", "detail"),
)

Named: TypeAlias = Annotated[str, typer.Argument(metavar="ADAPTER", help="Its name, or its id.")]


def adapters(tenant: Tenant = None, dsn: Dsn = None, json: AsJson = False) -> None:
    """List the senders of a tenant, whether they are on, and until when and why they rest."""
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).list_channel_adapters(tenant)
    if json:
        for row in rows:
            record = row._asdict()
            del record["credentials"]
            print_json(record)
    elif rows:
        print_rows(rows, _COLUMNS)
    else:
        say("there is no sender")


def circuits(tenant: Tenant = None, dsn: Dsn = None, json: AsJson = False) -> None:
    """List the senders and hooks whose server is away, or was in the last thirty days."""
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).list_circuits(tenant)
    if json:
        for row in rows:
            print_json(row._asdict())
    elif rows:
        print_rows(rows, _CIRCUIT)
    else:
        say("no server is away, and none was")


def pause_adapter(
    adapter: Named,
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_time,
            help="When it goes on by itself; UTC unless it says otherwise. Else it is resumed.",
            metavar="TIME",
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for explain.")] = "manual",
    tenant: Tenant = None,
    dsn: Dsn = None,
) -> None:
    """Let nothing more leave through a sender."""
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        paused = client.pause_adapter(tenant, _find(client, tenant, adapter).id, until, reason)
    end = cell(paused.resting_until) if paused.resting_until else "it is resumed"
    say(f"{paused.name} rests until {end}: {paused.resting_reason}")


def resume_adapter(adapter: Named, tenant: Tenant = None, dsn: Dsn = None) -> None:
    """End a sender's pause or rest; what waited for it is due."""
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        resumed = client.resume_adapter(tenant, _find(client, tenant, adapter).id)
    say(f"{resumed.name} goes on")


def _find(client: Client, tenant: str | None, adapter: str) -> Any:
    for each in client.list_channel_adapters(tenant):
        if adapter == each.name or adapter == str(each.id):
            return each
    raise AdapterNotFound(f'adapter "{adapter}" not found')
