"""Behind PgBouncer in transaction mode: a server connection is ours for one transaction only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dripdrop import Vault
from dripdrop.unsubscribe import Ticket, Tokens
from dripdrop.web import app
from tests.crash.journeys import let_claims_pass
from tests.daemon.conftest import KEY
from tests.daemon.process import daemon, sessions
from tests.daemon.servers import MailServer, wait_for
from tests.driver.command import dripdrop
from tests.engine import Engine
from tests.web.conftest import serving

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")

SETTINGS = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_lifetime = 1
logfile = {log}
"""


@pytest.fixture
def pooled(dsn: str) -> Iterator[str]:
    """The DSN of the same database through a PgBouncer with four server connections."""
    given = conninfo_to_dict(dsn)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="dripdrop-"))
    settings = SETTINGS.format(
        host=given["host"],
        port=given.get("port") or 5432,
        user=given["user"],
        listen=port,
        log=folder / "log",
    )
    (folder / "pgbouncer.ini").write_text(settings)
    # It refuses to run as root, and the server's socket is for the server's user alone.
    user = os.stat(str(given["host"])).st_uid
    for path in (folder, folder / "pgbouncer.ini"):
        os.chown(path, user, -1)
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, "-q", folder / "pgbouncer.ini"],
        user=user if os.geteuid() == 0 else None,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(through):
            return True
        assert process.poll() is None, (folder / "log").read_text()
        return False

    through = make_conninfo(
        host="127.0.0.1", port=port, user="postgres", dbname=given["dbname"], sslmode="disable"
    )
    try:
        wait_for(answers)
        yield through
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def has_taken(mail: MailServer, count: int) -> bool:
    """Whether a mail server has taken so many mails."""
    return len(mail.mails) >= count


def all_has_left(engine: Engine) -> bool:
    """Whether all is sent, but for what was claimed by a call that never returned."""
    let_claims_pass(engine)
    rows = engine.rows("select state from dripdrop.step_executions")
    return {row.state for row in rows} <= {"sending", "sent"}


@pytest.mark.slow
def test_two_workers_send_and_survive_the_loss_of_server_connections(
    mailing: Engine, mail: MailServer, pooled: str
) -> None:
    mailing.connection.execute("reset dripdrop.now")
    with daemon(pooled, "--workers", "2", DRIPDROP_ENCRYPTION_KEY=KEY) as sending:
        sending.wait_for_log("started", times=2)
        for number in range(200):
            mailing.join(f"user{number}")
            if number % 40 == 39:
                mail.wait_for(partial(has_taken, mail, number // 2))
                for backend in sessions(mailing.connection)[:2]:
                    mailing.rows("select pg_terminate_backend(%s)", backend)
        wait_for(partial(all_has_left, mailing))
        sending.signal()
        assert sending.wait() == 0
        assert not sending.logged("stage_failed"), sending.logged("stage_failed")
        assert not [line for line in sending.log if "prepared statement" in str(line)]
    # A claim whose answer was lost stays in sending until its lease is over.
    sent = mailing.rows("select recipient from dripdrop.step_executions where state = 'sent'")
    assert sorted(each.recipient for each in mail.mails) == sorted(row.recipient for row in sent)
    assert len(mail.mails) > 100
    assert mailing.ledger() == []


@pytest.mark.slow
def test_the_commands_work_too(mailing: Engine, pooled: str) -> None:
    for arguments in (["pauses"], ["adapters"], ["run", "--once"], ["install"]):
        for _ in range(3):
            result = dripdrop(
                *arguments, "--dsn", pooled, DRIPDROP_ENCRYPTION_KEY=KEY, DRIPDROP_ALLOW_HTTP="1"
            )
            assert (result.returncode, arguments) == (0, arguments), result.stderr


def test_nothing_of_a_transaction_stays_on_a_server_connection(
    mailing: Engine, pooled: str
) -> None:
    assert dripdrop("run", "--once", "--dsn", pooled, DRIPDROP_ENCRYPTION_KEY=KEY).returncode == 0
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as connection:
        settings = connection.execute(
            "select name from pg_settings where source = 'session'"
            " and name not in ('client_encoding', 'DateStyle', 'TimeZone', 'application_name',"
            " 'standard_conforming_strings', 'transaction_isolation')"  # PgBouncer tracks these
        ).fetchall()
        (locks,) = connection.execute(
            "select count(*) from pg_locks where locktype = 'advisory'"
        ).fetchone() or (None,)
    assert settings == []
    assert locks == 0


def test_the_web_server_answers_links(engine: Engine, pooled: str) -> None:
    engine.author()
    for number in range(20):
        engine.join(f"sam{number}")
    engine.deliver()
    sent = engine.rows("select * from dripdrop.step_executions where state = 'sent'")
    tokens = Tokens(Vault(KEY))
    tickets = [Ticket(row.tenant_key, row.id) for row in sent]
    site = app(pooled, vault=lambda: Vault(KEY))
    with serving(site) as port, ThreadPoolExecutor(8) as pool:
        urls = [f"http://127.0.0.1:{port}/u/{tokens.write(each)}" for each in tickets]
        answers = pool.map(partial(httpx.post, data={"List-Unsubscribe": "One-Click"}), urls)
        assert [answer.status_code for answer in answers] == [200] * 20
    assert len(engine.rows("select from dripdrop.suppressions")) == 20
