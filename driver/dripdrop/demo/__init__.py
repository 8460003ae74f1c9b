"""`dripdrop demo`: fourteen days of a SaaS's onboarding in about twenty seconds.

An embedded Postgres, a mail server and a webhook endpoint are started on this machine. 25 people
sign up, and a worker of the daemon sends what is due. The clock jumps to whatever happens next.

Read `saas_onboarding.sql` for the sequence, `app.py` for what an application does.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import tempfile
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.rows import namedtuple_row
from rich.console import Console

from dripdrop.channels import ChannelSettings
from dripdrop.daemon import Settings, Worker
from dripdrop.demo import report, story
from dripdrop.demo.app import App
from dripdrop.demo.play import Clock, Play
from dripdrop.demo.screen import Screen, steps_table
from dripdrop.demo.servers import Endpoint, MailServer
from dripdrop.embedded import EmbeddedServer
from dripdrop.install import install
from dripdrop.process.log import logging_to
from dripdrop.vault import Vault, generate_key


def main(*, keep: bool = False, pause: float = 0.1, folder: Path | None = None) -> int:
    """Run the demo and return its exit status: 0 if everything came out as it should.

    Args:
        keep: leave the server up at the end.
        pause: seconds to wait after each jump of the clock, so that one can watch.
        folder: where the mails and the daemon's log go; without one a new temporary folder.

    Raises:
        ModuleNotFoundError: the extra `demo` is not installed.
    """
    screen = Screen(Console())
    folder = folder or Path(tempfile.mkdtemp(prefix="dripdrop-demo-"))
    mails, log = folder / "mails", folder / "daemon.log"
    mails.mkdir(parents=True)
    screen.say("Starting Postgres and installing DripDrop ...")
    with EmbeddedServer() as server, log.open("w") as stream, logging_to(stream):
        version = install(server.dsn)
        screen.say(f"DripDrop {version} is installed; mail goes by SMTP, webhooks by HTTP.")
        went_well = asyncio.run(_run(server.dsn, mails, screen, pause))
        screen.say(f"mails: {mails} ({len(list(mails.iterdir()))} .eml files)")
        screen.say(f"daemon's log: {log}")
        server.keep = keep
        if keep:
            pid_file = shlex.quote(str(server.directory / "postmaster.pid"))
            screen.say(f"look around: {shlex.join([str(server.psql), server.dsn])}")
            screen.say(f"stop the server: kill -INT $(head -n 1 {pid_file})")
        else:
            screen.say("look around: --keep (make demo KEEP=1) leaves the server up for psql")
    return 0 if went_well else 1


async def _run(dsn: str, mails: Path, screen: Screen, pause: float) -> bool:
    """Play the story, print the report, and say whether all is as it should be."""
    clock = Clock(story.START - timedelta(hours=1))
    vault = Vault(generate_key())
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    async with (
        MailServer(mails, unknown={story.address(story.BOUNCING)}).running() as mail,
        Endpoint(secret, clock).running() as endpoint,
        await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, row_factory=namedtuple_row
        ) as connection,
        Worker(
            dsn,
            Settings(channels=ChannelSettings(allow_http=True, allow_private=True)),
            vault=lambda: vault,
            clock=clock,
        ) as worker,
    ):
        app = App(connection)
        play = Play(app, clock, screen)
        await play.set_clock(clock.now)
        await app.create(vault, secret, mail.port, endpoint.url)
        with screen:
            while await play.go_on():
                await worker.run_until_idle()
                screen.show(clock.now, await report.steps(app))
                await asyncio.sleep(pause)
        findings = await report.findings(app, mail, endpoint, left_nothing=play.left_nothing)
        out_of_place = await report.out_of_place(app)
        screen.console.print("", steps_table(await report.steps(app)), "", sep="\n")
    for sentence, is_so in findings:
        screen.say(f"{'ok   ' if is_so else 'WRONG'}  {sentence}")
    screen.say(f"ledger: {out_of_place} rows out of place")
    return out_of_place == 0 and all(is_so for _, is_so in findings)
