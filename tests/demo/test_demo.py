"""The demo, run once without its pauses and with its server kept, as `make demo KEEP=1` does."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from dripdrop.channels import Adapter, ChannelSettings, Message, open_channel
from dripdrop.demo import main, report, story
from dripdrop.demo.app import App
from dripdrop.demo.servers import Endpoint, MailServer

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "driver" / "dripdrop" / "demo" / "saas_onboarding.sql"
SECRET = "whsec_" + "c2VjcmV0" * 4
OTHER_SECRET = "whsec_" + "b3RoZXIh" * 4
ONCE = "the mail server got every mail once, and no other"
SIGNED = "the endpoint got every webhook once, and each was signed"


class Demo(NamedTuple):
    status: int
    output: str
    folder: Path

    def said(self, what: str) -> str:
        """Return the rest of the one line that begins with `what`."""
        [rest] = re.findall(f"^{re.escape(what)}(.*)$", self.output, re.MULTILINE)
        return str(rest)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    output = StringIO()
    with redirect_stdout(output):
        status = main(keep=True, pause=0, folder=folder)
    demo = Demo(status, output.getvalue(), folder)
    yield demo
    _, dsn = shlex.split(demo.said("look around: "))
    socket_folder = psycopg.conninfo.conninfo_to_dict(dsn)["host"]
    subprocess.run(demo.said("stop the server: "), shell=True, check=True)
    give_up = time.monotonic() + 20
    while Path(str(socket_folder), "data", "postmaster.pid").exists():
        assert time.monotonic() < give_up, "the server did not stop"
    shutil.rmtree(str(socket_folder))


@pytest.fixture
async def app(demo: Demo, anyio_backend: str) -> AsyncIterator[App]:
    """The application again, at the database that the demo has left."""
    dsn = shlex.split(demo.said("look around: "))[1]
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, row_factory=namedtuple_row
    ) as connection:
        yield App(connection)


@pytest.fixture
def mail(demo: Demo) -> MailServer:
    """A mail server that has got what the demo's got."""
    server = MailServer(demo.folder, unknown=())
    for file in (demo.folder / "mails").iterdir():
        _, step, address = file.stem.split("-")
        server.delivered.append((step, address))
    return server


@pytest.fixture
async def endpoint(app: App) -> Endpoint:
    """An endpoint that has got what the demo's should have."""
    users = await (await app.connection.execute("select id::text, email from users")).fetchall()
    endpoint = Endpoint(SECRET, lambda: story.START)
    endpoint.accepted = [
        (step, user.id)
        for step in story.WEBHOOKS
        for user in users
        if user.email in story.expected()[step]["sent"]
    ]
    return endpoint


async def post(url: str, secret: str, sent_at: datetime) -> None:
    """Post a webhook as the daemon does."""
    adapter = Adapter(uuid4(), None, "app", "webhook", "default", {"url": url}, {"secret": secret})
    payload = {"body": {"step": "welcome_notification", "user": "1"}}
    message = Message(uuid4(), 1, "key", None, "webhook", None, payload, sent_at)
    channel = open_channel(adapter, ChannelSettings(allow_http=True, allow_private=True))
    await channel.send(message)
    await channel.aclose()


async def wrong(app: App, mail: MailServer, endpoint: Endpoint) -> list[str]:
    findings = await report.findings(app, mail, endpoint, left_nothing=True)
    return [sentence for sentence, is_so in findings if not is_so]


def test_everything_comes_out_as_it_should(demo: Demo) -> None:
    assert (demo.status, demo.output.count("\nok  "), "WRONG" in demo.output) == (0, 8, False)


def test_the_report_counts_what_was_sent_skipped_and_failed_per_step(demo: Demo) -> None:
    assert [tuple(map(int, demo.said(f"{step} ").split()[1:])) for step in story.expected()] == [
        (23, 0, 1, 0),
        (23, 0, 0, 0),
        (23, 0, 0, 0),
        (22, 1, 0, 0),
        (22, 1, 0, 0),
        (23, 0, 0, 0),
    ]


def test_the_ledger_has_no_row_out_of_place(demo: Demo) -> None:
    assert demo.said("ledger: ") == "0 rows out of place"


def test_a_sign_up_that_is_rolled_back_visibly_leaves_nothing(demo: Demo) -> None:
    before, within, after = (demo.said(f"    {when:6}  ") for when in ("before", "within", "after"))
    assert (before, within) == (
        "7 users, 7 enrolments, 21 messages",
        "8 users, 8 enrolments, 22 messages",
    )
    assert after == before


