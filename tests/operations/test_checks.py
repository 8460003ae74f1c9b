"""check_schema and startup_check say what is wrong with an installation."""

from __future__ import annotations

import pytest

from tests.engine import TENANT, Engine, onboarding


def differences(engine: Engine) -> set[tuple[str, str, str]]:
    return {(row.kind, row.name, row.problem) for row in engine.check_schema()}


def problems(engine: Engine) -> list[str]:
    return [row.problem for row in engine.startup_check()]


def test_a_fresh_schema_is_whole(engine: Engine) -> None:
    assert differences(engine) == set()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            "alter table dripdrop.sequences drop column description",
            ("column", "sequences.description", "missing"),
        ),
        (
            "alter table dripdrop.sequences alter name drop not null",
            ("column", "sequences.name", "different"),
        ),
        (
            "alter table dripdrop.sequences alter active set default false",
            ("column", "sequences.active", "different"),
        ),
        (
            "alter table dripdrop.faults alter attempts type bigint",
            ("column", "faults.attempts", "different"),
        ),
        ("create table dripdrop.notes (id int)", ("table", "notes", "unexpected")),
        (
            "alter table dripdrop.sequences disable row level security",
            ("row security", "sequences", "missing"),
        ),
        (
            "alter table dripdrop.sequences drop constraint sequences_reentry_is_known",
            ("constraint", "sequences.sequences_reentry_is_known", "missing"),
        ),
        (
            "drop index dripdrop.enrollments_one_open",
            ("index", "enrollments_one_open", "missing"),
        ),
        (
            "drop index dripdrop.enrollments_one_open;"
            " create index enrollments_one_open on dripdrop.enrollments (id)",
            ("index", "enrollments_one_open", "different"),
        ),
        (
            "alter table dripdrop.step_executions reset (fillfactor)",
            ("storage", "step_executions.fillfactor", "missing"),
        ),
        (
            "alter table dripdrop.events force row level security",
            ("row security", "events", "different"),
        ),
        (
            "create rule none as on delete to dripdrop.events do instead nothing",
            ("rule", "events.none", "unexpected"),
        ),
        (
            "alter table dripdrop.steps disable trigger all",
            ("constraint", "steps.steps_of_a_version", "different"),
        ),
        (
            "alter table dripdrop.step_executions alter payload set storage extended",
            ("column", "step_executions.payload", "different"),
        ),
        (
            "alter table dripdrop.steps disable trigger steps_of_a_draft",
            ("trigger", "steps.steps_of_a_draft", "different"),
        ),
        (
            "drop trigger steps_of_a_draft on dripdrop.steps",
            ("trigger", "steps.steps_of_a_draft", "missing"),
        ),
        (
            "drop policy enrollments_of_the_tenant on dripdrop.enrollments",
            ("policy", "enrollments.enrollments_of_the_tenant", "missing"),
        ),
        (
            "alter policy events_of_the_tenant on dripdrop.events using (true)",
            ("policy", "events.events_of_the_tenant", "different"),
        ),
        ("drop view dripdrop.ledger", ("view", "ledger", "missing")),
        (
            "alter type dripdrop._send_result add attribute note text",
            ("type", "_send_result", "different"),
        ),
        (
            "alter function dripdrop.tick(int) set enable_seqscan = on",
            ("function", "tick(batch_size integer)", "different"),
        ),
        (
            "alter function dripdrop.tick(int) security invoker",
            ("function", "tick(batch_size integer)", "different"),
        ),
        (
            "revoke execute on function dripdrop.tick(int) from dripdrop_sender",
            ("grant", "dripdrop_sender on dripdrop.tick(integer)", "missing"),
        ),
        (
            "grant execute on function dripdrop.tick(int) to public",
            ("grant", "public on dripdrop.tick(integer)", "unexpected"),
        ),
        (
            "grant select (credentials) on dripdrop.channel_adapters to dripdrop_reader",
            ("grant", "dripdrop_reader on dripdrop.channel_adapters", "different"),
        ),
        (
            "create or replace function dripdrop.version() returns text language sql"
            " immutable parallel safe set search_path = pg_catalog, pg_temp as $$ select 'x' $$",
            ("function", "version()", "different"),
        ),
        (
            "create function dripdrop.mine() returns int language sql return 1",
            ("function", "mine()", "unexpected"),
        ),
    ],
)
def test_a_difference_is_named(
    engine: Engine, change: str, difference: tuple[str, str, str]
) -> None:
    engine.connection.execute(change)
    assert difference in differences(engine)


def test_storage_that_the_operator_has_added_is_no_difference(engine: Engine) -> None:
    engine.connection.execute("alter table dripdrop.topics set (autovacuum_vacuum_threshold = 7)")
    assert differences(engine) == set()


def test_a_ready_installation_has_no_problems(engine: Engine) -> None:
    engine.author()
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    assert problems(engine) == []


def test_missing_queues_are_named(engine: Engine) -> None:
    engine.stop()
    assert [(row.problem, row.detail) for row in engine.startup_check()] == [
        ("queue_missing", "dripdrop_hooks"),
        ("queue_missing", "dripdrop_render"),
        ("queue_missing", "dripdrop_send_email"),
        ("queue_missing", "dripdrop_send_webhook"),
    ]


def test_a_missing_pgmq_is_named(engine: Engine) -> None:
    engine.connection.execute("drop schema pgmq cascade")
    assert "pgmq_missing" in problems(engine)


def test_a_schema_that_differs_is_named_once(engine: Engine) -> None:
    for name in ("one", "two"):
        engine.connection.execute(f"create table dripdrop.{name} (id int)".encode())
    assert problems(engine) == ["schema_differs"]


def test_a_channel_without_a_sender_is_named_with_its_sequence(engine: Engine) -> None:
    engine.apply(TENANT, onboarding())
    problem, _ = engine.startup_check()
    assert problem.problem == "no_adapter"
    assert problem.detail == "sequence onboarding (tenant acme) sends over email"


def test_a_default_rotation_of_other_channels_is_no_sender(engine: Engine) -> None:
    engine.create_channel_adapter(TENANT, "hook", "webhook", "default")
    engine.apply(TENANT, onboarding(metadata={"channel_rotation": {"default": ["hook"]}}))
    assert "no_adapter" in problems(engine)


def test_every_problem_says_what_to_do(engine: Engine) -> None:
    engine.apply(TENANT, onboarding())
    engine.stop()
    engine.connection.execute("create table dripdrop.notes (id int)")
    rows = engine.startup_check()
    assert {row.problem for row in rows} == {
        "queue_missing",
        "schema_differs",
        "no_adapter",
        "no_unsubscribe_url",
    }
    assert all(row.hint for row in rows)


def test_overloads_are_told_apart(engine: Engine) -> None:
    assert differences(engine) == set()
    engine.connection.execute(
        "alter function dripdrop.enroll(text, text, text, anyelement, jsonb, anycompatible, jsonb,"
        " text, text) volatile parallel safe"
    )
    ((kind, name, problem),) = differences(engine)
    assert (kind, problem) == ("function", "different")
    assert "anyelement" in name
