"""The log of a process: JSON lines, without what tells of people."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog

from dripdrop.redaction import without_people

_OURS = frozenset({"timestamp", "level"})


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """Log one JSON object per line: ours from INFO up, libraries' from WARNING.

    A line is one write, so that several workers do not mix theirs.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_people,
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


def _without_people(
    _: object, __: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Take out what a server's words, an error or a library may say about somebody."""
    return {key: each if key in _OURS else _redacted(each) for key, each in entry.items()}


def _redacted(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return without_people(value)
        case dict():
            return {without_people(str(key)): _redacted(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(each) for each in value]
        case _:
            return without_people(str(value))
