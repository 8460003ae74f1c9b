"""Where the connection string comes from."""

from __future__ import annotations

import pytest

from dripdrop.process.settings import MissingSetting, resolve_dsn


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIPDROP_DSN", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_a_given_dsn_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIPDROP_DSN", "dbname=environment")
    assert resolve_dsn("dbname=given") == "dbname=given"


def test_our_variable_wins_over_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "dbname=general")
    monkeypatch.setenv("DRIPDROP_DSN", "dbname=ours")
    assert resolve_dsn() == "dbname=ours"


def test_an_empty_variable_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIPDROP_DSN", "")
    monkeypatch.setenv("DATABASE_URL", "dbname=general")
    assert resolve_dsn() == "dbname=general"


def test_without_any_the_error_names_the_variables() -> None:
    with pytest.raises(MissingSetting, match="DRIPDROP_DSN or DATABASE_URL"):
        resolve_dsn()
