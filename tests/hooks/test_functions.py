"""create_hook(), drop_hook(), list_hooks() and call_hook(): functions of the application."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from dripdrop.errors import ExecutionNotFound, HookNotFound, InvalidArgument, InvalidTenantKey
from tests.engine import TENANT, Engine
from tests.hooks.conftest import add_function, waiting

SIGNATURE = "dripdrop.enrollments, jsonb"


def test_a_function_is_kept_by_its_full_name(hooked: Engine) -> None:
    hook = add_function(hooked, timeout_ms=250, description="How warm a lead is")
    assert (hook.key, hook.timeout_ms, hook.description) == ("score", 250, "How warm a lead is")
    assert hook.function == "app.score(dripdrop.enrollments,jsonb)"


def test_registering_again_replaces_it(hooked: Engine) -> None:
    first = add_function(hooked)
    second = add_function(hooked, timeout_ms=50)
    assert second.id == first.id
    assert [hook.timeout_ms for hook in hooked.list_hooks(TENANT)] == [50]


def test_a_list_shows_the_hooks_of_exactly_one_tenant(hooked: Engine) -> None:
    add_function(hooked)
    add_function(hooked, key="shared", tenant_key=None)
    assert [hook.key for hook in hooked.list_hooks(TENANT)] == ["score"]
    assert [hook.key for hook in hooked.list_hooks(None)] == ["shared"]


@pytest.mark.parametrize(
    ("parameters", "returns"),
    [
        ("jsonb", "jsonb"),
        ("jsonb, dripdrop.enrollments", "jsonb"),
        (f"{SIGNATURE}, int", "jsonb"),
        (SIGNATURE, "text"),
        (SIGNATURE, "setof jsonb"),
    ],
)
def test_a_function_of_another_signature_is_refused(
    hooked: Engine, parameters: str, returns: str
) -> None:
    hooked.connection.execute(
        f"create function public.other({parameters}) returns {returns}"
        f" language sql as 'select null::{returns.removeprefix('setof ')}'".encode()
    )
    with hooked.refused(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, "score", f"public.other({parameters})")
    assert refusal.value.diag.column_name == "function"


@pytest.mark.parametrize(
    "revoke",
    [
        "revoke usage on schema app from dripdrop_hooks",
        f"revoke execute on function app.score({SIGNATURE}) from public",
    ],
)
def test_a_function_that_the_owner_may_not_call_is_refused(hooked: Engine, revoke: str) -> None:
    add_function(hooked)
    hooked.connection.execute(revoke.encode())
    with hooked.refused(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, "score", f"app.score({SIGNATURE})")
    assert "security definer" in (refusal.value.diag.message_hint or "")


@pytest.mark.parametrize("key", ["", "Score", "7th", "lead-score", "event", "subscriber_id"])
def test_a_key_that_cannot_be_a_variable_is_refused(hooked: Engine, key: str) -> None:
    add_function(hooked)
    with hooked.refused(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, key, f"app.score({SIGNATURE})")
    assert refusal.value.diag.column_name == "key"


@pytest.mark.parametrize("timeout_ms", [0, 30_001])
def test_a_timeout_out_of_bounds_is_refused(hooked: Engine, timeout_ms: int) -> None:
    add_function(hooked)
    with hooked.refused(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, "other", f"app.score({SIGNATURE})", timeout_ms=timeout_ms)
    assert refusal.value.diag.column_name == "timeout_ms"


def test_a_tenant_key_is_checked(hooked: Engine) -> None:
    add_function(hooked)
    with hooked.refused(InvalidTenantKey):
        hooked.create_hook("", "score", f"app.score({SIGNATURE})")


def test_a_hook_of_another_tenant_is_not_found(hooked: Engine) -> None:
    add_function(hooked)
    for tenant in (None, "other"):
        with hooked.refused(HookNotFound):
            hooked.drop_hook(tenant, "score")


def test_what_is_dropped_is_gone(hooked: Engine) -> None:
    add_function(hooked)
    assert hooked.drop_hook(TENANT, "score").key == "score"
    assert hooked.list_hooks(TENANT) == []


def test_a_function_reads_the_applications_tables_as_they_are(hooked: Engine) -> None:
    hooked.connection.execute("create schema app; create table app.scores (who text, score int)")
    hooked.connection.execute("insert into app.scores values ('sam', 1)")
    add_function(
        hooked,
        "select to_jsonb(s.score) from app.scores as s where s.who = enrollment.subscriber_id",
    )
    execution = waiting(hooked)
    hooked.connection.execute("update app.scores set score = 85")
    assert hooked.call_hook(execution.id, "score") == {"value": 85}


def test_a_function_sees_the_variables_of_templates(hooked: Engine) -> None:
    add_function(hooked, "select context")
    execution = waiting(hooked, data={"email": "sam@example.com", "plan": "pro"})
    variables = hooked.call_hook(execution.id, "score")["value"]
    assert (variables["plan"], variables["step_key"], variables["tenant_key"]) == (
        "pro",
        "welcome",
        TENANT,
    )


def test_null_is_a_value(hooked: Engine) -> None:
    add_function(hooked, "select null::jsonb")
    assert hooked.call_hook(waiting(hooked).id, "score") == {"value": None}


def test_what_a_function_raises_passes_through(hooked: Engine) -> None:
    add_function(hooked, "select to_jsonb(1 / (context ->> 'zero')::int)")
    execution = waiting(hooked, data={"email": "sam@example.com", "zero": 0})
    with pytest.raises(psycopg.errors.DivisionByZero):
        hooked.call_hook(execution.id, "score")


def test_a_function_that_is_not_security_definer_may_read_nothing_of_the_applications(
    hooked: Engine,
) -> None:
    hooked.connection.execute("create table public.secrets (secret text)")
    add_function(hooked, "select to_jsonb(s) from public.secrets as s", options="stable")
    execution = waiting(hooked)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        hooked.call_hook(execution.id, "score")


def test_a_tenants_own_function_goes_before_the_shared_one(hooked: Engine) -> None:
    add_function(hooked, "select to_jsonb('shared'::text)", tenant_key=None)
    execution = waiting(hooked)
    assert hooked.call_hook(execution.id, "score") == {"value": "shared"}
    hooked.connection.execute(
        "create function app.own(dripdrop.enrollments, jsonb) returns jsonb language sql"
        " as $$ select to_jsonb('own'::text) $$"
    )
    hooked.create_hook(TENANT, "score", "app.own(dripdrop.enrollments, jsonb)")
    assert hooked.call_hook(execution.id, "score") == {"value": "own"}


def test_a_function_of_another_tenant_is_missing(hooked: Engine) -> None:
    add_function(hooked, tenant_key="other")
    enrollment = hooked.join()
    execution = hooked.last(enrollment.id)
    assert hooked.call_hook(execution.id, "score") == {"error": "hook_missing"}


def test_a_function_that_was_dropped_is_missing(hooked: Engine) -> None:
    add_function(hooked)
    execution = waiting(hooked)
    hooked.connection.execute("drop function app.score")
    assert hooked.call_hook(execution.id, "score") == {"error": "hook_missing"}


def test_an_unknown_execution_is_refused(hooked: Engine) -> None:
    with hooked.refused(ExecutionNotFound):
        hooked.call_hook(uuid4(), "score")


@pytest.fixture
def app_role(hooked: Engine) -> str:
    """A role of the application with a schema and a table of its own."""
    role = "app_owner"
    hooked.connection.execute("create schema if not exists app; create role app_owner nologin")
    hooked.connection.execute("grant create, usage on schema app to app_owner")
    hooked.connection.execute("create table app.mine (score int); insert into app.mine values (85)")
    hooked.connection.execute("alter table app.mine owner to app_owner")
    return role


def owned(engine: Engine, role: str, body: str, options: str = "security definer") -> Any:
    """Register a function that belongs to the application's role."""
    hook = add_function(engine, body, options=options)
    engine.connection.execute(
        f"alter function app.score(dripdrop.enrollments, jsonb) owner to {role}".encode()
    )
    return hook


