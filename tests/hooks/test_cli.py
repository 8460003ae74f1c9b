"""`dripdrop test-hook`, and the keys of hooks."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from dripdrop import Vault
from dripdrop.vault import generate_key
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine
from tests.hooks.conftest import KEY, SECRET, Endpoint, add_hook, sealed

ALLOWED = {"DRIPDROP_ALLOW_HTTP": "1", "DRIPDROP_ALLOW_PRIVATE": "1"}


@pytest.mark.slow
def test_a_trial_shows_and_keeps_status_and_value(
    hooked: Engine, endpoint: Endpoint, dsn: str
) -> None:
    hook = add_hook(
        hooked,
        url=endpoint.url + "/{{ lead }}",
        auth_type="bearer",
        auth_config=sealed({"token": SECRET}),
    )
    result = dripdrop(
        *("test-hook", str(hook.id), "--tenant", TENANT, "--dsn", dsn),
        *("--data", '{"lead": "a/b"}'),
        DRIPDROP_ENCRYPTION_KEY=KEY,
        **ALLOWED,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "status  200\nvalue   85\n"
    (request,) = endpoint.requests
    assert request.target == "/a%2Fb"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    (kept,) = hooked.list_http_hooks(TENANT, hook.sequence_id)
    assert kept.last_test_result == {"status": 200, "value": 85}
    assert kept.last_test_at is not None


def test_a_trial_that_fails_says_how_and_has_status_1(
    hooked: Engine, endpoint: Endpoint, dsn: str
) -> None:
    hook = add_hook(hooked, url=endpoint.url)
    endpoint.answer = (404, "")
    result = dripdrop("test-hook", str(hook.id), "--tenant", TENANT, "--dsn", dsn, **ALLOWED)
    assert (result.returncode, result.stdout) == (1, "status  404\nerror   http_404\n")


def test_a_trial_goes_through_the_guard(hooked: Engine, endpoint: Endpoint, dsn: str) -> None:
    hook = add_hook(hooked, url=endpoint.url)
    result = dripdrop("test-hook", str(hook.id), "--tenant", TENANT, "--dsn", dsn)
    assert (result.returncode, result.stdout) == (1, "status  none\nerror   url_blocked\n")
    assert endpoint.requests == []


def test_a_trial_never_shows_an_echoed_secret(hooked: Engine, endpoint: Endpoint, dsn: str) -> None:
    fields = {"auth_type": "bearer", "auth_config": sealed({"token": SECRET})}
    hook = add_hook(hooked, url=endpoint.url, response_path="", **fields)
    endpoint.answer = (200, json.dumps({"token": "abc", "heard": f"Bearer {SECRET}"}))
    result = dripdrop(
        *("test-hook", str(hook.id), "--tenant", TENANT, "--dsn", dsn),
        DRIPDROP_ENCRYPTION_KEY=KEY,
        **ALLOWED,
    )
    (kept,) = hooked.list_http_hooks(TENANT, hook.sequence_id)
    assert kept.last_test_result["value"] == {
        "token": "[REDACTED]",
        "heard": "Bearer [redacted]",
    }
    assert SECRET not in result.stdout + result.stderr


def test_a_trial_of_nothing_is_refused(hooked: Engine, dsn: str) -> None:
    result = dripdrop("test-hook", str(uuid4()), "--tenant", TENANT, "--dsn", dsn)
    assert result.returncode == 1
    assert "not found" in result.stderr


def test_data_that_is_no_object_is_refused(hooked: Engine, dsn: str) -> None:
    hook = add_hook(hooked)
    result = dripdrop("test-hook", str(hook.id), "--tenant", TENANT, "--dsn", dsn, "--data", "[1]")
    assert result.returncode == 2


def test_what_seal_prints_opens_for_the_hook(hooked: Engine) -> None:
    printed = dripdrop(
        *("seal", "hook:onboarding:score", "--tenant", TENANT),
        given=json.dumps({"token": SECRET}),
        DRIPDROP_ENCRYPTION_KEY=KEY,
    ).stdout.strip()
    add_hook(hooked, auth_type="bearer", auth_config=printed)
    ((_, tenant_key, name, envelope),) = hooked.sealed_http_hooks()
    assert Vault(KEY).open(envelope, tenant_key, name) == {"token": SECRET}


def test_rotate_seals_hooks_too(hooked: Engine, dsn: str) -> None:
    new = generate_key()
    hooked.connection.execute("update dripdrop.channel_adapters set credentials = null")
    add_hook(hooked, auth_type="bearer", auth_config=sealed({"token": SECRET}))
    keys = {"DRIPDROP_ENCRYPTION_KEY": new, "DRIPDROP_ENCRYPTION_KEYS_OLD": KEY}
    result = dripdrop("rotate", "--dsn", dsn, **keys)
    assert "1 of 1 HTTP hooks sealed again" in result.stdout
    ((_, tenant_key, name, envelope),) = hooked.sealed_http_hooks()
    assert Vault(new).open(envelope, tenant_key, name) == {"token": SECRET}
    assert "0 of 1 HTTP hooks" in dripdrop("rotate", "--dsn", dsn, **keys).stdout


@pytest.mark.slow
def test_check_names_the_hook_whose_credentials_do_not_open(hooked: Engine, dsn: str) -> None:
    add_hook(hooked, auth_type="bearer", auth_config=sealed({"token": SECRET}))
    result = dripdrop("check", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=generate_key())
    assert result.returncode == 1
    assert "hook:onboarding:score" in result.stdout
