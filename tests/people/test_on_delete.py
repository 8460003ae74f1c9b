"""Whoever's row the application deletes is forgotten in the same transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dripdrop.errors import InvalidArgument, InvalidTenantKey
from dripdrop.install import install, uninstall
from tests.engine import TENANT, Engine

SAM = {"email": "sam@example.com"}


@pytest.fixture
def users(engine: Engine) -> Iterator[str]:
    """A table of the application's, whose owner may call what the application may."""
    for statement in (
        "create role app_owner",
        "grant dripdrop_app to app_owner",
        "create schema app authorization app_owner",
        "set role app_owner",
        "create table app.users (id bigint primary key, account text)",
        "insert into app.users values (41, 'acme'), (42, 'acme'), (43, 'other')",
        "reset role",
    ):
        engine.connection.execute(statement.encode())
    engine.author()
    for number in (41, 42, 43):
        engine.enroll(TENANT, "onboarding", "User", str(number), SAM)
    yield "app.users"


def states(engine: Engine) -> dict[str, str]:
    rows = engine.list_enrollments(TENANT)
    return {row.subscriber_id: row.state for row in rows}


def as_owner(engine: Engine, *values: Any, **named: Any) -> Any:
    with engine.connection.transaction():
        engine.connection.execute("set local role app_owner")
        made = engine.on_delete(*values, **named)
        engine.connection.execute("reset role")
        return made


def test_who_is_deleted_is_erased(engine: Engine, users: str) -> None:
    assert as_owner(engine, TENANT, users) == "dripdrop_on_delete on app.users"
    engine.connection.execute("delete from app.users where id in (41, 42)")
    assert states(engine) == {"43": "active"}


def test_whoever_deletes_needs_no_rights_here(engine: Engine, users: str) -> None:
    as_owner(engine, TENANT, users)
    engine.connection.execute("create role clerk")
    engine.connection.execute("grant usage on schema app to clerk")
    engine.connection.execute("grant select, delete on app.users to clerk")
    with engine.connection.transaction():
        engine.connection.execute("set local role clerk")
        engine.connection.execute("delete from app.users where id = 41")
        engine.connection.execute("reset role")
    assert sorted(states(engine)) == ["42", "43"]


def test_the_row_stays_if_the_transaction_rolls_back(engine: Engine, users: str) -> None:
    as_owner(engine, TENANT, users)
    with engine.connection.transaction(force_rollback=True):
        engine.connection.execute("delete from app.users")
        assert states(engine) == {}
    assert sorted(states(engine)) == ["41", "42", "43"]


def test_it_may_only_end_what_they_are_in(engine: Engine, users: str) -> None:
    as_owner(engine, TENANT, users)
    as_owner(engine, TENANT, users, action="unenroll")
    engine.connection.execute("delete from app.users where id = 41")
    assert states(engine) == {"41": "cancelled", "42": "active", "43": "active"}
    (ended,) = engine.list_enrollments(TENANT, state="cancelled")
    assert ended.exit_reason == "deleted"


def test_the_tenant_may_stand_in_a_column(engine: Engine, users: str) -> None:
    as_owner(engine, None, users, "id", "User", tenant_column="account")
    engine.connection.execute("delete from app.users")
    assert states(engine) == {"43": "active"}


def test_only_the_owner_of_a_table_gives_it_the_trigger(engine: Engine, users: str) -> None:
    engine.connection.execute("create table mine (id int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_owner(engine, TENANT, "public.mine")


def test_names_that_need_quotes_are_quoted(engine: Engine, users: str) -> None:
    engine.connection.execute('create table app."User s" ("the Id" text, "a\'b" text)')
    engine.connection.execute("insert into app.\"User s\" values ('41', 'acme')")
    engine.on_delete(None, 'app."User s"', "the Id", tenant_column="a'b")
    engine.connection.execute('delete from app."User s"')
    assert sorted(states(engine)) == ["42", "43"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"id_column": "uid"}, InvalidArgument),
        ({"id_column": None}, InvalidArgument),
        ({"subscriber_type": ""}, InvalidArgument),
        ({"action": "forget"}, InvalidArgument),
        ({"tenant_column": "account"}, InvalidArgument),
        ({"of_table": "pg_catalog.pg_user"}, InvalidArgument),
        ({"of_table": None}, InvalidArgument),
        ({"tenant_key": ""}, InvalidTenantKey),
    ],
)
def test_what_makes_no_sense_is_refused(
    engine: Engine, users: str, wrong: dict[str, Any], error: type[Any]
) -> None:
    with engine.refused(error):
        engine.on_delete(**{"tenant_key": TENANT, "of_table": users} | wrong)


@pytest.mark.slow
def test_the_trigger_outlives_an_installation_and_goes_with_the_schema(
    engine: Engine, users: str, dsn: str
) -> None:
    trigger = "select tgname from pg_trigger where tgname = 'dripdrop_on_delete'"
    as_owner(engine, TENANT, users)
    install(dsn)
    assert len(engine.rows(trigger)) == 1
    engine.connection.execute("delete from app.users where id = 41")
    assert sorted(states(engine)) == ["42", "43"]
    uninstall(dsn)
    assert engine.rows(trigger) == []
    engine.connection.execute("delete from app.users")
