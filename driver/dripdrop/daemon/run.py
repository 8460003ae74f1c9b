"""`dripdrop run`: one worker in this process, or several in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import sys
from importlib.metadata import version
from multiprocessing.connection import wait

import structlog

from dripdrop.daemon.worker import Settings, Worker


def main(dsn: str, settings: Settings, *, workers: int = 1, once: bool = False) -> int:
    """Run until SIGTERM or SIGINT, or with `once` until nothing is due; return the exit status."""
    if workers == 1 or once:
        return _work(dsn, settings, once)
    return _supervise(dsn, settings, workers)


def _work(dsn: str, settings: Settings, once: bool = False) -> int:
    _configure_logging()
    return asyncio.run(_run(dsn, settings, once))


async def _run(dsn: str, settings: Settings, once: bool) -> int:
    worker = Worker(dsn, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        loop.add_reader(supervisor.sentinel, _stop_as_orphan, worker, supervisor.sentinel)
    async with worker:
        if not await _is_ready(worker):
            return 1
        if once:
            await worker.run_until_idle()
        else:
            await worker.run()
    worker.log.info("stopped")
    return 0


def _stop_as_orphan(worker: Worker, sentinel: int) -> None:
    """Stop because the supervisor is gone: whoever starts another must not get both."""
    asyncio.get_running_loop().remove_reader(sentinel)
    worker.stop()


async def _is_ready(worker: Worker) -> bool:
    """Refuse a schema of another version; say what else is in the way."""
    async with worker.database() as database:
        installed = await database.version()
        problems = await database.startup_check()
    for problem in problems:
        worker.log.warning(problem.problem, detail=problem.detail, hint=problem.hint)
    if installed != version("dripdrop-postgres"):
        worker.log.error(
            "version_mismatch",
            installed=installed,
            driver=version("dripdrop-postgres"),
            hint="dripdrop install brings the schema to the driver's version.",
        )
        return False
    worker.log.info("started", version=installed)
    return True


def _supervise(dsn: str, settings: Settings, workers: int) -> int:
    """Run workers in processes; when one ends by itself, end the others, and fail."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_exit_with_status, args=(dsn, settings), name=f"worker-{number}")
        for number in range(workers)
    ]
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for process in processes:
            process.terminate()

    for process in processes:
        process.start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    wait([process.sentinel for process in processes])
    if not stopping:
        stop()
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)


def _exit_with_status(dsn: str, settings: Settings) -> None:
    sys.exit(_work(dsn, settings))


def _configure_logging() -> None:
    """One JSON object per line on standard error: ours from INFO up, libraries' from WARNING.

    A line is one write, so that several workers do not mix theirs.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors]
        )
    )
    logging.basicConfig(handlers=[handler])
