"""What a login of each role can do, and what it cannot."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email, onboarding
from tests.permissions.conftest import Login

APP, SENDER, READER = "dripdrop_app", "dripdrop_sender", "dripdrop_reader"
WEB = "dripdrop_web"
TABLES = """
    select c.relname as name
    from pg_class as c
    where c.relnamespace = 'dripdrop'::regnamespace and c.relkind in ('r', 'v', 'm')
"""


@pytest.fixture
def tables(db: psycopg.Connection[Any]) -> list[str]:
    """The names of the engine's tables and views."""
    return [row.name for row in db.execute(TABLES)]


def refused(engine: Engine, statement: str) -> bool:
    """Whether the role lacks the right to run a statement."""
    try:
        engine.connection.execute(statement.encode())
    except InsufficientPrivilege:
        return True
    return False


def test_an_application_enrols_pauses_explains_and_ends(engine: Engine, login: Login) -> None:
    engine.author()
    app = login(APP)
    enrollment = app.join()
    app.pause_enrollment(TENANT, enrollment.id)
    app.resume_enrollment(TENANT, enrollment.id)
    assert app.explain(TENANT, enrollment.id)
    app.suppress(TENANT, "email", "ada@example.com")
    assert app.unenroll(TENANT, enrollment.id).state == "cancelled"


@pytest.mark.parametrize("role", ["dripdrop_admin", APP, SENDER, WEB])
def test_who_is_no_reader_reads_no_table(login: Login, tables: list[str], role: str) -> None:
    caller = login(role)
    for table in tables:
        assert refused(caller, f"select from dripdrop.{table}"), table


@pytest.mark.parametrize("role", ["dripdrop_admin", APP, SENDER, READER, WEB])
def test_nobody_becomes_the_owner(login: Login, role: str) -> None:
    assert refused(login(role), "set role dripdrop_owner")


@pytest.mark.parametrize("role", ["dripdrop_admin", APP, SENDER, READER, WEB])
def test_nobody_reads_the_queues(login: Login, role: str) -> None:
    assert refused(login(role), "select from pgmq.q_dripdrop_render")


def test_an_application_does_not_run_the_pipeline(login: Login) -> None:
    app = login(APP)
    for call in ("tick()", "claim_renders()", "claim_sends('email')", "complete_sends('[]')"):
        assert refused(app, f"select dripdrop.{call}"), call


@pytest.mark.slow
def test_a_sender_runs_the_whole_pipeline(engine: Engine, login: Login, clock: Clock) -> None:
    engine.author()
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    enrollment = engine.join()
    sender = login(SENDER)
    assert sender.check_schema() == []
    assert sender.startup_check() == []
    sender.deliver("maybe_sent")
    clock.advance(minutes=15)
    assert sender.reconcile().presumed_sent == 1
    clock.advance(days=3)
    sender.deliver()
    assert engine.enrollment(enrollment.id).state == "completed"


def test_a_sender_puts_back_lost_pointers(engine: Engine, login: Login) -> None:
    engine.author()
    engine.bring_to("queued", engine.join().id)
    engine.stop()
    engine.start()
    assert login(SENDER).reconcile().repointed == 1


def test_a_sender_neither_enrols_nor_stops(engine: Engine, login: Login) -> None:
    engine.author()
    sender = login(SENDER)
    assert refused(sender, "select dripdrop.enroll('acme', 'onboarding', 'User', '1')")
    assert refused(sender, "select dripdrop.suppress('acme', 'email', 'sam@example.com')")


def test_a_web_login_does_what_a_link_says_and_nothing_else(engine: Engine, login: Login) -> None:
    engine.author()
    engine.join()
    engine.deliver()
    (sent,) = engine.rows("select id from dripdrop.step_executions where state = 'sent'")
    web = login(WEB)
    assert web.subscription_page(TENANT, sent.id).recipient == "sam@example.com"
    web.update_subscriptions(TENANT, sent.id, {})
    web.unsubscribe(TENANT, sent.id)
    assert web.subscription_page(TENANT, sent.id).suppressed
    for call in (
        "tick()",
        "claim_renders()",
        "claim_sends('email')",
        "sealed_adapters()",
        "suppress('acme', 'email', 'ada@example.com')",
        "enroll('acme', 'onboarding', 'User', '1')",
        "startup_check()",
    ):
        assert refused(web, f"select dripdrop.{call}"), call


def test_a_sender_unsubscribes_nobody(engine: Engine, login: Login) -> None:
    sender = login(SENDER)
    execution = "'00000000-0000-0000-0000-000000000000'"
    for call in ("unsubscribe", "subscription_page"):
        assert refused(sender, f"select dripdrop.{call}('acme', {execution})"), call


