"""`dripdrop web` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dripdrop import Vault
from dripdrop.process.version import OTHER_VERSION
from dripdrop.unsubscribe import Ticket, Tokens, web_key
from tests.conftest import Clock
from tests.daemon.conftest import KEY
from tests.daemon.servers import PATIENCE, wait_for
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine

pytestmark = pytest.mark.slow

WEB_KEY = web_key(Vault(KEY))


@contextmanager
def serving(dsn: str, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server; it is killed after the block unless it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "DRIPDROP_WEB_KEY": WEB_KEY, "DRIPDROP_DSN": dsn} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    """Whether there is an application that does not know a token."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/u/x")
    except httpx.ConnectError:
        return False
    return (answer.status_code, answer.text) == (404, "Not Found\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(dsn: str, free_tcp_port: int, number: int) -> None:
    with serving(dsn, "dripdrop", "web", "--port", str(free_tcp_port)) as process:
        wait_for(lambda: answers(free_tcp_port))
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    entries: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    assert [entry["event"] for entry in entries] == ["serving"]


def test_with_the_masters_key_it_serves_and_warns(dsn: str, free_tcp_port: int) -> None:
    keys = {"DRIPDROP_ENCRYPTION_KEY": KEY, "DRIPDROP_WEB_KEY": ""}
    with serving(dsn, "dripdrop", "web", "--port", str(free_tcp_port), **keys) as process:
        wait_for(lambda: answers(free_tcp_port))
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
    entries: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    assert [entry["event"] for entry in entries] == ["master_key_present", "serving"]
    assert entries[0]["level"] == "warning"
    assert KEY not in log


def test_a_login_with_the_web_role_and_the_web_key_answers_a_link_that_was_sent(
    engine: Engine, db: psycopg.Connection[Any], dsn: str, clock: Clock, free_tcp_port: int
) -> None:
    clock.set(datetime.now(UTC).replace(microsecond=0))
    engine.author()
    engine.join()
    engine.deliver()
    (sent,) = engine.rows("select * from dripdrop.step_executions where state = 'sent'")
    ticket = Ticket(sent.tenant_key, sent.id)
    url = f"http://127.0.0.1:{free_tcp_port}/u/{Tokens(Vault(KEY)).write(ticket)}"
    made = dripdrop("keygen", "--web", DRIPDROP_ENCRYPTION_KEY=KEY)
    login = f"{db.info.dbname}_web"
    user = sql.Identifier(login)
    db.execute(sql.SQL("create role {} login password 'secret' in role dripdrop_web").format(user))
    try:
        as_web = make_conninfo(dsn, user=login, password="secret")
        keys = {"DRIPDROP_ENCRYPTION_KEY": "", "DRIPDROP_WEB_KEY": made.stdout.strip()}
        with serving(as_web, "dripdrop", "web", "--port", str(free_tcp_port), **keys):
            wait_for(lambda: answers(free_tcp_port))
            assert httpx.get(url).status_code == 200
            assert httpx.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
        assert [row.recipient for row in engine.rows("select * from dripdrop.suppressions")] == [
            "sam@example.com"
        ]
    finally:
        db.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s",
            [login],
        )
        db.execute(sql.SQL("drop role {}").format(user))


def test_any_asgi_server_serves_it(dsn: str, free_tcp_port: int) -> None:
    command = ("uvicorn", "--factory", "dripdrop.web:app", "--port", str(free_tcp_port))
    with serving(dsn, *command):
        wait_for(lambda: answers(free_tcp_port))


def test_without_a_key_it_says_which(dsn: str) -> None:
    result = dripdrop("web", "--dsn", dsn)
    assert result.returncode == 1
    assert "DRIPDROP_WEB_KEY is not set, and DRIPDROP_ENCRYPTION_KEY is not set" in result.stderr


def test_a_port_that_is_taken_is_a_failure(dsn: str, free_tcp_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", free_tcp_port)),
        serving(dsn, "dripdrop", "web", "--port", str(free_tcp_port)) as process,
    ):
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "address already in use" in log


def test_a_schema_of_another_version_is_refused(
    engine: Engine, db: psycopg.Connection[Any], dsn: str
) -> None:
    db.execute(
        "create or replace function dripdrop.version() returns text language sql"
        " return '0.0.1'::text"
    )
    result = dripdrop("web", "--dsn", dsn, DRIPDROP_ENCRYPTION_KEY=KEY)
    assert result.returncode == OTHER_VERSION
    assert "version_mismatch" in result.stderr


def test_a_schema_that_becomes_another_versions_ends_it_with_the_next_request(
    engine: Engine, db: psycopg.Connection[Any], dsn: str, free_tcp_port: int
) -> None:
    token = Tokens(Vault(KEY)).write(Ticket(TENANT, uuid4()))
    url = f"http://127.0.0.1:{free_tcp_port}/u/{token}"
    with serving(dsn, "dripdrop", "web", "--port", str(free_tcp_port)) as process:
        wait_for(lambda: answers(free_tcp_port))
        assert httpx.get(url).status_code == 404
        db.execute(
            "create or replace function dripdrop.version() returns text language sql"
            " return '99.0.0'::text"
        )
        refused = httpx.post(url, data={"List-Unsubscribe": "One-Click"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == OTHER_VERSION
    (said,) = [e for e in map(json.loads, log.splitlines()) if e["event"] == "version_mismatch"]
    assert said["installed"] == "99.0.0"
    assert "Install version 99.0.0" in said["hint"]


def test_without_its_extra_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv = ['dripdrop', 'web'];"
        "from dripdrop.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 1
    assert "pip install 'dripdrop-postgres[web]'" in result.stderr
