"""Commands for the key that seals credentials, and for what it seals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from dripdrop.cli.database import Dsn, Tenant
from dripdrop.cli.output import stdout
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.reporting import stderr
from dripdrop.process.settings import resolve_dsn
from dripdrop.unsubscribe import web_key
from dripdrop.vault import Kind, Vault, VaultError, check_name, generate_key, to_text


def keygen(
    web: Annotated[
        bool,
        typer.Option("--web", help="Print DRIPDROP_WEB_KEY, made from DRIPDROP_ENCRYPTION_KEY."),
    ] = False,
) -> None:
    """Print a new key, for DRIPDROP_ENCRYPTION_KEY; with --web, the one that `dripdrop web` needs.

    The web key is made from DRIPDROP_ENCRYPTION_KEY and DRIPDROP_ENCRYPTION_KEYS_OLD: it reads
    links to unsubscribe, also those already sent, and neither key can be computed from it.
    """
    print(web_key(Vault.from_environment()) if web else generate_key())


def seal(
    name: Annotated[
        str, typer.Argument(help="The adapter's name; for an HTTP hook hook:SEQUENCE:KEY.")
    ],
    tenant: Tenant = None,
) -> None:
    """Seal credentials: JSON on standard input becomes the text that the database takes."""
    check_name(name)
    try:
        credentials = json.load(sys.stdin)
    except ValueError:
        credentials = None  # the parser's words would repeat the secret
    if not isinstance(credentials, dict):
        raise VaultError("standard input is not a JSON object")
    print(to_text(Vault.from_environment().seal(credentials, tenant, name)))


def rotate(dsn: Dsn = None) -> None:
    """Seal the credentials of every adapter and HTTP hook again, under the current key."""
    vault = Vault.from_environment()
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        changed_meanwhile = _rotate(
            vault, "adapter", client.sealed_adapters(), client.reseal_adapter
        )
        hooks = client.sealed_http_hooks()
        if hooks:
            changed_meanwhile += _rotate(vault, "http_hook", hooks, client.reseal_http_hook)
    if changed_meanwhile:
        stderr.out(f"{changed_meanwhile} changed meanwhile: run it again", highlight=False)
        raise typer.Exit(1)


def _rotate(vault: Vault, kind: Kind, owners: Sequence[Any], reseal: Callable[..., bool]) -> int:
    """Seal one kind of credentials again; return how many were changed meanwhile."""
    sealed_again = changed_meanwhile = 0
    for owner_id, tenant_key, name, credentials, *_ in owners:
        envelope = vault.reseal(credentials, tenant_key, name, kind)
        if envelope is None:
            continue
        if reseal(tenant_key, owner_id, envelope, credentials):
            sealed_again += 1
        else:
            changed_meanwhile += 1
    what = {"adapter": "adapters", "http_hook": "HTTP hooks"}[kind]
    stdout.print(f"{sealed_again} of {len(owners)} {what} sealed again", highlight=False)
    return changed_meanwhile
