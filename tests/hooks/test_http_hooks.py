"""create_http_hook(), update_http_hook(), list_http_hooks(), record_hook_test()."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from dripdrop import Vault
from dripdrop.errors import AlreadyExists, HookNotFound, InvalidArgument, SequenceNotFound
from dripdrop.vault import from_text
from tests.conftest import Clock
from tests.engine import TENANT, Engine, onboarding
from tests.hooks.conftest import KEY, SCORED, SECRET, add_hook, sealed, sequence_of

BEARER = {"auth_type": "bearer", "auth_config": sealed({"token": SECRET})}


def document(engine: Engine, hook: dict[str, Any]) -> dict[str, Any]:
    """Return a hook's document in its one form."""
    query = "select dripdrop._canonical_http_hook(null, %s) as canonical"
    canonical: dict[str, Any] = engine.rows(query, Jsonb(hook))[0].canonical
    return canonical


def put(engine: Engine, hook: dict[str, Any]) -> Any:
    """Put a document's hook into the sequence, as apply() does."""
    return engine.rows(
        "select (dripdrop._put_http_hook(q, dripdrop._canonical_http_hook(null, %s))).*"
        " from dripdrop.sequences as q",
        Jsonb(hook),
    )[0]


def kept(engine: Engine) -> Any:
    """Return the only HTTP hook's row."""
    return engine.rows("select * from dripdrop.http_hooks")[0]


def test_what_is_left_out_has_a_default(hooked: Engine) -> None:
    hook = hooked.create_http_hook(TENANT, sequence_of(hooked), "score", "https://example.com/")
    assert (hook.name, hook.method, hook.headers, hook.auth_type) == ("score", "POST", {}, "none")
    assert (hook.response_type, hook.response_path, hook.body_template) == ("json", None, None)
    assert (hook.timeout_ms, hook.retry_count, hook.active) == (5000, 2, True)
    assert hook.tenant_key == TENANT


def test_a_word_is_a_path_to_a_field(hooked: Engine) -> None:
    assert add_hook(hooked, response_path="score").response_path == "$.score"
    assert add_hook(hooked, "first", response_path="$.data[0].id").response_path == "$.data[0].id"


def test_a_method_is_written_in_capitals(hooked: Engine) -> None:
    assert add_hook(hooked, method="get").method == "GET"


def test_credentials_are_never_shown(hooked: Engine) -> None:
    shown = [
        add_hook(hooked, **BEARER),
        hooked.update_http_hook(TENANT, kept(hooked).id, name="Score"),
        *hooked.list_http_hooks(TENANT, sequence_of(hooked)),
        hooked.record_hook_test(TENANT, kept(hooked).id, {"error": "http_500"}),
    ]
    assert [hook.auth_config for hook in shown] == [None] * 4
    assert kept(hooked).auth_config == from_text(BEARER["auth_config"])


def test_whoever_tries_a_hook_gets_its_credentials_sealed(hooked: Engine) -> None:
    add_hook(hooked, **BEARER)
    call = hooked.get_http_hook(TENANT, kept(hooked).id)
    envelope = from_text(call["auth_config"])
    assert call["seal_name"] == "hook:onboarding:score"
    assert Vault(KEY).open(envelope, TENANT, call["seal_name"]) == {"token": SECRET}


