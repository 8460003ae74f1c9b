"""Processes that begin at one moment, so that none is measured while another one starts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from typing import Any


@contextmanager
def processes(
    count: int, target: Callable[..., None], *args: Any
) -> Iterator[tuple[Barrier, Event]]:
    """Run `target(*args, ready, stop)` in processes; go on when all are ready, and wait for all.

    Yield where they may meet again, and what ends them.
    """
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Barrier(count + 1), context.Event()
    started = [context.Process(target=target, args=(*args, ready, stop)) for _ in range(count)]
    for process in started:
        process.start()
    ready.wait(60)
    try:
        yield ready, stop
    finally:
        stop.set()
        for process in started:
            process.join()
