"""`dripdrop run` as a process of its own."""

from __future__ import annotations

import base64
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import pytest
from psycopg.conninfo import make_conninfo

from dripdrop.daemon import start
from dripdrop.process.version import OTHER_VERSION
from tests.conftest import Clock
from tests.daemon.conftest import KEY, PASSWORD
from tests.daemon.process import Daemon, at, daemon, sessions
from tests.daemon.servers import MailServer, wait_for
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine, email

Run = Callable[..., Daemon]


@pytest.fixture
def run(dsn: str, clock: Clock) -> Iterator[Run]:
    """Start daemons at the test's time."""
    with ExitStack() as stack:

        def start(*arguments: str, **environment: str) -> Daemon:
            environment = {"DRIPDROP_ENCRYPTION_KEY": KEY} | environment
            return stack.enter_context(daemon(at(dsn, clock.now), *arguments, **environment))

        yield start


def crowd(engine: Engine, count: int) -> None:
    """Enrol so many users."""
    for number in range(count):
        engine.join(f"user{number}")


def states(engine: Engine) -> set[str]:
    """Return the states that executions are in."""
    return {row.state for row in engine.rows("select state from dripdrop.step_executions")}


@pytest.mark.slow
def test_it_sends_until_it_is_told_to_stop(mailing: Engine, mail: MailServer, run: Run) -> None:
    sending = run()
    sending.wait_for_log("started")
    mailing.join("sam")
    wait_for(lambda: states(mailing) == {"sent"})
    sending.signal()
    assert sending.wait() == 0
    assert mail.subjects("sam@example.com") == ["Hello"]


def test_once_does_what_is_due_and_ends(mailing: Engine, mail: MailServer, run: Run) -> None:
    crowd(mailing, 3)
    assert run("--once").wait() == 0
    assert len(mail.mails) == 3
    assert states(mailing) == {"sent"}


@pytest.mark.slow
def test_once_ends_when_it_is_told_to_stop(mailing: Engine, mail: MailServer, run: Run) -> None:
    crowd(mailing, 30)
    mail.hold()
    sending = run("--once")
    mail.wait_for(lambda: mail.under_way)
    sending.signal()
    mail.release()
    assert sending.wait() == 0
    # What it had claimed and not begun was given back.
    assert {"sent"} < states(mailing) <= {"sent", "rendered", "scheduled"}
    assert mailing.ledger() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_finishes_what_is_being_sent(
    mailing: Engine, mail: MailServer, run: Run, number: signal.Signals
) -> None:
    mailing.join("sam")
    mail.hold()
    sending = run()
    mail.wait_for(lambda: mail.under_way == 1)
    sending.signal(number)
    sending.wait_for_log("stopping")
    mail.release()
    assert sending.wait() == 0
    assert states(mailing) == {"sent"}


@pytest.mark.slow
def test_told_to_stop_it_ends_within_the_grace(mailing: Engine, mail: MailServer, run: Run) -> None:
    mailing.join("sam")
    mail.hold()
    sending = run("--grace", "0.1")
    mail.wait_for(lambda: mail.under_way == 1)
    sending.signal()
    assert sending.wait() == 0
    assert states(mailing) == {"unknown"}


def test_it_refuses_a_schema_of_another_version(engine: Engine, dsn: str) -> None:
    engine.connection.execute(
        "create or replace function dripdrop.version() returns text language sql return '0.0.1'"
    )
    refused = dripdrop("run", "--dsn", dsn)
    assert refused.returncode == OTHER_VERSION
    entries = map(json.loads, refused.stderr.splitlines())
    (entry,) = [each for each in entries if each["event"] == "version_mismatch"]
    assert entry["installed"] == "0.0.1"
    assert all(way in entry["hint"] for way in ("dripdrop install", "sqitch deploy", "extension"))