def test_an_administrator_authors_and_operates(engine: Engine, login: Login) -> None:
    admin = login("dripdrop_admin")
    admin.author(email("welcome"))
    enrollment = admin.join()
    failed = engine.bring_to("failed", enrollment.id)
    assert admin.replay(TENANT, failed.id).state == "scheduled"
    assert admin.tick().queued == 1


def test_an_administrator_does_not_send(login: Login) -> None:
    assert refused(login("dripdrop_admin"), "select dripdrop.claim_sends('email')")


@pytest.fixture
def scopes(engine: Engine) -> Engine:
    """The engine with one person under way in each of three scopes."""
    for scope in (TENANT, "umbrella", None):
        engine.create_channel_adapter(scope, "mail", "email", "smtp", is_default=True)
        engine.apply(scope, onboarding())
        engine.enroll(scope, "onboarding", "User", "sam", {"email": "sam@example.com"})
        engine.suppress(scope, "email", "ada@example.com")
        engine.create_topic(scope, "news", "News")
        engine.set_subscription(scope, "User", "ada", "news", "subscribed", "signup")
    engine.deliver("maybe_sent")
    return engine


SEEN = (
    "sequences",
    "sequence_versions",
    "steps",
    "enrollments",
    "step_executions",
    "message_events",
    "message_reports",
    "suppressions",
    "suppression_history",
    "topics",
    "subscriptions",
    "consent_records",
)


def visible(reader: Engine) -> dict[str, set[str | None]]:
    """Return whose rows a reader sees in each table."""
    return {
        table: {row.tenant_key for row in reader.rows(f"select tenant_key from dripdrop.{table}")}
        for table in SEEN
    }


@pytest.mark.slow
def test_a_reader_who_names_no_tenant_sees_nothing(scopes: Engine, login: Login) -> None:
    assert visible(login(READER)) == {table: set() for table in SEEN}


@pytest.mark.parametrize(
    ("named", "scope"), [(TENANT, TENANT), ("umbrella", "umbrella"), (":global", None)]
)
def test_a_reader_sees_the_scope_that_is_named(
    scopes: Engine, login: Login, named: str, scope: str | None
) -> None:
    reader = login(READER)
    reader.rows("select set_config('dripdrop.tenant_key', %s, false)", named)
    assert visible(reader) == {table: {scope} for table in SEEN}


@pytest.mark.parametrize("named", ["", "nobody", "acm", ":"])
def test_a_reader_who_names_no_scope_there_is_sees_nothing(
    scopes: Engine, login: Login, named: str
) -> None:
    reader = login(READER)
    reader.rows("select set_config('dripdrop.tenant_key', %s, false)", named)
    assert visible(reader) == {table: set() for table in SEEN}


@pytest.mark.slow
def test_a_reader_reads_every_column_but_the_sealed_ones(
    db: psycopg.Connection[Any], scopes: Engine, login: Login
) -> None:
    columns = db.execute("""
        select c.relname || '.' || a.attname as name
        from pg_attribute as a
        join pg_class as c on c.oid = a.attrelid
        where c.relnamespace = 'dripdrop'::regnamespace
          and c.relkind in ('r', 'v')
          and a.attnum > 0
          and not a.attisdropped
          and not has_column_privilege('dripdrop_reader', c.oid, a.attnum, 'select')
        order by 1
    """).fetchall()
    assert [row.name for row in columns] == [
        "channel_adapters.credentials",
        "erasure_secret.salt",
        "http_hooks.auth_config",
    ]
    assert refused(login(READER), "select credentials from dripdrop.channel_adapters")


@pytest.mark.slow
def test_a_readers_ledger_holds_the_rows_of_its_tenant(
    scopes: Engine, login: Login, clock: Clock
) -> None:
    for scope in (TENANT, "umbrella"):
        scopes.enroll(scope, "onboarding", "User", "bob", {"email": "bob@example.com"})
    scopes.tick()
    scopes.connection.execute("truncate pgmq.q_dripdrop_render")
    assert len(scopes.ledger()) == 2
    reader = login(READER)
    assert reader.ledger() == []
    reader.rows("select set_config('dripdrop.tenant_key', %s, false)", TENANT)
    rows = reader.rows("select tenant_key from dripdrop.ledger")
    assert [row.tenant_key for row in rows] == [TENANT]


def test_no_function_returns_credentials_but_those_for_senders(
    engine: Engine, login: Login
) -> None:
    admin = login("dripdrop_admin")
    admin.create_channel_adapter(TENANT, "mail", "email", "smtp", "AQ" + "A" * 62, is_default=True)
    (listed,) = admin.list_channel_adapters(TENANT)
    default = admin.get_default_adapter(TENANT, "email")
    changed = admin.update_channel_adapter(TENANT, listed.id, config={"max_in_flight": 3})
    assert [row.credentials for row in (listed, default, changed)] == [None, None, None]
