"""The command, as a process."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from dripdrop import Client, Vault
from dripdrop.vault import from_text, generate_key

CREDENTIALS = {"host": "127.0.0.1", "username": "ada", "password": "correct horse"}


def dripdrop(
    *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with an environment of its own, wide enough that no table wraps."""
    kept = {name: value for name, value in os.environ.items() if "DRIPDROP" not in name}
    kept.pop("DATABASE_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "dripdrop", *arguments],
        input=given,
        env={**kept, "COLUMNS": "250", **environment},
        capture_output=True,
        text=True,
    )


def test_keygen_prints_a_key_of_32_bytes() -> None:
    result = dripdrop("keygen")
    assert len(base64.b64decode(result.stdout)) == 32


def test_seal_prints_one_line_that_the_adapter_can_open() -> None:
    key = generate_key()
    result = dripdrop(
        *("seal", "main", "--tenant", "acme"),
        given=json.dumps(CREDENTIALS),
        DRIPDROP_ENCRYPTION_KEY=key,
    )
    (line,) = result.stdout.splitlines()
    assert Vault(key).open(from_text(line), "acme", "main") == CREDENTIALS


@pytest.mark.parametrize("given", ["correct horse", '["correct horse"]'])
def test_seal_refuses_what_is_no_object_without_repeating_it(given: str) -> None:
    result = dripdrop("seal", "main", given=given, DRIPDROP_ENCRYPTION_KEY=generate_key())
    assert result.returncode == 1
    assert "not a JSON object" in result.stderr
    assert "horse" not in result.stdout + result.stderr


def test_seal_without_a_key_names_the_variable() -> None:
    result = dripdrop("seal", "main", given=json.dumps(CREDENTIALS))
    assert result.returncode == 1
    assert "DRIPDROP_ENCRYPTION_KEY" in result.stderr
    assert "horse" not in result.stdout + result.stderr


def test_rotate_seals_every_adapter_under_the_new_key(
    db: psycopg.Connection[Any], dsn: str
) -> None:
    old, new = generate_key(), generate_key()
    for tenant in (None, "acme"):
        sealed = dripdrop(
            *("seal", "main", *(["--tenant", tenant] if tenant else [])),
            given=json.dumps(CREDENTIALS),
            DRIPDROP_ENCRYPTION_KEY=old,
        ).stdout.strip()
        Client(db).create_channel_adapter(tenant, "main", "email", "smtp", sealed)

    keys = {"DRIPDROP_ENCRYPTION_KEY": new, "DRIPDROP_ENCRYPTION_KEYS_OLD": old}
    assert "2 of 2" in dripdrop("rotate", "--dsn", dsn, **keys).stdout
    for adapter in Client(db).sealed_adapters():
        assert Vault(new).open(adapter.credentials, adapter.tenant_key, "main") == CREDENTIALS
    assert "0 of 2" in dripdrop("rotate", "--dsn", dsn, **keys).stdout


def test_install_and_uninstall(empty_dsn: str) -> None:
    assert "0.1.0 is installed" in dripdrop("install", "--dsn", empty_dsn).stdout
    assert dripdrop("uninstall", "--dsn", empty_dsn, "--yes").returncode == 0
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regnamespace('dripdrop')").fetchone() == (None,)


def test_uninstall_asks_first(dsn: str) -> None:
    assert dripdrop("uninstall", "--dsn", dsn, given="n\n").returncode != 0
    with psycopg.connect(dsn) as connection:
        connection.execute("select from dripdrop.sequences")


def test_check_is_content_with_a_fresh_install(dsn: str) -> None:
    result = dripdrop("check", DRIPDROP_DSN=dsn)
    assert (result.returncode, result.stdout) == (0, "everything is in place\n")


def test_check_names_what_is_missing(db: psycopg.Connection[Any], dsn: str) -> None:
    db.execute("drop index dripdrop.step_executions_due")
    result = dripdrop("check", "--dsn", dsn)
    assert result.returncode == 1
    assert "step_executions_due" in result.stdout


def test_explain_prints_the_gates(db: psycopg.Connection[Any], dsn: str) -> None:
    client = Client(db)
    client.apply(
        None,
        {
            "key": "onboarding",
            "name": "Onboarding",
            "steps": [
                {
                    "key": "welcome",
                    "channel": "email",
                    "template": {"subject": "Hello", "text": "Hi"},
                }
            ],
        },
    )
    enrollment = client.enroll(None, "onboarding", "User", "1", {"email": "ada@example.com"})
    result = dripdrop("explain", str(enrollment.id), "--dsn", dsn)
    assert result.returncode == 0
    assert result.stdout.startswith("welcome: fail at 20")
    assert "no_adapter" in result.stdout


def test_a_refusal_is_one_line_with_its_hint(dsn: str) -> None:
    result = dripdrop("explain", str(uuid4()), "--dsn", dsn)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "hint: " in result.stderr


def test_without_a_database_the_variables_are_named() -> None:
    result = dripdrop("check")
    assert result.returncode == 1
    assert "DRIPDROP_DSN" in result.stderr
