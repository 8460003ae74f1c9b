"""The daemon's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """Log one JSON object per line: ours from INFO up, libraries' from WARNING.

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
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors]
        )
    )
    libraries = logging.getLogger()
    libraries.addHandler(handler)
    try:
        yield
    finally:
        libraries.removeHandler(handler)
        structlog.reset_defaults()
