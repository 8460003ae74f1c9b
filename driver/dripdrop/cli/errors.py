"""What the commands say when they cannot go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import (
    InsufficientPrivilege,
    InvalidSchemaName,
    UndefinedFunction,
    UndefinedTable,
)

from dripdrop.cli.output import print_fault, stderr
from dripdrop.documents import DocumentError, UnreadableFile
from dripdrop.dsn import InvalidDsn
from dripdrop.errors import DripdropError
from dripdrop.install import InstallError
from dripdrop.redaction import without_people
from dripdrop.settings import MissingSetting
from dripdrop.vault import VaultError


@contextmanager
def reported() -> Iterator[None]:
    """Say on standard error what a user can put right, with its hint, and exit with status 1."""
    try:
        yield
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip()
        _report(message, _detail(error), _hint(error, message))
    except DocumentError as error:
        for fault in error.faults:
            print_fault(fault, stderr)
        raise SystemExit(1) from None
    except InvalidDsn as error:
        _report(str(error), hint=error.hint)
    except (MissingSetting, InstallError, UnreadableFile, VaultError) as error:
        _report(str(error))


def _report(message: str, detail: str | None = None, hint: str | None = None) -> None:
    lines = {"dripdrop": message, "detail": detail, "hint": hint}
    for label, text in lines.items():
        if text:
            style = "red" if label == "dripdrop" else None
            stderr.out(f"{label}: {text}", style=style, highlight=False)
    raise SystemExit(1)


def _detail(error: psycopg.Error) -> str | None:
    """Return the server's detail. Postgres's own may repeat a row, and this may be a log."""
    detail = error.diag.message_detail
    return detail if isinstance(error, DripdropError) or not detail else without_people(detail)


def _hint(error: psycopg.Error, message: str) -> str | None:
    """Return the server's hint, or what to do where what is missing is DripDrop itself."""
    missing = isinstance(error, InvalidSchemaName | UndefinedFunction | UndefinedTable)
    if missing and re.search(r"\bdripdrop\b", message):
        return "dripdrop install --dsn … installs it, or brings it to this version."
    if isinstance(error, InsufficientPrivilege) and not error.diag.message_hint:
        return "grant the role what the command needs: dripdrop_sender to run, else dripdrop_admin."
    return error.diag.message_hint