@pytest.mark.parametrize(
    ("column", "fields"),
    [
        ("key", {"key": "Lead Score"}),
        ("key", {"key": "event"}),
        ("key", {"key": "hooks"}),
        ("url", {"url": "ftp://example.com/"}),
        ("url", {"url": "example.com"}),
        ("url", {"url": "{{ url }}"}),
        ("method", {"method": "TRACE"}),
        ("headers", {"headers": []}),
        ("headers.X", {"headers": {"X": 1}}),
        ("headers.X", {"headers": {"X": "a\r\nY: b"}}),
        ("headers.X Y", {"headers": {"X Y": "a"}}),
        ("headers.Host", {"headers": {"Host": "example.org"}}),
        ("headers.Authorization", {"headers": {"Authorization": "Bearer x"}}),
        ("headers.X-API-Key", {"headers": {"X-API-Key": "x"}}),
        ("headers.Content-Type", {"headers": {"Content-Type": "text/xml"}}),
        ("auth_type", {"auth_type": "digest"}),
        ("auth_config", {"auth_type": "bearer"}),
        ("auth_config", {"auth_type": "bearer", "auth_config": "token"}),
        ("auth_config", {"auth_config": sealed({"token": SECRET})}),
        ("response_path", {"response_path": "$."}),
        ("response_path", {"response_path": "a b"}),
        ("response_type", {"response_type": "xml"}),
        ("timeout_ms", {"timeout_ms": 0}),
        ("timeout_ms", {"timeout_ms": 60_000}),
        ("retry_count", {"retry_count": 6}),
        ("retry_count", {"retry_count": -1}),
    ],
)
def test_a_field_that_cannot_be_right_is_refused_by_its_path(
    hooked: Engine, column: str, fields: dict[str, Any]
) -> None:
    with hooked.refused(InvalidArgument) as refusal:
        add_hook(hooked, **fields)
    assert refusal.value.diag.column_name == column
    assert SECRET not in str(refusal.value)


def test_a_key_is_used_once_per_sequence(hooked: Engine) -> None:
    add_hook(hooked)
    with hooked.refused(AlreadyExists):
        add_hook(hooked)


@pytest.mark.parametrize("tenant", [None, "other"])
def test_another_tenants_rows_are_not_found(hooked: Engine, tenant: str | None) -> None:
    add_hook(hooked)
    sequence_id, hook_id = sequence_of(hooked), kept(hooked).id
    assert hooked.list_http_hooks(tenant, sequence_id) == []
    with hooked.refused(SequenceNotFound):
        hooked.create_http_hook(tenant, sequence_id, "other", "https://example.com/")
    with hooked.refused(HookNotFound):
        hooked.update_http_hook(tenant, hook_id, name="Mine")
    with hooked.refused(HookNotFound):
        hooked.get_http_hook(tenant, hook_id)
    with hooked.refused(HookNotFound):
        hooked.record_hook_test(tenant, hook_id, {"value": 1})


def test_an_update_changes_what_is_given(hooked: Engine) -> None:
    add_hook(hooked, body_template="{}", **BEARER)
    before = kept(hooked)
    hooked.update_http_hook(TENANT, before.id, url="https://example.org/", retry_count=0)
    after = kept(hooked)
    changed = {
        field
        for field in before._fields
        if getattr(before, field) != getattr(after, field) and field != "updated_at"
    }
    assert changed == {"url", "retry_count"}


def test_an_empty_text_takes_a_value_away(hooked: Engine) -> None:
    hook = add_hook(hooked, body_template="{}")
    updated = hooked.update_http_hook(TENANT, hook.id, body_template="", response_path="")
    assert (updated.body_template, updated.response_path) == (None, None)


def test_headers_are_replaced_as_a_whole(hooked: Engine) -> None:
    hook = add_hook(hooked, headers={"X-A": "1"})
    assert hooked.update_http_hook(TENANT, hook.id, headers={"X-B": "2"}).headers == {"X-B": "2"}


def test_without_authentication_the_credentials_are_gone(hooked: Engine) -> None:
    hook = add_hook(hooked, **BEARER)
    hooked.update_http_hook(TENANT, hook.id, auth_type="none")
    assert kept(hooked).auth_config is None


def test_authentication_needs_credentials_also_later(hooked: Engine) -> None:
    hook = add_hook(hooked)
    with hooked.refused(InvalidArgument) as refusal:
        hooked.update_http_hook(TENANT, hook.id, auth_type="bearer")
    assert refusal.value.diag.column_name == "auth_config"


def test_a_documents_form_is_the_stored_one(hooked: Engine) -> None:
    hook = {"key": "score", "url": "https://example.com/", "response_path": "score"}
    put(hooked, hook)
    stored = hooked.rows("select dripdrop._http_hook_document(h) from dripdrop.http_hooks as h")
    assert stored[0][0] == document(hooked, hook)


def test_a_documents_hook_keeps_the_credentials_it_has(hooked: Engine) -> None:
    add_hook(hooked, **BEARER)
    put(hooked, {"key": "score", "url": "https://example.org/", "auth_type": "bearer"})
    assert kept(hooked).url == "https://example.org/"
    assert kept(hooked).auth_config == from_text(BEARER["auth_config"])


