"""`dripdrop run`: one worker in this process, or several in processes of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sys
from importlib.metadata import version

from dripdrop.daemon.health import StagesFailed
from dripdrop.daemon.settings import Settings
from dripdrop.daemon.start import is_ready
from dripdrop.daemon.supervisor import supervise
from dripdrop.daemon.worker import Worker
from dripdrop.errors import OtherVersion
from dripdrop.process.log import logging_to
from dripdrop.process.reporting import reported
from dripdrop.process.version import OTHER_VERSION
from dripdrop.templates.process import Work

_TRIAL = Work("trial", {"text": "{{ word }}"}, {"word": "ready"})


def main(dsn: str, settings: Settings, *, workers: int = 1, once: bool = False) -> int:
    """Run until SIGTERM or SIGINT, or with `once` until nothing is due; return the exit status.

    Raises:
        VaultError: the key is malformed.
        psycopg.Error: there is no such database, or DripDrop is not in it.
    """
    with logging_to(sys.stderr):
        try:
            if not is_ready(dsn):
                return 1
            if workers > 1 and not once:
                return supervise(_work, (dsn, settings), workers, OTHER_VERSION)
            asyncio.run(_run(dsn, settings, once))
        except OtherVersion:
            return OTHER_VERSION
        except StagesFailed:
            return 1  # as above, the log says why
    return 0


async def _run(dsn: str, settings: Settings, once: bool) -> None:
    worker = Worker(dsn, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        loop.add_reader(supervisor.sentinel, _stop_as_orphan, worker, supervisor.sentinel)
    async with worker:
        await worker.rendering.render_one(_TRIAL)  # better no worker than one that cannot
        worker.log.info("started", version=version("dripdrop-postgres"))
        if once:
            await worker.run_until_idle()
        else:
            await worker.run()
    worker.log.info("stopped")


def _stop_as_orphan(worker: Worker, sentinel: int) -> None:
    """Stop because the supervisor is gone: whoever starts another must not get both."""
    asyncio.get_running_loop().remove_reader(sentinel)
    worker.stop()


def _work(dsn: str, settings: Settings) -> None:
    """Be a worker process."""
    with logging_to(sys.stderr), reported():
        try:
            asyncio.run(_run(dsn, settings, once=False))
        except OtherVersion:
            sys.exit(OTHER_VERSION)
