"""The command that tries an HTTP hook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import typer

from dripdrop.channels import ChannelSettings
from dripdrop.cli.database import Dsn, Tenant
from dripdrop.cli.output import cell, stdout
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.hooks import HookCaller
from dripdrop.process.settings import resolve_dsn
from dripdrop.vault import Vault


def test_hook(
    http_hook_id: Annotated[UUID, typer.Argument(metavar="HOOK_ID", help="The HTTP hook's id.")],
    tenant: Tenant = None,
    data: Annotated[
        str, typer.Option(metavar="JSON", help="The variables of its templates.")
    ] = "{}",
    dsn: Dsn = None,
) -> None:
    """Call an HTTP hook, show what it gives and keep that, redacted; status 1 if it fails."""
    variables = _object(data)
    with connect(resolve_dsn(dsn)) as connection:
        hook = Client(connection).get_http_hook(tenant, http_hook_id)
    answer = asyncio.run(_call(hook, variables))
    with connect(resolve_dsn(dsn)) as connection:
        kept = Client(connection).record_hook_test(tenant, http_hook_id, answer).last_test_result
    status = kept.get("status")
    stdout.print(f"status  {cell(status) or 'none'}", markup=False, highlight=False)
    name, text = ("error", kept["error"]) if "error" in kept else ("value", _json(kept["value"]))
    stdout.print(f"{name}   {text}", markup=False, highlight=False)
    raise typer.Exit("error" in kept)


def _object(data: str) -> dict[str, Any]:
    try:
        variables = json.loads(data)
    except ValueError:
        variables = None
    if not isinstance(variables, dict):
        raise typer.BadParameter("not a JSON object", param_hint="--data")
    return variables


async def _call(hook: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    caller = HookCaller(ChannelSettings.from_environment(), Vault.from_environment)
    try:
        return caller.redact(hook, await caller.call(hook, variables))
    finally:
        await caller.aclose()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
