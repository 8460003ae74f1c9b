"""Installing and removing by Python alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from pgmq import install_pgmq_from_sql
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dripdrop.embedded import EmbeddedServer
from dripdrop.errors import SchemaDiffers, StillUsed
from dripdrop.install import InstallError, install, uninstall
from tests.conftest import Databases


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statement)


def differences(dsn: str) -> list[tuple[str, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select * from dripdrop.check_schema()").fetchall()


@pytest.mark.slow
def test_install_brings_pgmq_the_schema_and_the_queues(empty_dsn: str) -> None:
    version = install(empty_dsn)
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select dripdrop.version()").fetchone() == (version,)
        queues = connection.execute("select queue_name from pgmq.list_queues()").fetchall()
    assert ("dripdrop_render",) in queues


@pytest.mark.slow
def test_install_keeps_a_pgmq_that_is_there(pgmq_with_queue: str) -> None:
    install(pgmq_with_queue)
    with psycopg.connect(pgmq_with_queue) as connection:
        queues = connection.execute("select queue_name from pgmq.list_queues()").fetchall()
    assert ("mine",) in queues


@pytest.mark.slow
def test_a_second_install_keeps_the_data(dsn: str) -> None:
    execute(dsn, "select dripdrop.create_sequence(null, 'onboarding', 'Onboarding')")
    install(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select key from dripdrop.sequences").fetchall() == [
            ("onboarding",)
        ]


@pytest.mark.slow
def test_a_second_install_puts_changed_functions_right(dsn: str) -> None:
    execute(dsn, "create or replace function dripdrop.version() returns text return '0.0.9'")
    assert install(dsn) != "0.0.9"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select dripdrop.version()").fetchone() != ("0.0.9",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        "drop view dripdrop.ledger",
        "drop function dripdrop.complete_sends(jsonb)",
        "drop trigger steps_of_a_draft on dripdrop.steps",
        "drop policy events_of_the_tenant on dripdrop.events",
        "revoke execute on function dripdrop.tick(int) from dripdrop_sender",
        "grant select on dripdrop.channel_adapters to dripdrop_reader",
        "alter table dripdrop.events force row level security",
        "alter function dripdrop.tick(int) reset all",
        "alter type dripdrop._send_result add attribute note text",
        "drop type dripdrop._decision cascade",
    ],
)
def test_a_second_install_puts_right_what_can_be_replaced(dsn: str, harm: LiteralString) -> None:
    execute(dsn, harm)
    assert differences(dsn)
    install(dsn)
    assert differences(dsn) == []


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("alter table dripdrop.steps drop column name", "column steps.name is missing"),
        (
            "alter table dripdrop.steps alter name drop not null",
            "column steps.name is different",
        ),
        (
            "create rule none as on delete to dripdrop.events do instead nothing",
            "rule events.none is unexpected",
        ),
        (
            "alter table dripdrop.steps disable trigger all",
            "constraint steps.steps_of_a_version is different",
        ),
        (
            "alter table dripdrop.step_executions alter payload set storage extended",
            "column step_executions.payload is different",
        ),
        (
            "drop index dripdrop.enrollments_one_open",
            "index enrollments_one_open is missing",
        ),
        (
            "alter table dripdrop.sequences drop constraint sequences_reentry_is_known",
            "constraint sequences.sequences_reentry_is_known is missing",
        ),
    ],
)
def test_tables_that_differ_are_refused_and_nothing_changes(
    dsn: str, harm: LiteralString, named: str
) -> None:
    execute(dsn, harm)
    execute(dsn, "create or replace function dripdrop.version() returns text return '0.0.9'")
    before = differences(dsn)
    with pytest.raises(SchemaDiffers) as error:
        install(dsn)
    assert named in str(error.value.diag.message_detail).split(", ")
    assert "check_schema()" in str(error.value.diag.message_hint)
    assert differences(dsn) == before


@pytest.mark.slow
def test_what_somebody_else_has_added_stays(dsn: str) -> None:
    execute(dsn, "create index mine on dripdrop.events (occurred_at)")
    execute(dsn, "alter table dripdrop.topics add mine text")
    execute(dsn, "create view public.mine as select * from dripdrop.ledger")
    install(dsn)
    assert [row[:2] for row in differences(dsn)] == [("column", "topics.mine"), ("index", "mine")]
    execute(dsn, "select from public.mine")


def test_what_uses_something_that_changes_its_form_is_named_and_kept(dsn: str) -> None:
    execute(dsn, "alter type dripdrop._send_result add attribute note text")
    execute(dsn, "create table public.mine (result dripdrop._send_result)")
    with pytest.raises(StillUsed, match=r"table public\.mine uses type dripdrop\._send_result"):
        install(dsn)
    execute(dsn, "select result from public.mine")


def test_a_newer_schema_is_refused_by_its_version(dsn: str) -> None:
    execute(dsn, "create or replace function dripdrop.version() returns text return '99.1.0'")
    with pytest.raises(InstallError, match=r"99\.1\.0"):
        install(dsn)


@pytest.mark.parametrize("action", [install, uninstall])
def test_somebody_elses_schema_is_refused_and_kept(empty_dsn: str, action: object) -> None:
    execute(empty_dsn, "create schema dripdrop create table mine (n int)")
    with pytest.raises(InstallError, match='schema "dripdrop" exists and is not ours'):
        action(empty_dsn)  # type: ignore[operator]
    execute(empty_dsn, "select n from dripdrop.mine")


@pytest.mark.slow
def test_a_failed_install_leaves_nothing(empty_dsn: str) -> None:
    execute(empty_dsn, "create schema pgmq")  # there, so it is taken for granted, and empty
    with pytest.raises(psycopg.Error):
        install(empty_dsn)
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regnamespace('dripdrop')").fetchone() == (None,)


def test_pg_cron_ticks_from_install_to_uninstall(cron_dsn: str) -> None:
    jobs = "select command from cron.job where jobname like 'dripdrop%' order by jobname"
    with psycopg.connect(cron_dsn, autocommit=True) as connection:
        assert connection.execute(jobs).fetchall() == [
            ("select dripdrop.reconcile()",),
            ("select dripdrop.tick()",),
        ]
        uninstall(cron_dsn)
        assert connection.execute(jobs).fetchall() == []


def test_uninstall_of_nothing_is_refused(empty_dsn: str) -> None:
    with pytest.raises(InstallError, match="not installed"):
        uninstall(empty_dsn)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("installer", "roles_exist", "owner"),
    [
        ("create role managed login", False, "managed"),
        ("create role managed login", True, "managed"),
        ("create role managed login createrole", False, "dripdrop_owner"),
        ("create role managed login createrole", True, "managed"),
    ],
)
def test_who_owns_the_schema_follows_from_what_the_installing_role_may(
    server: Databases, installer: LiteralString, roles_exist: bool, owner: str
) -> None:
    warnings: list[str] = []
    if roles_exist:
        install(server.dsn(server.create()))
    name = server.create()
    execute(server.server_dsn, installer)
    execute(server.server_dsn, f"alter database {name} owner to managed")
    dsn = make_conninfo(server.dsn(name), user="managed")
    install(dsn, warn=warnings.append)
    with psycopg.connect(dsn) as connection:
        found = "select nspowner::regrole::text from pg_namespace where nspname = 'dripdrop'"
        assert connection.execute(found).fetchone() == (owner,)
        connection.execute("select dripdrop.create_sequence(null, 'onboarding', 'Onboarding')")
        assert connection.execute("select * from dripdrop.check_schema()").fetchall() == []
    assert [owner in warning for warning in warnings] == [True] * (owner == "managed")


@pytest.mark.slow
def test_the_wheel_carries_the_scripts(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", tmp_path],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("deploy/tables", "deploy/code", "revert/tables", "revert/code"):
            packed = archive.read(f"dripdrop/migrations/{name}.sql")
            assert packed == (root / f"{name}.sql").read_bytes()
        plan = archive.read("dripdrop/migrations/sqitch.plan")
        assert plan == (root / "sqitch.plan").read_bytes()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Databases]:
    """A server whose roles are nobody else's."""
    with EmbeddedServer() as server:
        yield Databases(server.dsn)


@pytest.fixture
def server(own_server: Databases) -> Iterator[Databases]:
    """That server without any roles but its superuser."""
    with psycopg.connect(own_server.server_dsn, autocommit=True) as connection:
        yield own_server
        made = "select datname from pg_database where datname like 'dripdrop%'"
        for (name,) in connection.execute(made).fetchall():
            own_server.drop(name)
        roles = "select rolname from pg_roles where rolname ~ '^(managed|dripdrop)'"
        for (name,) in connection.execute(roles).fetchall():
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def pgmq_with_queue(empty_dsn: str) -> str:
    """A database with pgmq and a queue of somebody else in it."""
    with psycopg.connect(empty_dsn) as connection:
        install_pgmq_from_sql(conn=connection)
        connection.execute("select pgmq.create('mine')")
    return empty_dsn
