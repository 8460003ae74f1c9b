"""What a process says on standard error when it cannot go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import psycopg
from psycopg.errors import (
    InsufficientPrivilege,
    InvalidSchemaName,
    UndefinedFunction,
    UndefinedTable,
)
from rich.console import Console

from dripdrop.dsn import InvalidDsn
from dripdrop.errors import DripdropError
from dripdrop.process.settings import MissingSetting
from dripdrop.redaction import without_people
from dripdrop.vault import VaultError

stderr = Console(stderr=True)


@contextmanager
def reported() -> Iterator[None]:
    """Say on standard error what a user can put right, with its hint, and exit with status 1."""
    try:
        yield
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip()
        report(message, _detail(error), _hint(error, message))
    except InvalidDsn as error:
        report(str(error), hint=error.hint)
    except (MissingSetting, VaultError) as error:
        report(str(error))


def report(message: str, detail: str | None = None, hint: str | None = None) -> NoReturn:
    """Say what is wrong and what to do, and exit with status 1."""
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
