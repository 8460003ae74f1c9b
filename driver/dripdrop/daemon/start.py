"""What is looked at before a daemon begins: better no daemon than one that cannot do its work."""

from __future__ import annotations

import os
from typing import Any

import structlog

from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.errors import OtherVersion
from dripdrop.process.version import is_version
from dripdrop.vault import KEY_VARIABLE, Vault

PROTOCOL = (
    "call_hook",
    "check_thresholds",
    "claim_due",
    "claim_hooks",
    "claim_rendered",
    "claim_renders",
    "claim_sends",
    "complete_hooks",
    "complete_renders",
    "complete_sends",
    "forget_worker",
    "leased_renders",
    "next_due",
    "note_fault",
    "note_worker",
    "open_transactions",
    "provider_settings",
    "reconcile",
    "release_claim",
    "tick",
)
"""The functions that the stages call; a test compares."""

_SWITCHES = ("DRIPDROP_ALLOW_HTTP", "DRIPDROP_ALLOW_PRIVATE")


def is_ready(dsn: str) -> bool:
    """Whether a daemon can do its work here; the log says what is missing, and what else is wrong.

    Raises:
        OtherVersion: the schema is not of the driver's version.
        VaultError: the key is malformed.
        psycopg.Error: there is no such database, or DripDrop is not in it.
    """
    has_key = bool(os.environ.get(KEY_VARIABLE, "").strip())
    if has_key:
        Vault.from_environment()
    faults = _of_environment()
    log = structlog.get_logger("dripdrop")
    with connect(dsn) as connection:
        client = Client(connection)
        if not is_version(client.version()):
            raise OtherVersion("the schema is of another version")
        for problem in client.startup_check():
            log.warning(problem.problem, detail=problem.detail, hint=problem.hint)
        faults += _of_rights(client)
        if not has_key:
            faults += _of_the_key(client)
    for fault in faults:
        log.error(**fault)
    return not faults


def _of_environment() -> list[dict[str, Any]]:
    return [
        {
            "event": "malformed_setting",
            "setting": name,
            "hint": "1 or true allows, 0, false or nothing does not.",
        }
        for name in _SWITCHES
        if os.environ.get(name, "").strip().lower() not in {"", "0", "1", "false", "true"}
    ]


def _of_rights(client: Client) -> list[dict[str, Any]]:
    missing = [row.function for row in client.missing_permissions(list(PROTOCOL))]
    if not missing:
        return []
    hint = "grant dripdrop_sender to the daemon's role."
    return [{"event": "permission_missing", "functions": missing, "hint": hint}]


def _of_the_key(client: Client) -> list[dict[str, Any]]:
    needs = {row.subject: row.number for row in client.needs_key()}
    if not needs:
        return []
    hint = (
        f"Set {KEY_VARIABLE} to the key that they were sealed with, or that is to sign the links."
    )
    return [{"event": "key_missing", "needed_by": needs, "hint": hint}]
