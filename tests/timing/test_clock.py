"""The clock: who may set it, and how far."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

from dripdrop.errors import InvalidArgument

Db = psycopg.Connection[Any]

LATER = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)


def time_of(db: Db, setting: str) -> Any:
    """Return what time it is in a session with the setting."""
    db.execute("select set_config('dripdrop.now', %s, false)", [setting])
    return db.execute("select dripdrop._now() as now").fetchone().now  # type: ignore[union-attr]


@pytest.fixture
def login(dsn: str, db: Db, request: pytest.FixtureRequest) -> Any:
    """A connection of somebody who is a member of the role that the test names."""
    role = request.param
    name = sql.Identifier(f"test_{role}")
    db.execute(sql.SQL("drop role if exists {}").format(name))
    db.execute(sql.SQL("create role {} login in role {}").format(name, sql.Identifier(role)))
    with psycopg.connect(
        make_conninfo(dsn, user=f"test_{role}"), autocommit=True, row_factory=namedtuple_row
    ) as connection:
        yield connection
    db.execute(sql.SQL("drop role {}").format(name))


def functions(db: Db) -> None:
    """Let everybody ask what time it is to the engine."""
    db.execute(
        "create function public.engine_time() returns timestamptz language sql security definer"
        " as 'select dripdrop._now()'"
    )


@pytest.mark.parametrize("login", ["dripdrop_admin", "dripdrop_sender"], indirect=True)
def test_admins_and_senders_may_set_the_clock(db: Db, login: Db) -> None:
    functions(db)
    login.execute("select set_config('dripdrop.now', %s, false)", [LATER.isoformat()])
    assert login.execute("select public.engine_time()").fetchone() == (LATER,)


@pytest.mark.parametrize("login", ["dripdrop_app", "dripdrop_reader"], indirect=True)
@pytest.mark.parametrize(
    "setting", ["2030-01-01", "-infinity", "infinity", "4714-11-24 BC", "tomorrow", "no time"]
)
def test_others_go_by_the_real_clock_whatever_they_set(db: Db, login: Db, setting: str) -> None:
    functions(db)
    login.execute("select set_config('dripdrop.now', %s, false)", [setting])
    found = login.execute("select public.engine_time() - statement_timestamp()").fetchone()
    assert found == (timedelta(0),)


@pytest.mark.parametrize("login", ["dripdrop_app"], indirect=True)
def test_an_application_that_takes_on_another_role_has_its_own_clock(db: Db, login: Db) -> None:
    """Functions run as the owner: it counts who logged in."""
    functions(db)
    db.execute("grant dripdrop_reader to test_dripdrop_app")
    login.execute("set role dripdrop_reader")
    login.execute("set dripdrop.now = '2030-01-01'")
    assert login.execute("select public.engine_time() < '2030-01-01'").fetchone() == (True,)


@pytest.mark.parametrize(
    "setting", ["-infinity", "infinity", "4714-11-24 BC", "1900-01-01", "2200-01-01"]
)
def test_a_time_that_is_not_within_a_hundred_years_is_refused(db: Db, setting: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        time_of(db, setting)
    assert refusal.value.diag.message_hint


def test_an_empty_setting_is_none(db: Db) -> None:
    assert abs(time_of(db, "") - datetime.now(UTC)) < timedelta(minutes=5)


def test_the_clock_costs_nothing_to_who_sets_none(db: Db) -> None:
    """It is inlined: a plan shows no call of it, and the row is not asked for anew."""
    plan = db.execute("explain (verbose, costs off) select dripdrop._now()").fetchall()
    assert "statement_timestamp()" in str(plan)
    assert "_now" not in str(plan)