@pytest.mark.parametrize(
    ("column", "hook"),
    [
        ("", []),
        ("colour", {"key": "score", "url": "https://example.com/", "colour": "red"}),
        ("auth_config", {"key": "score", "url": "https://example.com/", "auth_config": "x"}),
        ("url", {"key": "score"}),
        ("url", {"key": "score", "url": 7}),
        ("timeout_ms", {"key": "score", "url": "https://example.com/", "timeout_ms": "soon"}),
        ("active", {"key": "score", "url": "https://example.com/", "active": "yes"}),
    ],
)
def test_a_document_that_cannot_be_right_is_refused_by_its_path(
    engine: Engine, column: str, hook: Any
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        document(engine, hook)
    assert (refusal.value.diag.column_name or "") == column


def test_a_trial_is_kept_as_a_real_answer_would_be_read(hooked: Engine, clock: Clock) -> None:
    hook = add_hook(hooked, response_type="number")
    body = {"response": '{"score": "85"}', "status": 200}
    tried = hooked.record_hook_test(TENANT, hook.id, body)
    assert tried.last_test_at == clock.now
    assert tried.last_test_result == {"status": 200, "value": 85}


def test_a_trial_is_kept_redacted(hooked: Engine) -> None:
    hook = add_hook(hooked)
    names = ["api_key", "x-api-key", "client_secret", "Token", "password", "Authorization"]
    value = {"user": {name: SECRET for name in names}, "long": "x" * 300, "list": [{"token": "t"}]}
    kept_value = hooked.record_hook_test(TENANT, hook.id, {"value": value}).last_test_result
    assert kept_value == {
        "value": {
            "user": {name: "[REDACTED]" for name in names},
            "long": "x" * 200 + "…",
            "list": [{"token": "[REDACTED]"}],
        }
    }


def test_a_deep_answer_is_cut(hooked: Engine) -> None:
    hook = add_hook(hooked, response_path="")
    body = {"response": "[" * 40 + "]" * 40, "status": 200}
    assert "…" in str(hooked.record_hook_test(TENANT, hook.id, body).last_test_result)


@pytest.mark.parametrize("result", [[], {}, {"status": 200}, {"response": 7}, {"error": None}])
def test_a_trial_that_is_no_answer_is_refused(hooked: Engine, result: Any) -> None:
    hook = add_hook(hooked)
    with hooked.refused(InvalidArgument):
        hooked.record_hook_test(TENANT, hook.id, result)


def test_how_long_and_how_often_it_is_called_at_a_time_can_be_changed(hooked: Engine) -> None:
    hook = add_hook(hooked)
    assert (hook.retry_for, hook.max_in_flight) == (timedelta(hours=1), 8)
    changed = hooked.update_http_hook(
        TENANT, hook.id, retry_for=timedelta(minutes=5), max_in_flight=2
    )
    assert (changed.retry_for, changed.max_in_flight) == (timedelta(minutes=5), 2)
    assert hooked.update_http_hook(TENANT, hook.id, name="Score").max_in_flight == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retry_for", "-1 hour"),
        ("retry_for", "31 days"),
        ("retry_for", "soon"),
        ("retry_for", 7),
        ("max_in_flight", 0),
        ("max_in_flight", 1000),
        ("max_in_flight", 1.5),
        ("max_in_flight", "all"),
    ],
)
def test_a_time_or_a_number_that_is_not_possible_is_refused_in_a_document(
    engine: Engine, field: str, value: Any
) -> None:
    hook = {"key": "score", "url": "https://crm.example.com", field: value}
    with pytest.raises(InvalidArgument) as refusal:
        engine.author(SCORED, hooks=[hook])
    assert refusal.value.diag.column_name == f"hooks[0].{field}"


def test_a_hook_that_is_not_retried_is_the_same_in_every_document(engine: Engine) -> None:
    hook = {"key": "score", "url": "https://crm.example.com", "retry_for": "0"}
    engine.author(SCORED, hooks=[hook])
    same = engine.plan(TENANT, onboarding(SCORED, hooks=[hook]))
    assert [change for change in same if change.action != "unchanged"] == []
