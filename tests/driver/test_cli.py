"""The command."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.conninfo import make_conninfo

from dripdrop import Client, Vault
from dripdrop.cli.errors import reported
from dripdrop.vault import from_text, generate_key, to_text
from tests.daemon.servers import wait_for
from tests.driver.command import dripdrop
from tests.engine import Engine

CREDENTIALS = {"host": "127.0.0.1", "username": "ada", "password": "correct horse"}


@pytest.mark.slow
def test_it_is_a_module_that_ends_with_its_status() -> None:
    command = [sys.executable, "-m", "dripdrop", "seal", "main"]
    result = subprocess.run(command, input="[]", capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert "not a JSON object" in result.stderr


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


@pytest.mark.parametrize("name", ["a:b", "hook:a", "a\nb", "m" * 201])
def test_seal_refuses_a_name_that_no_adapter_and_no_hook_can_have(name: str) -> None:
    result = dripdrop(
        "seal", name, given=json.dumps(CREDENTIALS), DRIPDROP_ENCRYPTION_KEY=generate_key()
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "name" in result.stderr


def test_rotate_binds_an_old_envelope_to_its_kind(db: psycopg.Connection[Any], dsn: str) -> None:
    key = generate_key()
    raw = base64.b64decode(key)
    header = b"\x01" + hashlib.sha256(raw).digest()[:4] + bytes(12)
    old = header + AESGCM(raw).encrypt(header[5:], json.dumps(CREDENTIALS).encode(), b'[null, "m"]')
    Client(db).create_channel_adapter(None, "m", "email", "smtp", to_text(old))
    for sealed_again in (1, 0):
        result = dripdrop("rotate", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=key)
        assert f"{sealed_again} of 1 adapters" in result.stdout
    (row,) = Client(db).sealed_adapters()
    new = row.credentials
    plaintext = AESGCM(raw).decrypt(new[5:17], new[17:], b'["adapter", null, "m"]')
    assert json.loads(plaintext) == CREDENTIALS


def test_rotate_counts_only_what_it_sealed_and_asks_to_be_repeated(
    engine: Engine, other: Engine, dsn: str
) -> None:
    old, new, newer = generate_key(), generate_key(), generate_key()
    credentials = to_text(Vault(old).seal(CREDENTIALS, None, "main"))
    adapter = engine.create_channel_adapter(None, "main", "email", "smtp", credentials)
    keys = {"DRIPDROP_ENCRYPTION_KEY": new, "DRIPDROP_ENCRYPTION_KEYS_OLD": old}
    changed = to_text(Vault(newer).seal(CREDENTIALS, None, "main"))
    with ThreadPoolExecutor() as pool:
        with other.connection.transaction():
            other.update_channel_adapter(None, adapter.id, credentials=changed)
            rotating = pool.submit(dripdrop, "rotate", "--dsn", dsn, **keys)
            wait_for(lambda: rotating.done() or waits_for_a_lock(engine))
        result = rotating.result()
    assert (result.returncode, result.stdout) == (1, "0 of 1 adapters sealed again\n")
    assert result.stderr == "1 changed meanwhile: run it again\n"
    assert to_text(engine.sealed_adapters()[0].credentials) == changed


def waits_for_a_lock(engine: Engine) -> bool:
    """Whether somebody waits in the database for what somebody else has locked."""
    [row] = engine.rows(
        "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
        " and datname = current_database()) as yes"
    )
    return bool(row.yes)


@pytest.mark.slow
def test_install_and_uninstall(empty_dsn: str) -> None:
    assert "0.1.0 is installed" in dripdrop("install", "--dsn", empty_dsn).stdout
    assert dripdrop("uninstall", "--dsn", empty_dsn, "--yes").returncode == 0
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regnamespace('dripdrop')").fetchone() == (None,)


def test_uninstall_asks_first(dsn: str) -> None:
    assert dripdrop("uninstall", "--dsn", dsn, given="n\n").returncode != 0
    with psycopg.connect(dsn) as connection:
        connection.execute("select from dripdrop.sequences")


def test_check_says_that_a_key_is_malformed(dsn: str) -> None:
    result = dripdrop("check", DRIPDROP_DSN=dsn, DRIPDROP_ENCRYPTION_KEY="c2hvcnQ=")
    assert (result.returncode, result.stdout) == (1, "")
    assert "DRIPDROP_ENCRYPTION_KEY must be 32 bytes" in result.stderr
    assert "c2hvcnQ=" not in result.stderr


def test_check_is_content_with_a_fresh_install(dsn: str) -> None:
    result = dripdrop("check", DRIPDROP_DSN=dsn)
    assert (result.returncode, result.stdout) == (0, "everything is in place\n")


def test_check_names_what_is_missing(db: psycopg.Connection[Any], dsn: str) -> None:
    db.execute("drop index dripdrop.step_executions_due")
    result = dripdrop("check", "--dsn", dsn)
    assert result.returncode == 1
    assert "step_executions_due" in result.stdout


def test_check_names_the_credentials_that_do_not_open(engine: Engine, dsn: str) -> None:
    key, other_key = generate_key(), generate_key()
    for name, sealed_under in (("mine", key), ("theirs", other_key)):
        credentials = to_text(Vault(sealed_under).seal(CREDENTIALS, None, name))
        engine.create_channel_adapter(None, name, "email", "smtp", credentials)
    result = dripdrop("check", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=key)
    assert result.returncode == 1
    assert 'adapter "theirs"' in result.stdout
    assert "mine" not in result.stdout


def test_check_leaves_the_account_of_another_program_to_it(engine: Engine, dsn: str) -> None:
    engine.register_provider(
        "email", "acme", [{"field": "token", "description": "A token.", "secret": True}]
    )
    key = generate_key()
    envelope = to_text(Vault(key).seal({"token": "x"}, None, "theirs"))
    engine.create_channel_adapter(None, "theirs", "email", "acme", envelope)
    result = dripdrop("check", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=key)
    assert (result.returncode, result.stdout.strip()) == (0, "everything is in place")


def test_check_names_a_sealed_account_that_cannot_work(engine: Engine, dsn: str) -> None:
    key = generate_key()
    for name, account in (
        ("lost", {"username": "ada", "password": "x"}),
        ("plain", {"host": "localhost", "security": "none", "username": "ada", "password": "x"}),
        ("good", {"host": "localhost", "from": "ada@example.com", "password": "x"}),
    ):
        envelope = to_text(Vault(key).seal(account, None, name))
        Client.create_channel_adapter(
            engine, None, name, "email", "smtp", envelope, {"from": "ada@example.com"}
        )
    result = dripdrop("check", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=key)
    assert result.returncode == 1
    assert "host is missing" in result.stdout
    assert "without TLS" in result.stdout
    assert "good" not in result.stdout


def test_check_wants_the_key_of_sealed_credentials(engine: Engine, dsn: str) -> None:
    credentials = to_text(Vault(generate_key()).seal(CREDENTIALS, None, "main"))
    engine.create_channel_adapter(None, "main", "email", "smtp", credentials)
    result = dripdrop("check", "--dsn", dsn)
    assert result.returncode == 1
    assert "DRIPDROP_ENCRYPTION_KEY is not set" in result.stdout


def test_check_leaves_credentials_to_roles_that_may_read_them(engine: Engine, dsn: str) -> None:
    credentials = to_text(Vault(generate_key()).seal(CREDENTIALS, None, "main"))
    engine.create_channel_adapter(None, "main", "email", "smtp", credentials)
    result = dripdrop("check", "--dsn", make_conninfo(dsn, options="-c role=dripdrop_sender"))
    assert (result.returncode, result.stdout) == (0, "everything is in place\n")


def test_a_refusal_is_one_line_with_its_hint(dsn: str) -> None:
    result = dripdrop("explain", str(uuid4()), "--dsn", dsn)
    assert result.returncode == 1
    message, hint = result.stderr.splitlines()
    assert message.startswith("dripdrop: enrolment")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("command", ["check", "rotate", "run"])
def test_where_it_is_not_installed_the_hint_is_to_install_it(empty_dsn: str, command: str) -> None:
    key = generate_key()
    result = dripdrop(command, "--dsn", empty_dsn, DRIPDROP_ENCRYPTION_KEY=key)
    assert result.returncode == 1
    message, hint = result.stderr.splitlines()
    assert message == 'dripdrop: schema "dripdrop" does not exist'
    assert hint.startswith("hint: dripdrop install --dsn")


def test_a_server_hint_about_something_else_is_kept(db: psycopg.Connection[Any], dsn: str) -> None:
    result = dripdrop("pause-sending", "everything", "--tenant", "acme", "--dsn", dsn)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("hint: Pass null to pause all tenants")


def test_an_unknown_benchmark_is_refused() -> None:
    result = dripdrop("bench", "foo")
    assert result.returncode == 2
    assert "No such command 'foo'" in result.stderr


def test_without_a_database_the_variables_are_named() -> None:
    result = dripdrop("check")
    assert result.returncode == 1
    assert "DRIPDROP_DSN" in result.stderr


def test_what_postgres_says_of_a_row_names_nobody(
    db: psycopg.Connection[Any], dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), reported():
        db.execute("create table people (email text check (email = ''))")
        db.execute("insert into people values ('sam@example.com')")
    said = capsys.readouterr().err
    assert "violates check constraint" in said
    assert "Failing row contains ([redacted])" in said