def test_a_function_runs_with_the_rights_of_its_owner(hooked: Engine, app_role: str) -> None:
    owned(hooked, app_role, "select to_jsonb(score) from app.mine")
    assert hooked.call_hook(waiting(hooked).id, "score") == {"value": 85}


@pytest.mark.parametrize(
    "body",
    [
        "select to_jsonb(count(*)) from dripdrop.enrollments",
        "select to_jsonb(credentials) from dripdrop.channel_adapters",
        "select to_jsonb(dripdrop.version())",
        "select to_jsonb(set_config('role', 'dripdrop_owner', true))",
        "select to_jsonb(set_config('role', 'none', true))",
        "select to_jsonb(set_config('session_authorization', 'default', true))",
        "select to_jsonb(count(*)) from pgmq.q_dripdrop_hooks",
    ],
)
def test_a_function_replaced_by_security_invoker_has_no_rights_on_the_engine(
    hooked: Engine, app_role: str, body: str
) -> None:
    owned(hooked, app_role, "select to_jsonb(score) from app.mine")
    execution = waiting(hooked)
    hooked.connection.execute(
        "create or replace function app.score(enrollment dripdrop.enrollments, context jsonb)"
        f" returns jsonb language sql security invoker as $$ {body} $$".encode()
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        hooked.call_hook(execution.id, "score")


def test_a_function_without_rights_of_its_own_runs_as_a_role_without_rights(hooked: Engine) -> None:
    add_function(hooked, "select to_jsonb(current_user::text)", options="stable")
    assert hooked.call_hook(waiting(hooked).id, "score") == {"value": "dripdrop_hooks"}


def test_a_function_that_would_run_as_the_engines_owner_is_refused(hooked: Engine) -> None:
    add_function(hooked)
    execution = waiting(hooked)
    hooked.connection.execute("grant create, usage on schema app to dripdrop_owner")
    hooked.connection.execute(
        f"alter function app.score({SIGNATURE}) owner to dripdrop_owner".encode()
    )
    with hooked.refused(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, "score", f"app.score({SIGNATURE})")
    assert "would run as the owner of the engine" in str(refusal.value)
    assert hooked.call_hook(execution.id, "score") == {"error": "hook_refused"}


@pytest.mark.parametrize(
    "change",
    [
        f"revoke execute on function app.score({SIGNATURE}) from public",
        "revoke usage on schema app from dripdrop_hooks",
        f"drop function app.score({SIGNATURE});"
        f"create function app.score({SIGNATURE}) returns setof jsonb language sql"
        " as $$ select to_jsonb(7) $$",
    ],
)
def test_what_was_changed_since_it_was_registered_is_not_called(
    hooked: Engine, change: str
) -> None:
    add_function(hooked)
    execution = waiting(hooked)
    hooked.connection.execute(change.encode())
    assert hooked.call_hook(execution.id, "score") == {"error": "hook_refused"}


def test_without_a_role_of_its_own_only_security_definer_of_another_owner_is_called(
    hooked: Engine, app_role: str
) -> None:
    hooked.connection.execute(
        "alter function dripdrop._call_function(regprocedure, dripdrop.enrollments, jsonb)"
        " owner to dripdrop_owner"
    )
    hooked.connection.execute("create schema if not exists app")
    hooked.connection.execute("grant usage on schema app to dripdrop_owner")
    owned(hooked, app_role, "select to_jsonb(score) from app.mine")
    execution = waiting(hooked)
    assert hooked.call_hook(execution.id, "score") == {"value": 85}
    hooked.connection.execute(f"alter function app.score({SIGNATURE}) security invoker".encode())
    assert hooked.call_hook(execution.id, "score") == {"error": "hook_refused"}
    with hooked.refused(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, "score", f"app.score({SIGNATURE})")
    assert "no role dripdrop_hooks" in (refusal.value.diag.message_hint or "")


LEFT = {
    "a setting": (
        "perform set_config('dripdrop.now', '2030-01-01', false)",
        "select count(*) filter (where current_setting('dripdrop.now') like '2030%')",
    ),
    "a planner's setting": (
        "set work_mem = '64kB'",
        "select count(*) from pg_settings where name = 'work_mem' and setting = '64'",
    ),
    "a temporary table": (
        "create temporary table left_behind ()",
        "select count(*) from pg_class where relname = 'left_behind'",
    ),
    "a row": (
        "insert into app.mine values (1)",
        "select count(*) from app.mine where score = 1",
    ),
    "a session's lock": (
        "perform pg_advisory_lock(4711)",
        "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711",
    ),
    "a prepared statement": (
        "execute 'prepare left_behind as select 1'",
        "select count(*) from pg_prepared_statements where name = 'left_behind'",
    ),
    "a listener": (
        "listen left_behind",
        "select count(*) from pg_listening_channels() as c where c = 'left_behind'",
    ),
    "a cursor": (
        "execute 'declare left_behind cursor with hold for select 1'",
        "select count(*) from pg_cursors where name = 'left_behind'",
    ),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("left", LEFT)
def test_a_call_leaves_nothing_on_the_connection(
    hooked: Engine, app_role: str, left: str, fails: bool
) -> None:
    statement, found = LEFT[left]
    end = "raise exception 'no'" if fails else "return to_jsonb(85)"
    add_function(hooked)
    hooked.connection.execute(
        "create or replace function app.score(enrollment dripdrop.enrollments, context jsonb)"
        " returns jsonb language plpgsql security definer"
        f" as $$ begin {statement}; {end}; end $$".encode()
    )
    hooked.connection.execute(f"alter function app.score({SIGNATURE}) owner to {app_role}".encode())
    execution = waiting(hooked)
    if fails:
        with pytest.raises(psycopg.errors.RaiseException):
            hooked.call_hook(execution.id, "score")
    else:
        assert hooked.call_hook(execution.id, "score") == {"value": 85}
    assert [row[0] for row in hooked.connection.execute(found.encode())][-1] == 0


def test_what_a_caller_had_prepared_stays_prepared(hooked: Engine) -> None:
    add_function(hooked)
    hooked.connection.execute("prepare mine as select 7")
    hooked.call_hook(waiting(hooked).id, "score")
    assert hooked.rows("execute mine") == [(7,)]
    hooked.connection.execute("deallocate mine")


def test_what_a_function_warns_of_does_not_reach_the_caller(hooked: Engine) -> None:
    add_function(hooked)
    hooked.connection.execute("""
        create or replace function app.score(enrollment dripdrop.enrollments, context jsonb)
        returns jsonb language plpgsql security definer as $$
        begin
          raise warning 'words';
          return to_jsonb(85);
        end $$
    """)
    said: list[Any] = []
    hooked.connection.add_notice_handler(said.append)
    assert hooked.call_hook(waiting(hooked).id, "score") == {"value": 85}
    assert said == []


def test_a_hook_without_a_function_is_refused(hooked: Engine) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        hooked.create_hook(TENANT, "score", None)  # type: ignore[arg-type]
    assert refusal.value.diag.column_name == "function"


@pytest.mark.parametrize("functions", [-1, None])
def test_a_claim_for_no_count_of_functions_is_refused(
    hooked: Engine, functions: int | None
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        hooked.claim_hooks(functions=functions)  # type: ignore[arg-type]
    assert refusal.value.diag.column_name == "functions"
