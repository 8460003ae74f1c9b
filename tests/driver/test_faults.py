"""Which kind of fault an error of the database is, and what is said of it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from dripdrop.faults import Kind, Unanswered, Uncertain, described, kind_of

KINDS = {
    Kind.GONE: "08000 08003 08006 08P01 28P01 3D000 57P01 57P02 57P03 57P05 25P03 25P04",
    Kind.BUSY: "40001 40P01 55P03 55006 57014",
    Kind.REFUSING: "53000 53100 53200 53300 53400 58000 58030",
    Kind.READ_ONLY: "25006",
    Kind.OURS: "P0001 22012 22P05 23505 42501 42883 42P01 54001 XX000 ZD120 ZD401 25P02",
}


def raised(db: psycopg.Connection[Any], sqlstate: str, message: str = "secret") -> psycopg.Error:
    """Return the error that the server raises with a SQLSTATE."""
    with pytest.raises(psycopg.Error) as error:
        db.execute(
            f"do $$ begin raise exception '{message}' using errcode = '{sqlstate}'; end $$".encode()
        )
    return error.value


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [(kind, each) for kind, states in KINDS.items() for each in states.split()],
)
def test_an_error_is_told_apart_by_its_sqlstate(
    db: psycopg.Connection[Any], kind: Kind, sqlstate: str
) -> None:
    assert kind_of(raised(db, sqlstate)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("the connection is lost"), Kind.GONE),
        (psycopg.InterfaceError("the connection is closed"), Kind.GONE),
        (Unanswered(), Kind.GONE),
        (Uncertain(), Kind.GONE),
        (psycopg.DataError("cannot dump"), Kind.OURS),
        (psycopg.NotSupportedError("cannot load"), Kind.OURS),
        (ValueError(), Kind.OURS),
        (OSError(), Kind.OURS),
    ],
)
def test_without_a_sqlstate_only_a_lost_connection_is_the_databases(
    error: Exception, kind: Kind
) -> None:
    assert kind_of(error) is kind


@pytest.mark.parametrize("sqlstate", ["P0001", "53100", "57P01", "23505"])
def test_what_the_log_says_of_an_error_holds_no_value(
    db: psycopg.Connection[Any], sqlstate: str
) -> None:
    said = described(raised(db, sqlstate, "sam@example.com"))
    assert said["sqlstate"] == sqlstate
    assert "sam@example.com" not in str(said)


def test_an_error_of_python_is_told_by_its_class_and_place() -> None:
    from dripdrop.vault import from_text

    with pytest.raises(Exception) as refused:
        from_text("sam@example.com")
    said = described(refused.value)
    assert said["error"] == "VaultError"
    assert said["at"].startswith("vault.py:") and said["at"].endswith(" from_text")
    assert "sam@example.com" not in str(said)
