"""The kill switch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import typer

from dripdrop.cli.database import AsJson, Dsn, Tenant
from dripdrop.cli.output import cell, print_json, print_rows, say
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.settings import resolve_dsn

Scope: TypeAlias = Annotated[
    Literal["everything", "tenant", "sequence", "channel", "adapter"],
    typer.Argument(help="What: everything is all tenants, tenant the one of --tenant."),
]
Subject: TypeAlias = Annotated[
    str | None, typer.Argument(help="The sequence's key, or the channel's or adapter's name.")
]


def pause_sending(
    scope: Scope,
    subject: Subject = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the others.")] = None,
    tenant: Tenant = None,
    dsn: Dsn = None,
) -> None:
    """Hold every message that has not left, until resume-sending: the kill switch."""
    with connect(resolve_dsn(dsn)) as connection:
        pause = Client(connection).pause_sending(tenant, scope, subject, reason)
    say(f"{_name(pause)} is paused since {cell(pause.paused_at)}")


def resume_sending(
    scope: Scope, subject: Subject = None, tenant: Tenant = None, dsn: Dsn = None
) -> None:
    """Let go what pause-sending holds; status 1 if nothing was paused like that."""
    with connect(resolve_dsn(dsn)) as connection:
        pause = Client(connection).resume_sending(tenant, scope, subject)
    if pause is None:
        say("that was not paused")
        raise typer.Exit(1)
    say(f"{_name(pause)} sends again")


def pauses(tenant: Tenant = None, dsn: Dsn = None, json: AsJson = False) -> None:
    """List what is paused for a tenant."""
    with connect(resolve_dsn(dsn)) as connection:
        rows = Client(connection).list_sending_pauses(tenant)
    if json:
        for row in rows:
            print_json(row._asdict())
    elif rows:
        print_rows(rows)
    else:
        say("nothing is paused")


def _name(pause: Any) -> str:
    if pause.scope == "everything":
        return "everything"
    of = "the global scope" if pause.tenant_key is None else f"tenant {pause.tenant_key}"
    return of if pause.scope == "tenant" else f"{pause.scope} {pause.subject} of {of}"