def test_a_daemon_that_is_older_than_the_schema_is_not_told_to_install_it(
    mailing: Engine, dsn: str
) -> None:
    mailing.connection.execute(
        "create or replace function dripdrop.version() returns text language sql return '99.10.0'"
    )
    refused = dripdrop("run", "--dsn", dsn)
    assert refused.returncode == OTHER_VERSION
    entries = map(json.loads, refused.stderr.splitlines())
    (entry,) = [each for each in entries if each["event"] == "version_mismatch"]
    assert entry["hint"] == (
        "Install version 99.10.0 of the package dripdrop-postgres, and start it again."
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_schema_that_becomes_another_versions_ends_it_once_it_has_recorded(
    mailing: Engine, mail: MailServer, run: Run, workers: str
) -> None:
    mailing.join("sam")
    mail.hold()
    sending = run("--workers", workers)
    mail.wait_for(lambda: mail.under_way == 1)
    mailing.connection.execute(
        "create or replace function dripdrop.version() returns text language sql return '99.0.0'"
    )
    mailing.join("eve")
    sending.wait_for_log("version_mismatch")
    mail.release()
    assert sending.wait() == OTHER_VERSION
    assert "99.0.0" in sending.logged("version_mismatch")[0]["hint"]
    assert mail.subjects("sam@example.com") == ["Hello"]
    assert states(mailing) == {"sent", "scheduled"}


def test_it_looks_for_every_function_that_its_stages_call() -> None:
    stages = Path(start.__file__).parent.glob("*.py")
    called = {
        name for stage in stages for name in re.findall(r"\bdatabase\.(\w+)\(", stage.read_text())
    }
    assert called == set(start.PROTOCOL)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_malformed_key_ends_it_at_once(mailing: Engine, dsn: str, workers: str) -> None:
    for key in ("nonsense!", "c2hvcnQ="):
        refused = dripdrop("run", "--dsn", dsn, "--workers", workers, DRIPDROP_ENCRYPTION_KEY=key)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert line.startswith("dripdrop: DRIPDROP_ENCRYPTION_KEY ")
        assert key not in line


def test_without_the_key_that_its_senders_need_it_ends_at_once(mailing: Engine, dsn: str) -> None:
    mailing.update_tenant_settings(TENANT, unsubscribe_url="https://acme.example/")
    refused = dripdrop("run", "--dsn", dsn)
    assert refused.returncode == 1
    (entry,) = map(json.loads, refused.stderr.splitlines())
    assert (entry["event"], entry["level"]) == ("key_missing", "error")
    assert entry["needed_by"] == {
        "senders with sealed credentials": 2,
        "tenants whose messages carry links to unsubscribe": 1,
    }


@pytest.mark.slow
def test_without_anything_that_is_sealed_it_needs_no_key(engine: Engine, dsn: str) -> None:
    assert dripdrop("run", "--once", "--dsn", dsn).returncode == 0


def test_a_role_that_may_not_do_all_of_it_is_told_what_is_missing(engine: Engine, dsn: str) -> None:
    engine.connection.execute(
        "create role watcher login in role dripdrop_admin;create role nobody_here login"
    )
    try:
        refused = dripdrop("run", "--dsn", make_conninfo(dsn, user="watcher"))
        assert refused.returncode == 1
        entry = json.loads(refused.stderr.splitlines()[-1])
        assert entry["event"] == "permission_missing"
        assert {"claim_sends", "complete_sends"} <= set(entry["functions"])
        assert "tick" not in entry["functions"]
        refused = dripdrop("run", "--dsn", make_conninfo(dsn, user="nobody_here"))
        assert refused.returncode == 1
        assert "dripdrop_sender" in refused.stderr.splitlines()[-1]
    finally:
        engine.connection.execute("drop role watcher; drop role nobody_here")


def test_a_switch_that_says_neither_yes_nor_no_ends_it(engine: Engine, dsn: str) -> None:
    refused = dripdrop("run", "--dsn", dsn, DRIPDROP_ALLOW_HTTP="yes please")
    assert refused.returncode == 1
    (entry,) = map(json.loads, refused.stderr.splitlines())
    assert (entry["event"], entry["setting"]) == ("malformed_setting", "DRIPDROP_ALLOW_HTTP")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_database_that_is_not_there_is_one_line_at_once(dsn: str, workers: str) -> None:
    nowhere = make_conninfo(dsn, dbname="nowhere")
    refused = dripdrop("run", "--dsn", nowhere, "--workers", workers)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert 'database "nowhere" does not exist' in line


def test_a_malformed_dsn_is_one_line_and_its_hint() -> None:
    refused = dripdrop("run", "--dsn", "nonsense")
    assert refused.returncode == 1
    line, hint = refused.stderr.splitlines()
    assert line.startswith("dripdrop: the connection string is malformed")
    assert hint.startswith("hint: ")


@pytest.mark.slow
def test_a_stage_whose_queue_is_gone_says_so_and_goes_on_while_the_others_work(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    mailing.rows("select pgmq.drop_queue('dripdrop_hooks')")
    sending = run()
    sending.wait_for_log("stage_failed")
    line = sending.logged("stage_failed")[0]
    assert (line["stage"], line["sqlstate"]) == ("hooks", "ZD120")
    assert line["detail"] == 'queue "dripdrop_hooks" does not exist'
    assert line["hint"] == "select * from dripdrop.start() creates the queues."
    mailing.join("sam")
    wait_for(lambda: states(mailing) == {"sent"})
    sending.signal()
    assert sending.wait() == 0


@pytest.mark.slow
def test_a_database_that_is_read_only_when_it_starts_is_waited_for(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    database = mailing.connection.info.dbname
    mailing.join("sam")
    setting = f"alter database {database} set default_transaction_read_only = "
    mailing.connection.execute((setting + "on").encode())
    sending = run()
    sending.wait_for_log("database_read_only")
    mailing.connection.execute((setting + "off").encode())
    for backend in sessions(mailing.connection):
        mailing.rows("select pg_terminate_backend(%s)", backend)
    wait_for(lambda: states(mailing) == {"sent"})
    sending.signal()
    assert sending.wait() == 0


@pytest.mark.slow
def test_once_says_by_its_status_that_a_stage_failed_and_does_the_rest(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    mailing.rows("select pgmq.drop_queue('dripdrop_hooks')")
    mailing.join("sam")
    sending = run("--once")
    assert sending.wait() == 1
    assert len(sending.logged("stage_failed")) == 1
    assert states(mailing) == {"sent"}


def workers_of(sending: Daemon) -> list[psutil.Process]:
    """Return the worker processes of a daemon."""
    children = psutil.Process(sending.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_two_workers_send_nothing_twice(mailing: Engine, mail: MailServer, run: Run) -> None:
    crowd(mailing, 40)
    sending = run("--workers", "2")
    sending.wait_for_log("started", times=2)
    wait_for(lambda: states(mailing) == {"sent"})
    sending.signal()
    assert sending.wait() == 0
    assert len(sending.logged("stopped")) == 2
    assert len(mail.mails) == 40
    assert mail.repeated() == []


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again_while_the_other_goes_on(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    sending = run("--workers", "2")
    sending.wait_for_log("started", times=2)
    victim, survivor = workers_of(sending)
    victim.kill()
    sending.wait_for_log("started", times=3)
    (line,) = sending.logged("worker_ended")
    assert line["status"] == 128 + signal.SIGKILL
    assert survivor in workers_of(sending)
    mailing.join("sam")
    wait_for(lambda: states(mailing) == {"sent"})
    sending.signal()
    assert sending.wait() == 0
    assert len(sending.logged("stopped")) == 2


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_is_waited_for_longer_each_time(
    mailing: Engine, run: Run
) -> None:
    sending = run("--workers", "2")
    sending.wait_for_log("started", times=2)
    survivor = workers_of(sending)[0]
    for times in range(1, 4):
        (victim,) = (each for each in workers_of(sending) if each != survivor)
        victim.kill()
        sending.wait_for_log("worker_ended", times=times)
        sending.wait_for(lambda: len(workers_of(sending)) == 2)
    waits = [line["wait"] for line in sending.logged("worker_ended")]
    assert waits == sorted(waits)
    assert waits[0] <= 0.5 and waits[2] >= 1.5


@pytest.mark.slow
def test_told_to_stop_while_a_worker_is_to_be_started_again_it_ends(
    mailing: Engine, run: Run
) -> None:
    sending = run("--workers", "2")
    sending.wait_for_log("started", times=2)
    for times in range(1, 4):
        wait_for(lambda: len(workers_of(sending)) == 2)
        for worker in workers_of(sending):
            worker.kill()
        sending.wait_for_log("worker_ended", times=2 * times)
    assert sending.logged("worker_ended")[-1]["wait"] >= 1.5
    sending.signal()
    told = time.monotonic()
    assert sending.wait() == 0
    assert time.monotonic() < told + 1.5


@pytest.mark.slow
def test_workers_end_with_their_supervisor(mailing: Engine, run: Run) -> None:
    sending = run("--workers", "2")
    sending.wait_for_log("started", times=2)
    workers = workers_of(sending)
    sending.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


@pytest.mark.slow
def test_daemons_side_by_side_send_nothing_twice(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    several = [run() for _ in range(3)]
    for each in several:
        each.wait_for_log("started")
    crowd(mailing, 60)
    wait_for(lambda: states(mailing) == {"sent"})
    for each in several:
        each.signal()
        assert each.wait() == 0
    assert len(mail.mails) == 60
    assert mail.repeated() == []


def has_taken(mail: MailServer, count: int) -> bool:
    """Whether a mail server has taken so many mails."""
    return len(mail.mails) >= count


@pytest.mark.slow
def test_it_carries_on_when_its_connections_are_lost(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    sending = run()
    sending.wait_for_log("started")
    for number in range(50):
        mailing.join(f"user{number}")
        if number % 10 == 9:
            mail.wait_for(partial(has_taken, mail, number - 5))
            for backend in sessions(mailing.connection):
                mailing.rows("select pg_terminate_backend(%s)", backend)
    wait_for(lambda: states(mailing) <= {"sending", "sent"})
    sending.signal()
    assert sending.wait() == 0
    # A claim whose answer was lost stays in sending until its lease is over.
    sent = mailing.rows("select recipient from dripdrop.step_executions where state = 'sent'")
    assert sorted(each.recipient for each in mail.mails) == sorted(row.recipient for row in sent)
    assert mailing.ledger() == []


@pytest.mark.slow
def test_its_log_is_json_and_holds_no_secret_and_no_content(
    mailing: Engine, mail: MailServer, run: Run
) -> None:
    text = "{{ words }}{% if fail %}{{ 1 | divided_by: fail }}{% endif %}"
    mailing.author(email("welcome", template={"subject": "{{ words }}", "text": text}))
    echo = f"{PASSWORD} {in_base64(PASSWORD)} {in_base64(f'x:{PASSWORD}')}"
    mail.refusals["eve@example.com"] = (
        f"554 5.7.1 no {echo} <eve@example.com> eve%40example.com {PASSWORD.encode().hex()}"
        f" {in_base64('eve@example.com')} +15551234567"
    )
    for name, fail in (("sam", None), ("ada", 0), ("eve", None)):
        data = {"email": f"{name}@example.com", "words": "open-sesame", "fail": fail}
        mailing.join(name, data=data)
    sending = run()
    wait_for(lambda: states(mailing) == {"sent", "failed"})
    for backend in sessions(mailing.connection):
        mailing.rows("select pg_terminate_backend(%s)", backend)
    sending.signal()
    assert sending.wait() == 0
    events = {entry["event"] for entry in sending.log}
    assert {"started", "render_failed", "not_sent", "recorded", "stopping", "stopped"} <= events
    log = "".join(sending.lines)
    for secret in (PASSWORD, KEY, "open-sesame", PASSWORD.encode().hex(), "+15551234567"):
        assert secret not in log
    for secret in (PASSWORD, f"x:{PASSWORD}", "eve@example.com"):
        assert in_base64(secret) not in log
    assert "eve@" not in log
    assert "eve%40" not in log
    (kept,) = mailing.rows(
        "select error_message from dripdrop.step_executions where recipient = 'eve@example.com'"
    )
    assert PASSWORD not in kept.error_message
    assert in_base64(PASSWORD) not in kept.error_message


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_worker_says_that_it_is_there_until_it_ends(mailing: Engine, run: Run) -> None:
    sending = run()
    wait_for(lambda: mailing.list_workers())
    (worker,) = mailing.list_workers()
    assert (worker.pid, worker.is_there) == (sending.process.pid, True)
    assert worker.doing == {"in_flight": {}, "failing": {}}
    sending.signal()
    assert sending.wait() == 0
    assert mailing.list_workers() == []


def test_a_worker_that_is_killed_leaves_its_row(mailing: Engine, run: Run) -> None:
    sending = run()
    wait_for(lambda: mailing.list_workers())
    sending.signal(signal.SIGKILL)
    sending.wait()
    assert [worker.pid for worker in mailing.list_workers()] == [sending.process.pid]
