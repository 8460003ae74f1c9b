"""Commands that put DripDrop into a database and look at it there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

import typer
from psycopg.errors import InsufficientPrivilege

from dripdrop import install as installer
from dripdrop.channels import Adapter, ChannelSettings, InvalidAdapter, NotServed, open_channel
from dripdrop.channels.provider_settings import faults
from dripdrop.cli.output import print_rows, stdout
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.process.reporting import stderr
from dripdrop.process.settings import resolve_dsn
from dripdrop.redaction import without_people
from dripdrop.vault import KEY_VARIABLE, Kind, Vault, VaultError

Dsn: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Connection string; else DRIPDROP_DSN, else DATABASE_URL.", metavar="DSN"),
]
Tenant: TypeAlias = Annotated[
    str | None, typer.Option(help="Tenant key; without one the global scope.", metavar="KEY")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def install(dsn: Dsn = None) -> None:
    """Install DripDrop, or bring its functions to this version."""
    version = installer.install(
        resolve_dsn(dsn), warn=lambda text: stderr.print(text, markup=False)
    )
    stdout.print(f"dripdrop {version} is installed", highlight=False)


def uninstall(
    dsn: Dsn = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove DripDrop and all its data from the database."""
    resolved = resolve_dsn(dsn)
    if not yes:
        typer.confirm("Remove every sequence, enrolment and message?", abort=True)
    installer.uninstall(resolved)
    stdout.print("dripdrop is removed")


def check(
    dsn: Dsn = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing when all is well, as cron wants it.")
    ] = False,
) -> None:
    """List what is missing, different or in the way; status 1 if it keeps messages from leaving."""
    if os.environ.get(KEY_VARIABLE, "").strip():
        Vault.from_environment()  # a malformed key is in the way, whatever is sealed
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        schema, problems, unopened = (
            client.check_schema(),
            [each._replace(detail=without_people(each.detail)) for each in client.startup_check()],
            _unopened(client),
        )
    for rows in filter(None, (schema, problems, unopened)):
        print_rows(rows)
    if schema or unopened or any(problem.blocks for problem in problems):
        raise typer.Exit(1)
    if not problems and not quiet:
        stdout.print("everything is in place")


class _Unopened(NamedTuple):
    tenant_key: str | None
    adapter: str
    problem: str


def _unopened(client: Client) -> list[_Unopened]:
    """List the credentials that this environment's keys do not open, and those that will not do.

    None if the role may not.
    """
    unopened = []
    sealed: list[tuple[Any, Kind]]
    try:
        sealed = [
            *((row, "adapter") for row in client.sealed_adapters()),
            *((row, "http_hook") for row in client.sealed_http_hooks()),
        ]
    except InsufficientPrivilege:
        return []
    settings = ChannelSettings(described=tuple(client.provider_settings()))
    for row, kind in sealed:
        _, tenant_key, name, credentials, *_ = row
        try:
            opened = Vault.from_environment().open(credentials, tenant_key, name, kind)
        except VaultError as error:
            unopened.append(_Unopened(tenant_key, name, str(error)))
            continue
        if kind == "adapter":
            problems = _problems(row, opened, settings)
            unopened += [_Unopened(tenant_key, name, each) for each in problems]
    return unopened


def _problems(row: Any, credentials: Mapping[str, Any], settings: ChannelSettings) -> list[str]:
    """Return what keeps an account from working; nothing is connected to."""
    account = (row.channel, row.provider, credentials, row.config)
    problems = faults(*account, settings.described)
    try:
        open_channel(
            Adapter(
                row.adapter_id,
                row.tenant_key,
                row.name,
                row.channel,
                row.provider,
                row.config,
                credentials,
            ),
            settings,
        )
    except NotServed:
        pass  # who sends for it knows what it takes
    except InvalidAdapter as error:
        problems = problems or [str(error)]
    return problems
