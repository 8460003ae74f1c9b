"""A superuser who installs into somebody else's database runs nothing that somebody else made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgmq import install_pgmq_from_sql
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import RaiseException

from dripdrop.errors import UntrustedOwner
from dripdrop.install import InstallError, install, uninstall
from tests.conftest import Databases
from tests.path.conftest import Sqitch

pytestmark = pytest.mark.slow

Way = Callable[[str], None]

# A better match for a call than what is in pg_catalog, in a schema that is looked in after it.
CLOSER = """
    do $do$
    declare
      v_schema text;
      v_signature text;
    begin
      foreach v_schema in array array['public', session_user] loop
        foreach v_signature in array array[
          'format(text, text)', 'format(text, name)', 'format(text, text, text)',
          'format(text, name, name)', 'format(text, name, text)', 'format(text, text, name)',
          'format(text, text, name, text)', 'format(text, name, name, text)',
          'format(text, regprocedure)', 'format(text, regprocedure, text)',
          'format(text, text, text, text)', 'quote_ident(name)', 'quote_literal(name)',
          'array_agg(name)', 'to_regnamespace(name)', 'to_regclass(name)', 'hashtext(name)',
          'pg_advisory_xact_lock(int)', 'concat(text, text)', 'starts_with(name, text)',
          'jsonb_object_keys(json)', 'unnest(text[])', 'has_schema_privilege(name, name, text)'
        ] loop
          execute format(
            'create function %I.%s returns text language plpgsql as '
            '$$ begin raise exception ''a stranger''''s function ran''; end $$',
            v_schema,
            v_signature
          );
        end loop;
        execute format(
          'create function %I.joined(name, name) returns text language plpgsql as '
          '$$ begin raise exception ''a stranger''''s operator ran''; end $$',
          v_schema
        );
        foreach v_signature in array array['||', '~', '!~', '<', '+'] loop
          execute format(
            'create operator %I.%s (leftarg = name, rightarg = name, function = %1$I.joined)',
            v_schema,
            v_signature
          );
        end loop;
      end loop;
    end
    $do$