def test_without_a_terminal_each_day_that_brought_something_is_a_line(demo: Demo) -> None:
    days = re.findall(r"^(\w+ \d\d Jan)  ends   (\d+) sent", demo.output, re.MULTILINE)
    assert days == [
        ("Mon 05 Jan", "46"),
        ("Tue 06 Jan", "69"),
        ("Mon 12 Jan", "90"),
        ("Fri 16 Jan", "91"),
        ("Mon 19 Jan", "134"),
        ("Fri 23 Jan", "136"),
    ]
    assert "\x1b" not in demo.output


def test_the_mails_lie_where_the_report_says_as_both_html_and_text(demo: Demo) -> None:
    folder = Path(demo.said("mails: ").removesuffix(" (90 .eml files)"))
    [file] = folder.glob("*-setup_reminder-carlos@example.com.eml")
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (message["To"], message["Subject"]) == (
        "carlos@example.com",
        "Finish your setup in five minutes",
    )
    parts = [part.get_content() for part in message.iter_parts()]
    assert [("Hi Carlos" in part, "invite your colleagues" in part) for part in parts] == [
        (True, True),
        (True, True),
    ]


def test_the_daemons_log_is_kept_off_the_screen(demo: Demo) -> None:
    log = Path(demo.said("daemon's log: ")).read_text().splitlines()
    assert {"not_sent", "recorded"} <= {json.loads(line)["event"] for line in log}
    assert '"event"' not in demo.output


def test_the_psql_line_looks_into_the_server_that_was_kept(demo: Demo) -> None:
    command = demo.said("look around: ") + " -AXtc 'select count(*) from dripdrop.enrollments'"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert result.stdout == "24\n"


@pytest.mark.anyio
async def test_the_example_applied_again_changes_nothing(app: App) -> None:
    script = EXAMPLE.read_text()
    await app.connection.execute(script[script.index("select version, state") :].encode())
    versions = await app.connection.execute("select version from dripdrop.sequence_versions")
    assert await versions.fetchall() == [(1,)]


@pytest.mark.anyio
async def test_nothing_is_wrong_with_what_the_servers_got(
    app: App, mail: MailServer, endpoint: Endpoint
) -> None:
    assert await wrong(app, mail, endpoint) == []


@pytest.mark.anyio
async def test_a_mail_that_came_twice_is_found(
    app: App, mail: MailServer, endpoint: Endpoint
) -> None:
    mail.delivered.append(mail.delivered[0])
    assert await wrong(app, mail, endpoint) == [ONCE]


@pytest.mark.anyio
async def test_a_webhook_that_never_came_is_found(
    app: App, mail: MailServer, endpoint: Endpoint
) -> None:
    endpoint.accepted.pop()
    assert await wrong(app, mail, endpoint) == [SIGNED]


@pytest.mark.anyio
async def test_a_step_of_another_state_is_found(
    app: App, mail: MailServer, endpoint: Endpoint
) -> None:
    async with app.connection.transaction(force_rollback=True):
        await app.connection.execute("set local session_replication_role = replica")
        await app.connection.execute(
            "update dripdrop.step_executions set state = 'sent' where state = 'skipped'"
        )
        assert await wrong(app, mail, endpoint) == [
            "every step was sent, skipped and failed for exactly the right people"
        ]


@pytest.mark.anyio
async def test_the_endpoint_takes_what_is_signed_with_its_secret(anyio_backend: str) -> None:
    async with Endpoint(SECRET, lambda: story.START).running() as endpoint:
        await post(endpoint.url, SECRET, story.START)
    assert (endpoint.accepted, endpoint.refused) == ([("welcome_notification", "1")], 0)


@pytest.mark.anyio
async def test_the_endpoint_refuses_what_another_secret_signed(anyio_backend: str) -> None:
    async with Endpoint(SECRET, lambda: story.START).running() as endpoint:
        await post(endpoint.url, OTHER_SECRET, story.START)
    assert (endpoint.accepted, endpoint.refused) == ([], 1)


@pytest.mark.anyio
async def test_the_endpoint_refuses_what_was_signed_at_another_time(anyio_backend: str) -> None:
    async with Endpoint(SECRET, lambda: story.START).running() as endpoint:
        await post(endpoint.url, SECRET, story.START - timedelta(minutes=6))
    assert (endpoint.accepted, endpoint.refused) == ([], 1)
