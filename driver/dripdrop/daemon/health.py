"""How a worker's stages get on with the database: pauses, time limits, and one line per change."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from psycopg.errors import QueryCanceled

from dripdrop.faults import Kind, Unanswered, described, kind_of

SECONDS: ContextVar[float] = ContextVar("SECONDS", default=5.0)
"""How long a statement of the stage that runs may take."""

_SHORTEST, _LONGEST = 5.0, 120.0

_PAUSES = {
    Kind.GONE: (0.1, 5.0),
    Kind.BUSY: (0.05, 2.0),
    Kind.REFUSING: (0.5, 10.0),
    Kind.READ_ONLY: (0.5, 5.0),
    Kind.OURS: (0.5, 30.0),
}
"""The first pause after a failure, and the longest: each is twice the one before."""

_LINES = {
    Kind.GONE: ("warning", "database_gone"),
    Kind.REFUSING: ("error", "database_refuses"),
    Kind.READ_ONLY: ("error", "database_read_only"),
}
"""What is logged once, when it begins; `database_back` when it is over."""


class StagesFailed(Exception):
    """Stages that could not do what was due; the log says why. Maps their names to the errors."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        """Keep the errors by the stages' names."""
        super().__init__(", ".join(sorted(errors)))
        self.errors = errors
        self.__cause__ = next(iter(errors.values()))


class Health:
    """Counts the failures of each stage, and tells the log what changes."""

    def __init__(self, log: Any) -> None:
        """Begin without a failure."""
        self.back = asyncio.Event()
        """Pulses when a stage finds that a database that was away, or refused, is back."""
        self._log = log
        self._failures: dict[str, tuple[Kind, int]] = {}
        self._troubled: dict[str, Kind] = {}
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    @property
    def failing(self) -> dict[str, str]:
        """Which stages failed with their last step, and how."""
        return {stage: kind.value for stage, (kind, _) in self._failures.items()}

    @contextmanager
    def watching(self, stage: str) -> Iterator[float]:
        """Give a step of a stage its time limit; a step that ends well ends its trouble."""
        limit = self._seconds.get(stage, _SHORTEST)
        began = time.monotonic()
        token = SECONDS.set(limit)
        try:
            yield limit
        finally:
            SECONDS.reset(token)
        self._seconds[stage] = max(_SHORTEST, min(limit, 4 * (time.monotonic() - began)))
        self._failures.pop(stage, None)
        if self._troubled.pop(stage, None) is not None:
            self.back.set()
            self.back.clear()
            if not self._troubled:
                seconds = round(time.monotonic() - self._since, 1)
                self._log.info("database_back", after_seconds=seconds)

    def failed(self, stage: str, error: Exception) -> float:
        """Take note of what a stage raised; return how many seconds it is to wait."""
        kind = kind_of(error)
        before, count = self._failures.get(stage, (kind, 0))
        count = count + 1 if before is kind else 1
        self._failures[stage] = kind, count
        if isinstance(error, Unanswered | QueryCanceled):
            self._seconds[stage] = min(2 * self._seconds.get(stage, _SHORTEST), _LONGEST)
        first, longest = _PAUSES[kind]
        wait = min(first * 2.0 ** min(count - 1, 20), longest) * random.uniform(0.75, 1)
        self._tell(stage, error, kind, count, wait)
        return wait

    def _tell(self, stage: str, error: Exception, kind: Kind, count: int, wait: float) -> None:
        said = {"stage": stage, **described(error), "wait": round(wait, 2)}
        if kind is Kind.OURS:
            self._log.error("stage_failed", **said)
        elif kind is Kind.BUSY:
            if count.bit_count() == 1:  # the first, second, fourth, eighth …
                self._log.warning("database_busy", times=count, **said)
        elif kind not in self._troubled.values():
            level, event = _LINES[kind]
            getattr(self._log, level)(event, **said)
        if kind not in _LINES:
            return
        if not self._troubled:
            self._since = time.monotonic()
        self._troubled[stage] = kind
