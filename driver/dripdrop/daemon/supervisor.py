"""Worker processes: one that ends by itself is started again, and all end together when told to."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

import structlog

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_LONG_ENOUGH = 60.0
"""Seconds after which a worker that ends has worked: the next pause is the first again."""


def supervise(
    work: Callable[..., None], arguments: tuple[object, ...], workers: int, final: int
) -> int:
    """Run workers in processes until SIGTERM or SIGINT, then end them; return the exit status.

    That is 0 when all ended in order, else the status of one that did not; of one that a signal
    killed, 128 + its number. A worker that ends with `final` is not replaced: the others end too.
    """
    slots = [_Slot(f"worker-{number}", work, arguments) for number in range(workers)]
    stopping = False
    told, tell = multiprocessing.Pipe(duplex=False)

    def stop(*_: object) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            tell.send_bytes(b"stop")
        for slot in slots:
            slot.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        due = min(slot.start_if_due() for slot in slots)
        if stopping:  # told so while one was being started
            stop()
        ended = wait([told, *(slot.process.sentinel for slot in slots if slot.process)], due)
        for slot in slots:
            if slot.process and slot.process.sentinel in ended and not stopping:
                if slot.joined() == final:
                    stop()
                else:
                    slot.ended()
    statuses = [slot.joined() for slot in slots]
    return next((status for status in statuses if status), 0)


class _Slot:
    """The place of a worker process, and when it is to be filled again."""

    def __init__(self, name: str, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.process: SpawnProcess | None = None
        self._name = name
        self._work = work
        self._arguments = arguments
        self._pause = 0.0
        self._due = self._began = time.monotonic()

    def start_if_due(self) -> float:
        """Fill the place if it is empty and the time has come; return the seconds until then."""
        if self.process is not None:
            return _LONGEST_PAUSE
        if self._due > time.monotonic():
            return self._due - time.monotonic()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=self._work, args=self._arguments, name=self._name)
        self._began = time.monotonic()
        try:
            process.start()
        except OSError as error:  # the machine has no room for it
            return self._wait(error=type(error).__name__)
        self.process = process
        return _LONGEST_PAUSE

    def ended(self) -> None:
        """Empty the place, say so, and let it be filled after a pause."""
        assert self.process is not None
        self.process.join()
        status = _status(self.process)
        self.process = None
        self._wait(status=status)

    def _wait(self, **why: object) -> float:
        lived = time.monotonic() - self._began
        grown = 0.0 if lived > _LONG_ENOUGH else 2 * self._pause
        self._pause = min(max(grown, _FIRST_PAUSE), _LONGEST_PAUSE)
        wait = self._pause * random.uniform(0.75, 1)
        self._due = time.monotonic() + wait
        structlog.get_logger("dripdrop").error(
            "worker_ended",
            worker=self._name,
            **why,
            after_seconds=round(lived, 1),
            wait=round(wait, 2),
        )
        return wait

    def stop(self) -> None:
        """Tell the worker to end."""
        if self.process is not None:
            self.process.terminate()

    def joined(self) -> int:
        """Wait for the end of the worker; return its status."""
        if self.process is None:
            return 0
        self.process.join()
        status = _status(self.process)
        # One that was told so before it could listen has nothing under way.
        return 0 if status == 128 + signal.SIGTERM else status


def _status(process: SpawnProcess) -> int:
    """Return the exit status as a shell gives it."""
    code = process.exitcode or 0
    return code if code >= 0 else 128 - code