"""

# What stands before pg_catalog, where the database's own search_path says so: every function.
FIRST = """
    do $do$
    declare
      v_command text;
    begin
      create schema earlier;
      for v_command in
        select pg_catalog.format(
          'create function earlier.%I(%s) returns %s language plpgsql as '
          '$$ begin raise exception ''a stranger''''s function ran''; end $$',
          p.proname,
          pg_catalog.pg_get_function_identity_arguments(p.oid),
          pg_catalog.pg_get_function_result(p.oid)
        )
        from pg_catalog.pg_proc as p
        where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
          and p.prokind = 'f'
          and p.proargmodes is null
          and not p.proname ~ '(send|recv|in|out|handler)$'
      loop
        begin
          execute v_command;
        exception
          when others then null;  -- what takes or gives a pseudo-type
        end;
      end loop;
    end
    $do$
"""


@pytest.fixture
def mallory(empty_dsn: str) -> Iterator[str]:
    """The name of a role that owns the database, and is nobody else."""
    database = str(conninfo_to_dict(empty_dsn)["dbname"])
    name = f"mallory_{database}"
    owner = sql.SQL("alter database {} owner to {}")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        connection.execute(owner.format(sql.Identifier(database), sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
        connection.execute(owner.format(sql.Identifier(database), sql.SQL("current_user")))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def ours(empty_dsn: str) -> str:
    """The DSN under which a test looks at the database, whatever has become of its settings."""
    return make_conninfo(
        empty_dsn, options="-c search_path=pg_catalog -c standard_conforming_strings=on"
    )


@pytest.fixture
def as_mallory(mallory: str, ours: str) -> Callable[[str], None]:
    """Return a function that executes a statement as the stranger."""

    def run(statement: str) -> None:
        with psycopg.connect(ours) as connection:
            user = str(connection.info.user)
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(mallory)))
            connection.execute(statement.replace("session_user", f"'{user}'").encode())

    return run


@pytest.fixture
def with_closer_matches(as_mallory: Callable[[str], None], mallory: str, ours: str) -> None:
    """Let the stranger make closer matches, in the schemas that everybody looks in."""
    with psycopg.connect(ours) as connection:
        connection.execute(
            sql.SQL("create schema {} authorization {}").format(
                sql.Identifier(connection.info.user), sql.Identifier(mallory)
            )
        )
        connection.execute(
            sql.SQL("alter schema public owner to {}").format(sql.Identifier(mallory))
        )
    as_mallory(CLOSER)


@pytest.fixture
def with_a_path_of_their_own(
    as_mallory: Callable[[str], None], mallory: str, ours: str, empty_dsn: str
) -> None:
    """Let the stranger look in a schema of theirs before pg_catalog, in every session."""
    as_mallory(FIRST)
    database = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    for setting in ("search_path = earlier, pg_catalog", "standard_conforming_strings = off"):
        as_mallory(sql.SQL(f"alter database {{}} set {setting}").format(database).as_string())


@pytest.mark.usefixtures("with_closer_matches")
def test_the_traps_would_catch_an_unpinned_statement(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection, pytest.raises(RaiseException, match="stranger"):
        connection.execute("select format('%s %s %s', 'a'::text, 'b'::name, 'c'::text)")


@pytest.mark.usefixtures("with_a_path_of_their_own")
def test_the_path_would_catch_an_unpinned_statement(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection, pytest.raises(RaiseException, match="stranger"):
        connection.execute("select to_regnamespace('dripdrop')")


@pytest.mark.slow
@pytest.mark.usefixtures("with_closer_matches")
def test_the_installer_calls_no_closer_match(empty_dsn: str, ours: str) -> None:
    install(empty_dsn)
    assert whole(ours)
    install(empty_dsn)
    assert whole(ours)
    uninstall(empty_dsn)


@pytest.mark.slow
@pytest.mark.usefixtures("with_a_path_of_their_own")
def test_the_installer_looks_where_it_wants_to(empty_dsn: str, ours: str) -> None:
    install(empty_dsn)
    assert whole(ours)
    install(empty_dsn)
    assert whole(ours)
    uninstall(empty_dsn)


@pytest.mark.usefixtures("with_closer_matches")
def test_sqitch_calls_no_closer_match(empty_dsn: str, ours: str, sqitch: Sqitch) -> None:
    bring_pgmq(ours)
    sqitch("deploy", empty_dsn)
    sqitch("verify", empty_dsn)
    start(ours)
    sqitch("revert", empty_dsn)


@pytest.mark.slow
@pytest.mark.usefixtures("with_closer_matches", "extension_files")
def test_the_extension_calls_no_closer_match(empty_dsn: str, ours: str) -> None:
    bring_pgmq(ours)
    create_extension(empty_dsn)
    start(ours)
    assert whole(ours)


@pytest.mark.slow
@pytest.mark.usefixtures("with_a_path_of_their_own", "extension_files")
def test_the_extension_looks_where_it_wants_to(empty_dsn: str, ours: str) -> None:
    bring_pgmq(ours)
    create_extension(empty_dsn)
    start(ours)
    assert whole(ours)


@pytest.fixture(params=["installer", "sqitch", "extension"])
def way_in(request: pytest.FixtureRequest) -> Way:
    """Each way in, as a function of the DSN that raises what it says if it fails."""
    if request.param == "installer":
        return install  # type: ignore[return-value]
    if request.param == "extension":
        request.getfixturevalue("extension_files")
        return create_extension
    sqitch: Sqitch = request.getfixturevalue("sqitch")
    return lambda dsn: sqitch("deploy", dsn)


REFUSED = (InstallError, UntrustedOwner, AssertionError)

MADE = {
    "a schema pgmq": "create schema pgmq",
    "a schema dripdrop": "create schema dripdrop",
    "a schema cron": "create schema cron",
    "all of a pgmq": """
        create schema pgmq;
        create table pgmq.meta (queue_name text);
        create function pgmq.create(text) returns void language plpgsql
        as $$ begin raise exception 'a stranger''s function ran'; end $$
    """,
    "a version of ours": """
        create schema dripdrop;
        create function dripdrop.version() returns text language plpgsql
        as $$ begin raise exception 'a stranger''s function ran'; end $$
    """,
}


@pytest.mark.parametrize("statement", MADE.values(), ids=MADE.keys())
def test_a_schema_of_a_stranger_is_refused_by_their_name(
    way_in: Way, mallory: str, as_mallory: Callable[[str], None], empty_dsn: str, statement: str
) -> None:
    as_mallory(statement)
    with pytest.raises(REFUSED, match=mallory) as error:
        way_in(empty_dsn)
    assert "function ran" not in str(error.value)


def test_a_function_of_a_stranger_in_our_pgmq_is_refused_by_their_name(
    way_in: Way, mallory: str, as_mallory: Callable[[str], None], empty_dsn: str
) -> None:
    bring_pgmq(empty_dsn)
    grant_creating(empty_dsn, mallory)
    as_mallory("create function pgmq.create(name) returns void return null")
    with pytest.raises(REFUSED, match=rf"create\S*\(name\) belongs to .*{mallory}"):
        way_in(empty_dsn)


@pytest.mark.slow
def test_a_queue_of_somebody_else_is_none_of_our_business(
    way_in: Way, mallory: str, as_mallory: Callable[[str], None], empty_dsn: str
) -> None:
    bring_pgmq(empty_dsn)
    grant_creating(empty_dsn, mallory)
    as_mallory("create table pgmq.q_theirs ()")
    way_in(empty_dsn)


@pytest.mark.slow
def test_a_queue_under_our_name_is_refused_at_the_start(
    mallory: str, as_mallory: Callable[[str], None], empty_dsn: str
) -> None:
    install(empty_dsn)
    grant_creating(empty_dsn, mallory)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("select dripdrop.stop()")
    as_mallory("create table pgmq.q_dripdrop_render ()")
    with pytest.raises(UntrustedOwner, match=mallory):
        start(empty_dsn)


@pytest.mark.slow
def test_the_startup_check_names_what_a_stranger_has_put_in_since(
    mallory: str, as_mallory: Callable[[str], None], empty_dsn: str
) -> None:
    install(empty_dsn)
    grant_creating(empty_dsn, mallory)
    as_mallory("create function pgmq.pop(name) returns void return null")
    with psycopg.connect(empty_dsn) as connection:
        rows = connection.execute("select * from dripdrop.startup_check()").fetchall()
    assert [(problem, mallory in detail) for problem, detail, *_ in rows] == [
        ("untrusted_owner", True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("action", [install, uninstall])
def test_an_installation_that_a_stranger_shares_is_refused_and_kept(
    mallory: str, empty_dsn: str, action: Callable[[str], Any]
) -> None:
    install(empty_dsn)
    share = sql.SQL("{} dripdrop_owner {} {}")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        role = sql.Identifier(mallory)
        connection.execute(share.format(sql.SQL("grant"), sql.SQL("to"), role))
        try:
            with pytest.raises(InstallError, match=mallory):
                action(empty_dsn)
        finally:
            connection.execute(share.format(sql.SQL("revoke"), sql.SQL("from"), role))
    assert whole(empty_dsn)
    action(empty_dsn)


@pytest.mark.slow
def test_somebody_who_may_hand_out_one_of_our_roles_is_named(
    mallory: str, empty_dsn: str, databases: Databases
) -> None:
    name = databases.create()
    install(databases.dsn(name))
    warnings: list[str] = []
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        role = sql.Identifier(mallory)
        connection.execute(sql.SQL("grant dripdrop_admin to {} with admin option").format(role))
        try:
            install(empty_dsn, warn=warnings.append)
        finally:
            connection.execute(sql.SQL("revoke dripdrop_admin from {}").format(role))
            databases.drop(name)
    assert warnings == [f'"{mallory}" may make anybody a member of dripdrop_admin']


def test_every_script_begins_with_the_guard() -> None:
    root = Path(__file__).parents[2]
    for folder in ("deploy", "revert", "verify"):
        for path in (root / folder).glob("*.sql"):
            _, _, body = path.read_text().partition("\nbegin;\n\n")
            assert body.startswith("set local search_path = pg_catalog, pg_temp;\n"), path
            assert body.index("$guard$") < body.index("end\n$guard$;") < 4000, path


def bring_pgmq(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        install_pgmq_from_sql(conn=connection)


def create_extension(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create extension dripdrop")


def start(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("select dripdrop.start()")


def grant_creating(dsn: str, role: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            sql.SQL("grant usage, create on schema pgmq to {}").format(sql.Identifier(role))
        )


def whole(dsn: str) -> bool:
    """Whether the installation is complete."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select * from dripdrop.check_schema()").fetchall()
        return rows == []
