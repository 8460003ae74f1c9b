"""Senders: creating, changing, listing, and which of them is the default."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from uuid import uuid4

import pytest

from dripdrop.errors import (
    AdapterNotFound,
    AlreadyExists,
    DripdropError,
    InvalidArgument,
    InvalidTenantKey,
    UnknownProvider,
)
from tests.engine import ACCOUNTS, TENANT, Engine

SEALED = b64encode(b"\x01" + bytes(range(40))).decode()
OTHER_SEALED = b64encode(b"\x01" + bytes(range(40, 80))).decode()


def stored(engine: Engine) -> Any:
    return engine.rows("select * from dripdrop.channel_adapters")[0]


def test_an_adapter_is_active_and_no_default_unless_it_says_so(engine: Engine) -> None:
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp")
    assert (adapter.active, adapter.is_default, adapter.config) == (
        True,
        False,
        ACCOUNTS["smtp"][1],
    )


def test_credentials_go_in_and_are_not_shown(engine: Engine) -> None:
    shown = [
        engine.create_channel_adapter(TENANT, "post", "email", "smtp", SEALED, is_default=True),
        engine.update_channel_adapter(TENANT, stored(engine).id, config={"max_in_flight": 3}),
        *engine.list_channel_adapters(TENANT),
        engine.get_default_adapter(TENANT, "email"),
    ]
    assert [row.credentials for row in shown] == [None] * 4
    assert bytes(stored(engine).credentials)[0] == 1


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"tenant_key": ":x"}, InvalidTenantKey, "tenant_key"),
        ({"channel": "fax"}, UnknownProvider, "channel"),
        ({"channel": None}, UnknownProvider, "channel"),
        ({"provider": "pigeon"}, UnknownProvider, "provider"),
        ({"provider": "default"}, UnknownProvider, "provider"),
        ({"provider": None}, UnknownProvider, "provider"),
        ({"name": ""}, InvalidArgument, "name"),
        ({"name": None}, InvalidArgument, "name"),
        ({"config": []}, InvalidArgument, "config"),
        ({"credentials": "hunter2"}, InvalidArgument, "credentials"),
        ({"credentials": '{"password": "x"}'}, InvalidArgument, "credentials"),
        ({"credentials": ""}, InvalidArgument, "credentials"),
        ({"credentials": b64encode(bytes(60)).decode()}, InvalidArgument, "credentials"),
    ],
)
def test_a_bad_field_is_named(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    adapter: dict[str, Any] = {
        "tenant_key": TENANT,
        "name": "post",
        "channel": "email",
        "provider": "smtp",
    }
    with engine.refused(error) as refusal:
        engine.create_channel_adapter(**adapter | fields)
    assert refusal.value.diag.column_name == field


def test_plain_credentials_are_not_repeated_in_the_error(engine: Engine) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.create_channel_adapter(TENANT, "post", "email", "smtp", "hunter2")
    diag = refusal.value.diag
    words = (diag.message_primary, diag.message_detail, diag.message_hint, diag.context)
    assert not any("hunter2" in word for word in words if word)


def test_a_name_is_taken_once_and_keeps_the_default(engine: Engine) -> None:
    engine.create_channel_adapter(TENANT, "post", "email", "smtp", is_default=True)
    with engine.refused(AlreadyExists):
        engine.create_channel_adapter(TENANT, "post", "email", "postmark", is_default=True)


def test_an_update_changes_only_what_it_names(engine: Engine) -> None:
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp", SEALED)
    config = ACCOUNTS["smtp"][1] | {"max_in_flight": 3}
    engine.update_channel_adapter(TENANT, adapter.id, config=config)
    after = stored(engine)
    assert after.config == config
    assert (after.active, after.is_default, after.name) == (True, False, "post")
    assert after.credentials is not None


def test_an_update_can_replace_the_credentials(engine: Engine) -> None:
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp", SEALED)
    engine.update_channel_adapter(TENANT, adapter.id, credentials=OTHER_SEALED)
    assert b64encode(stored(engine).credentials).decode() == OTHER_SEALED


@pytest.mark.parametrize("fields", [{"config": []}, {"credentials": "hunter2"}])
def test_a_bad_update_is_refused(engine: Engine, fields: dict[str, Any]) -> None:
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp", SEALED)
    with engine.refused(InvalidArgument):
        engine.update_channel_adapter(TENANT, adapter.id, **fields)


def test_an_unknown_adapter_is_not_updated(engine: Engine) -> None:
    with engine.refused(AdapterNotFound):
        engine.update_channel_adapter(TENANT, uuid4(), active=False)


def test_a_new_default_takes_the_place_of_the_old(engine: Engine) -> None:
    engine.create_channel_adapter(TENANT, "a", "email", "smtp", is_default=True)
    b = engine.create_channel_adapter(TENANT, "b", "email", "smtp")
    engine.update_channel_adapter(TENANT, b.id, is_default=True)
    assert [(a.name, a.is_default) for a in engine.list_channel_adapters(TENANT)] == [
        ("a", False),
        ("b", True),
    ]


def test_each_tenant_and_channel_has_its_own_default(engine: Engine) -> None:
    for tenant in (TENANT, "other", None):
        engine.create_channel_adapter(tenant, "post", "email", "smtp", is_default=True)
        engine.create_channel_adapter(tenant, "hook", "webhook", "default", is_default=True)
    defaults = engine.rows("select count(*) from dripdrop.channel_adapters where is_default")
    assert defaults[0].count == 6


def test_the_tenants_default_comes_before_the_global_one(engine: Engine) -> None:
    engine.create_channel_adapter(None, "global", "email", "smtp", is_default=True)
    own = engine.create_channel_adapter(TENANT, "own", "email", "smtp", is_default=True)
    assert engine.get_default_adapter(TENANT, "email") == own


def test_the_global_default_serves_a_tenant_whose_own_is_inactive(engine: Engine) -> None:
    shared = engine.create_channel_adapter(None, "global", "email", "smtp", is_default=True)
    engine.create_channel_adapter(TENANT, "own", "email", "smtp", is_default=True, active=False)
    assert engine.get_default_adapter(TENANT, "email") == shared


def test_without_a_default_there_is_no_row(engine: Engine) -> None:
    engine.create_channel_adapter("other", "theirs", "email", "smtp", is_default=True)
    engine.create_channel_adapter(TENANT, "own", "email", "smtp")
    assert engine.get_default_adapter(TENANT, "email") is None


def test_the_list_is_of_exactly_one_scope(engine: Engine) -> None:
    for tenant in (TENANT, "other", None):
        engine.create_channel_adapter(tenant, f"post of {tenant}", "email", "smtp")
    for tenant in (TENANT, "other", None):
        names = [a.name for a in engine.list_channel_adapters(tenant)]
        assert names == [f"post of {tenant}"]


def test_every_sealed_credential_is_there_for_rotation(engine: Engine) -> None:
    for tenant in (TENANT, None):
        engine.create_channel_adapter(tenant, "post", "email", "smtp", SEALED)
    engine.create_channel_adapter(TENANT, "open", "email", "smtp")
    assert [(a.tenant_key, a.name) for a in engine.sealed_adapters()] == [
        (TENANT, "post"),
        (None, "post"),
    ]


def test_resealing_replaces_only_the_envelope_it_was_made_from(engine: Engine) -> None:
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp", SEALED)
    old = bytes(stored(engine).credentials)
    new = old[:-1] + b"\xff"
    assert engine.reseal_adapter(TENANT, adapter.id, new, b"\x01 changed meanwhile") is False
    assert bytes(stored(engine).credentials) == old
    assert engine.reseal_adapter(TENANT, adapter.id, new, old) is True
    assert bytes(stored(engine).credentials) == new


@pytest.mark.parametrize("field", ["secret", "api_key", "password", "Auth_Token"])
def test_a_secret_in_the_config_is_refused(engine: Engine, field: str) -> None:
    with engine.refused(InvalidArgument):
        engine.create_channel_adapter(TENANT, "post", "email", "smtp", config={field: "x"})
    adapter = engine.create_channel_adapter(TENANT, "post", "email", "smtp")
    with engine.refused(InvalidArgument):
        engine.update_channel_adapter(TENANT, adapter.id, config={field: "x"})
