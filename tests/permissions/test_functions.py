"""Who may call what."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

ADMIN, APP, SENDER, READER = "dripdrop_admin", "dripdrop_app", "dripdrop_sender", "dripdrop_reader"
WEB = "dripdrop_web"
OWNER, HOOKS = "dripdrop_owner", "dripdrop_hooks"

CALLERS: dict[str, set[str]] = {
    "_call_function": {OWNER},
    "_now": {READER},
    "_row_deleted": {ADMIN, APP},
    "_set_time": {READER},
    "_visible": {READER},
    "_without_pointer": {READER},
    "activate_sequence_version": {ADMIN},
    "apply": {ADMIN},
    "call_hook": {SENDER},
    "channels": {ADMIN, APP, SENDER, READER},
    "check_schema": {ADMIN, SENDER},
    "check_thresholds": {ADMIN, SENDER},
    "claim_due": {SENDER},
    "claim_hooks": {SENDER},
    "claim_rendered": {SENDER},
    "claim_renders": {SENDER},
    "claim_sends": {SENDER},
    "complete_hooks": {SENDER},
    "complete_renders": {SENDER},
    "complete_sends": {SENDER},
    "create_channel_adapter": {ADMIN},
    "create_condition": {ADMIN},
    "create_exit_rule": {ADMIN},
    "create_hook": {ADMIN},
    "create_http_hook": {ADMIN},
    "create_sequence": {ADMIN},
    "create_sequence_version": {ADMIN},
    "create_step": {ADMIN},
    "create_step_transition": {ADMIN},
    "create_topic": {ADMIN},
    "cron_next": {ADMIN, APP},
    "delete_channel_adapter": {ADMIN},
    "delete_condition": {ADMIN},
    "delete_http_hook": {ADMIN},
    "delete_step": {ADMIN},
    "delete_step_transition": {ADMIN},
    "delete_topic": {ADMIN},
    "drop_exit_rule": {ADMIN},
    "drop_frequency_cap": {ADMIN},
    "drop_hook": {ADMIN},
    "enroll": {ADMIN, APP},
    "enroll_many": {ADMIN, APP},
    "erase_subscriber": {ADMIN, APP},
    "errors": {ADMIN, APP, SENDER, READER, WEB},
    "explain": {ADMIN, APP},
    "export_subscriber": {ADMIN, APP},
    "fields": {ADMIN, APP, READER},
    "forecast": {ADMIN},
    "get_active_sequence_version": {ADMIN, APP},
    "get_default_adapter": {ADMIN},
    "get_enrollment": {ADMIN, APP},
    "get_http_hook": {ADMIN, SENDER},
    "get_sequence": {ADMIN, APP},
    "get_subscriptions": {ADMIN, APP},
    "hold_sequence": {ADMIN, APP},
    "idempotency_key": {ADMIN},
    "is_suppressed": {ADMIN, APP},
    "json_schema": {ADMIN, APP, READER},
    "latest_step_by_key": {ADMIN, APP},
    "leased_renders": {SENDER},
    "list_active_enrollments": {ADMIN, APP},
    "list_channel_adapters": {ADMIN},
    "list_circuits": {ADMIN},
    "list_enrollments": {ADMIN, APP},
    "list_frequency_caps": {ADMIN},
    "list_hooks": {ADMIN},
    "list_http_hooks": {ADMIN},
    "list_messages": {ADMIN, APP},
    "list_sending_pauses": {ADMIN},
    "list_sequence_versions": {ADMIN, APP},
    "list_steps": {ADMIN, APP},
    "list_suppressions": {ADMIN},
    "list_topics": {ADMIN, APP},
    "migrate_enrollments": {ADMIN},
    "migrate_preview": {ADMIN},
    "next_due": {SENDER},
    "note_fault": {SENDER},
    "next_opening": {ADMIN, APP},
    "next_time": {ADMIN, APP},
    "on_delete": {ADMIN, APP},
    "note_worker": {SENDER},
    "forget_worker": {SENDER},
    "list_workers": {ADMIN},
    "open_transactions": {ADMIN, SENDER},
    "parse_timing": {ADMIN, APP},
    "pause_adapter": {ADMIN},
    "pause_enrollment": {ADMIN, APP},
    "pause_sending": {ADMIN},
    "plan": {ADMIN},
    "provider_settings": {ADMIN, SENDER, READER},
    "prune": {ADMIN},
    "providers": {ADMIN, APP, SENDER, READER},
    "reconcile": {ADMIN, SENDER},
    "record_hook_test": {ADMIN, SENDER},
    "register_channel": {ADMIN},
    "register_provider": {ADMIN},
    "release": {ADMIN},
    "release_claim": {SENDER},
    "replay": {ADMIN},
    "reply_codes": {ADMIN, APP, SENDER, READER},
    "reseal_adapter": {ADMIN},
    "reseal_http_hook": {ADMIN},
    "resolve": {ADMIN},
    "resume_adapter": {ADMIN},
    "resume_enrollment": {ADMIN, APP},
    "resume_sending": {ADMIN},
    "resume_sequence": {ADMIN, APP},
    "sealed_adapters": {ADMIN},
    "sealed_http_hooks": {ADMIN},
    "set_adapter_limits": {ADMIN},
    "set_adapter_sequence_budget": {ADMIN},
    "set_frequency_cap": {ADMIN},
    "set_holidays": {ADMIN},
    "set_subscription": {ADMIN, APP},
    "simulate": {ADMIN},
    "skip_held": {ADMIN},
    "missing_permissions": {ADMIN, SENDER},
    "needs_key": {ADMIN, SENDER},
    "startup_check": {ADMIN, SENDER},
    "status": {ADMIN},
    "subscription_page": {WEB},
    "suppress": {ADMIN, APP},
    "suppress_many": {ADMIN},
    "template_variables": {ADMIN},
    "tick": {ADMIN, SENDER},
    "track_event": {ADMIN, APP},
    "track_events": {ADMIN, APP},
    "unenroll": {ADMIN, APP},
    "unenroll_subscriber": {ADMIN, APP},
    "unregister_channel": {ADMIN},
    "unregister_provider": {ADMIN},
    "unsubscribe": {WEB},
    "unsuppress": {ADMIN},
    "update_channel_adapter": {ADMIN},
    "update_condition": {ADMIN},
    "update_enrollment": {ADMIN, APP},
    "update_exit_rule": {ADMIN},
    "update_http_hook": {ADMIN},
    "update_step": {ADMIN},
    "update_step_content": {ADMIN},
    "update_step_transition": {ADMIN},
    "update_subscriber": {ADMIN, APP},
    "update_subscriptions": {WEB},
    "update_tenant_settings": {ADMIN},
    "update_topic": {ADMIN},
    "validate_sequence_version": {ADMIN},
    "version": {ADMIN, APP, SENDER, READER, WEB},
}
"""Function → the roles that may call it. What is not named here, only the owner may call."""


def grantees(db: psycopg.Connection[Any]) -> dict[str, set[str]]:
    """Return function → roles with execute, besides the owner; "public" for public."""
    rows = db.execute("""
        select p.proname, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
        from pg_proc as p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
        where p.pronamespace = 'dripdrop'::regnamespace and a.grantee <> p.proowner
    """)
    found: dict[str, set[str]] = {}
    for name, role in rows:
        found.setdefault(name, set()).add(role)
    return found


def test_each_function_is_granted_to_its_roles_and_no_other(db: psycopg.Connection[Any]) -> None:
    assert grantees(db) == CALLERS


def test_every_public_function_has_a_caller_except_those_of_the_installer(
    db: psycopg.Connection[Any],
) -> None:
    public = {
        row.proname
        for row in db.execute("""
            select distinct proname
            from pg_proc
            where pronamespace = 'dripdrop'::regnamespace and not starts_with(proname, '_')
        """)
    }
    assert public - set(CALLERS) == {"start", "stop"}


def test_every_function_with_a_caller_but_the_readers_runs_as_the_owner(
    db: psycopg.Connection[Any],
) -> None:
    """Else it would meet the caller's rights, as a trigger on the caller's own table is to.

    Constants and row-level security need none.
    """
    invokers = {
        row.proname
        for row in db.execute("""
            select proname
            from pg_proc
            where pronamespace = 'dripdrop'::regnamespace and not prosecdef
        """)
    }
    assert invokers & set(CALLERS) == {
        "_now",
        "_set_time",
        "_visible",
        "errors",
        "idempotency_key",
        "missing_permissions",
        "on_delete",
        "reply_codes",
        "version",
    }


@pytest.mark.parametrize("kind", ["relation", "schema", "column"])
def test_public_has_nothing(db: psycopg.Connection[Any], kind: str) -> None:
    queries = {
        "relation": """
            select c.relname from pg_class as c
            cross join lateral aclexplode(c.relacl) as a
            where c.relnamespace = 'dripdrop'::regnamespace and a.grantee = 0
        """,
        "schema": """
            select n.nspname from pg_namespace as n
            cross join lateral aclexplode(n.nspacl) as a
            where n.nspname = 'dripdrop' and a.grantee = 0
        """,
        "column": """
            select a.attname from pg_attribute as a
            join pg_class as c on c.oid = a.attrelid
            cross join lateral aclexplode(a.attacl) as g
            where c.relnamespace = 'dripdrop'::regnamespace and g.grantee = 0
        """,
    }
    assert db.execute(queries[kind].encode()).fetchall() == []


def test_only_readers_may_read_tables_and_nobody_may_write_them(
    db: psycopg.Connection[Any],
) -> None:
    rights = db.execute("""
        select distinct a.grantee::regrole::text, a.privilege_type
        from pg_class as c
        left join pg_attribute as t on t.attrelid = c.oid
        cross join lateral aclexplode(array_cat(c.relacl, t.attacl)) as a
        where c.relnamespace = 'dripdrop'::regnamespace and a.grantee <> c.relowner
    """).fetchall()
    assert rights == [(READER, "SELECT")]


def test_the_engines_owner_owns_everything_and_cannot_log_in(
    db: psycopg.Connection[Any],
) -> None:
    owners = db.execute("""
        select distinct o.owner::regrole::text, r.rolcanlogin, r.rolsuper
        from (
          select nspowner from pg_namespace where nspname = 'dripdrop'
          union all
          select relowner from pg_class where relnamespace = 'dripdrop'::regnamespace
          union all
          select proowner from pg_proc
          where pronamespace = 'dripdrop'::regnamespace and proname <> '_call_function'
          union all
          select typowner from pg_type where typnamespace = 'dripdrop'::regnamespace
        ) as o (owner)
        join pg_roles as r on r.oid = o.owner
    """).fetchall()
    assert owners == [(OWNER, False, False)]


def test_only_what_calls_the_applications_code_belongs_to_a_role_without_rights(
    db: psycopg.Connection[Any],
) -> None:
    owned = db.execute("""
        select p.proname, p.prosecdef, r.rolcanlogin, r.rolsuper
        from pg_proc as p
        join pg_roles as r on r.oid = p.proowner
        where r.rolname = 'dripdrop_hooks'
    """).fetchall()
    assert owned == [("_call_function", True, False, False)]
    rights = db.execute("""
        select n.nspname, a.privilege_type
        from pg_namespace as n
        cross join lateral aclexplode(n.nspacl) as a
        where a.grantee = 'dripdrop_hooks'::regrole
    """).fetchall()
    assert rights == [("dripdrop", "USAGE")]


@pytest.mark.parametrize("role", [HOOKS, ADMIN, APP, SENDER, READER, WEB])
def test_the_roles_cannot_log_in(db: psycopg.Connection[Any], role: str) -> None:
    row = db.execute(
        "select rolcanlogin, rolsuper from pg_roles where rolname = %s", [role]
    ).fetchone()
    assert row == (False, False)
