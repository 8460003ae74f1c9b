"""Installing again while daemons send and applications enrol."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from dripdrop import install as installer
from dripdrop.install import InstallError, install
from tests.daemon.conftest import KEY
from tests.daemon.process import daemon
from tests.daemon.servers import MailServer, wait_for
from tests.engine import Engine


@pytest.mark.slow
def test_installing_again_and_again_beside_two_workers_loses_nothing_and_deadlocks_nobody(
    mailing: Engine, dsn: str, mail: MailServer
) -> None:
    over = threading.Event()
    joined: list[str] = []

    def enrol() -> None:
        with psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row) as connection:
            application = Engine(connection)
            while not over.is_set():
                with connection.transaction():
                    for _ in range(3):
                        name = f"user{len(joined)}"
                        application.join(name)
                        joined.append(name)

    with daemon(dsn, "--workers", "2", DRIPDROP_ENCRYPTION_KEY=KEY) as sending:
        sending.wait_for_log("started", times=2)
        application = threading.Thread(target=enrol)
        application.start()
        try:
            for round_ in range(3):
                mail.wait_for(lambda: len(mail.mails) > 40 * round_)  # noqa: B023
                install(dsn)
            before = len(mail.mails)
            mail.wait_for(lambda: len(mail.mails) > before + 40)
        finally:
            over.set()
            application.join()
        wait_for(
            lambda: not mailing.rows("select from dripdrop.step_executions where state <> 'sent'")
        )
        sending.signal()
        assert sending.wait() == 0
        assert not sending.logged("stage_failed"), sending.logged("stage_failed")
        assert not [line for line in sending.log if line.get("sqlstate") == "40P01"]
    assert sorted(mail.recipient for mail in mail.mails) == sorted(
        f"{name}@example.com" for name in joined
    )
    (row,) = mailing.rows(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert row.deadlocks == 0


def test_a_transaction_that_stays_open_ends_the_installation_with_a_reason(
    mailing: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "_PATIENCE", 0.5)
    with mailing.connection.transaction():
        mailing.join("sam")
        with pytest.raises(InstallError, match="have held tables of dripdrop for"):
            install(dsn)
    install(dsn)


@pytest.mark.slow
def test_two_installations_at_once_go_one_after_the_other(mailing: Engine, dsn: str) -> None:
    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(install, dsn) for _ in range(2)))

    asyncio.run(both())
    assert mailing.rows("select * from dripdrop.check_schema()") == []
