"""Commands for the key that seals credentials, and for what it seals."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import psycopg
import typer

from dripdrop.cli.database import Dsn, Tenant
from dripdrop.cli.output import stderr, stdout
from dripdrop.client import Client
from dripdrop.settings import resolve_dsn
from dripdrop.vault import Vault, VaultError, generate_key, to_text


def keygen() -> None:
    """Print a new key, for DRIPDROP_ENCRYPTION_KEY."""
    print(generate_key())


def seal(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    tenant: Tenant = None,
) -> None:
    """Seal credentials: JSON on standard input becomes the text for create_channel_adapter."""
    try:
        credentials = json.load(sys.stdin)
    except ValueError:
        credentials = None  # the parser's words would repeat the secret
    if not isinstance(credentials, dict):
        raise VaultError("standard input is not a JSON object")
    print(to_text(Vault.from_environment().seal(credentials, tenant, name)))


def rotate(dsn: Dsn = None) -> None:
    """Seal every adapter's credentials again, under the current key."""
    vault = Vault.from_environment()
    sealed_again = changed_meanwhile = 0
    with psycopg.connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        adapters = client.sealed_adapters()
        for adapter_id, tenant_key, name, credentials in adapters:
            envelope = vault.reseal(credentials, tenant_key, name)
            if envelope is None:
                continue
            if client.reseal_adapter(tenant_key, adapter_id, envelope, credentials):
                sealed_again += 1
            else:
                changed_meanwhile += 1
    stdout.print(f"{sealed_again} of {len(adapters)} adapters sealed again", highlight=False)
    if changed_meanwhile:
        stderr.out(f"{changed_meanwhile} changed meanwhile: run it again", highlight=False)
        raise typer.Exit(1)
