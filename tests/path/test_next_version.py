"""From one version to the next and back, with ten thousand people under way and daemons sending."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from dripdrop.install import install
from tests.conftest import Clock, Databases
from tests.daemon.conftest import KEY, sealed, smtp
from tests.daemon.process import Daemon, at, daemon
from tests.daemon.servers import MailServer, serving
from tests.engine import TENANT, Engine, after, email, onboarding
from tests.path.conftest import Catalogue, Sqitch, extension_folder
from tests.path.source import NEW, OLD, copied, environment, next_version, run

pytestmark = pytest.mark.slow

PEOPLE = 10_000
WAITING = {
    "welcome": [email("welcome")],
    "later": [email("tip", timing=after(3, "days"))],
    "event": [email("thanks", timing={"type": "event", "trigger_event": "paid"})],
}
"""What people are under way to: a message that is due, one in three days, one that waits."""
DUE = 600

Way = Callable[[str], object]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source as it is, away from the checkout."""
    return copied(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the next version."""
    return next_version(tmp_path_factory.mktemp("new"))


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    with serving() as (mail, _):
        yield mail


class Journeys:
    """Ten thousand people in a database, and what has become of them."""

    def __init__(self, dsn: str, mail: MailServer) -> None:
        """Enrol them."""
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row)
        self.clock = Clock(self.connection)
        self.dsn = at(dsn, self.clock.now)
        self.mail = mail
        self.engine = engine = Engine(self.connection)
        engine.start()
        engine.create_channel_adapter(
            TENANT, "email", "email", "smtp", sealed(smtp(mail.port)), is_default=True
        )
        for key, count in (("welcome", DUE), ("later", PEOPLE // 2), ("event", 0)):
            engine.apply(TENANT, onboarding(*WAITING[key]) | {"key": key})
            self.enrol(key, count or PEOPLE - DUE - PEOPLE // 2)

    def enrol(self, key: str, count: int) -> None:
        """Let so many people join a sequence."""
        names = [f"{key}-{number}" for number in range(count)]
        self.engine.enroll_many(
            TENANT,
            key,
            [{"subscriber_id": name, "data": {"email": f"{name}@example.com"}} for name in names],
        )

    def states(self) -> dict[str, int]:
        """Return how many messages are in which state."""
        rows = self.engine.rows(
            "select state, count(*) as count from dripdrop.step_executions group by state"
        )
        return {row.state: row.count for row in rows}

    def assert_nothing_is_lost(self) -> None:
        """Everybody is there, and accounted for; who was written to was written to once."""
        assert sum(self.states().values()) == PEOPLE
        assert self.engine.ledger() == []
        assert self.mail.repeated() == []
        assert self.states().get("sent", 0) == len(self.mail.mails)

    def assert_version(self, version: str) -> None:
        """The schema is whole, of a version."""
        assert self.engine.version() == version
        assert self.engine.check_schema() == []


@contextmanager
def journeys(dsn: str, mail: MailServer) -> Iterator[Journeys]:
    """Put ten thousand people on their way, in a database with the old version in it."""
    made = Journeys(dsn, mail)
    try:
        yield made
    finally:
        made.connection.close()


def sending(under_way: Journeys, source: Path, *arguments: str) -> Any:
    """Run a daemon of a version."""
    return daemon(under_way.dsn, *arguments, DRIPDROP_ENCRYPTION_KEY=KEY, **environment(source))


def change(under_way: Journeys, running: Daemon, way: Way) -> None:
    """Go a way while the daemon is in the middle of it, and see it end."""
    mail = under_way.mail
    before = len(mail.mails)
    mail.wait_for(lambda: len(mail.mails) >= before + 100)
    mail.hold()
    mail.wait_for(lambda: mail.under_way >= 2)
    way(under_way.dsn)
    rows = "select from dripdrop.step_executions where claimed_at is not null"
    claimed = len(under_way.engine.rows(rows))
    running.wait_for_log("version_mismatch")
    mail.release()
    assert running.wait() == 3
    assert len(under_way.engine.rows(rows)) == claimed
    assert "not_recorded" not in {entry["event"] for entry in running.log}
    assert not running.logged("stage_failed")
    assert set(under_way.states()) <= {"scheduled", "queued", "rendered", "sent"}


def finish(under_way: Journeys, source: Path) -> None:
    """Let a daemon of a version send what is due."""
    with sending(under_way, source, "--once") as running:
        assert running.wait() == 0
    assert under_way.states() == {"sent": DUE, "scheduled": PEOPLE - DUE}


def upgrade(under_way: Journeys, old: Path, new: Path, way: Way) -> None:
    """Upgrade by a way while daemons of the old version send."""
    with sending(under_way, old, "--workers", "2") as running:
        change(under_way, running, way)
        (line, *_) = running.logged("version_mismatch")
        assert NEW in line["detail"]
        assert line["hint"]
    under_way.assert_version(NEW)
    under_way.assert_nothing_is_lost()


def test_however_it_gets_there_the_next_version_is_the_same(
    new: Path,
    pgmq_dsn: str,
    databases: Databases,
    fingerprint: Callable[[str], Catalogue],
    extension_files: None,
) -> None:
    upgraded, fresh = databases.create(), databases.create()
    try:
        install(databases.dsn(upgraded))
        for name in (upgraded, fresh):
            run(new, "-m", "dripdrop", "install", "--dsn", databases.dsn(name))
        for script in (new / "dist/extension").glob("*.sql"):
            shutil.copy(script, extension_folder(pgmq_dsn))
        with psycopg.connect(pgmq_dsn) as connection:
            connection.execute(f"create extension dripdrop version '{NEW}'".encode())
            connection.execute("select dripdrop.start()")
        expected = fingerprint(databases.dsn(fresh))
        assert ("column", "dripdrop.enrollments.note") in expected
        assert fingerprint(databases.dsn(upgraded)) == expected
        assert fingerprint(pgmq_dsn) == expected
    finally:
        databases.drop(upgraded)
        databases.drop(fresh)


def test_the_installer_upgrades(old: Path, new: Path, empty_dsn: str, mail: MailServer) -> None:
    install(empty_dsn)
    with journeys(empty_dsn, mail) as under_way:
        way = partial(run, new, "-m", "dripdrop", "install", "--dsn")
        upgrade(under_way, old, new, way)
        finish(under_way, new)
        under_way.assert_nothing_is_lost()


def test_sqitch_upgrades_and_reverts(
    old: Path, new: Path, pgmq_dsn: str, mail: MailServer, sqitch: Sqitch
) -> None:
    sqitch("deploy", pgmq_dsn)
    with journeys(pgmq_dsn, mail) as under_way:
        upgrade(under_way, old, new, lambda dsn: sqitch("deploy", dsn, root=new))
        sqitch("verify", pgmq_dsn, root=new)
        with sending(under_way, new) as running:
            change(
                under_way, running, lambda dsn: sqitch("revert", dsn, "--to", f"@v{OLD}", root=new)
            )
        under_way.assert_version(OLD)
        under_way.assert_nothing_is_lost()
        finish(under_way, old)
        under_way.assert_nothing_is_lost()


def test_the_extension_upgrades_and_goes_back(
    old: Path, new: Path, pgmq_dsn: str, mail: MailServer, extension_files: None
) -> None:
    with psycopg.connect(pgmq_dsn, autocommit=True) as connection:
        connection.execute("create extension dripdrop")
    folder = extension_folder(pgmq_dsn)
    for script in (new / "dist/extension").glob("*.sql"):
        shutil.copy(script, folder)

    def to(version: str) -> Way:
        def update(dsn: str) -> None:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(f"alter extension dripdrop update to '{version}'".encode())

        return update

    with journeys(pgmq_dsn, mail) as under_way:
        upgrade(under_way, old, new, to(NEW))
        with sending(under_way, new) as running:
            change(under_way, running, to(OLD))
        under_way.assert_version(OLD)
        under_way.assert_nothing_is_lost()
        finish(under_way, old)
        under_way.assert_nothing_is_lost()
