"""The process that renders: templates and data of others run here, within limits, and not beside
connections and keys.

What a message takes is processor time and not the clock's, so that a machine that stands still
fails nobody. Python is interrupted with every TICK of it, and a message after SECONDS. What does
not let itself be interrupted is ended by the kernel a second later, and the parent reads in the
shared page which message had begun. Nothing of this costs a message a system call. Memory beyond
MEMORY makes Python raise; unless the message has given all of it back, the process then ends, for
it is not known any more who took how much.

A request is a length and a JSON document; an answer is a length and any number of records, see
`RECORD`, the last of a request being `END`.
"""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import orjson

from dripdrop.templates.liquid import MESSAGE, REQUEST, TOO_LARGE, Renderer, RenderError

TICK = 0.05
SECONDS = 1.0
"""How much processor time one message may take, its template's parsing included."""

MEMORY = 256 * 1024 * 1024
"""How many bytes rendering may take, beside what the process has to begin with."""

_LITTER = 64 * 1024 * 1024  # bytes that may lie about without the process being a new one

LARGEST = 1_000_000
"""How many bytes of JSON a rendered message may have.

Postmark takes 5 MB each of HTML and text, most mail servers 10 MB altogether, and a mailbox
provider cuts off what is longer than a tenth of a megabyte."""

TIMEOUT = "render_timeout"
"""The code of a message that took too long."""

LENGTH = struct.Struct("<I")
RECORD = struct.Struct("<cfI")
"""What a record is, the processor seconds it took, and the length of what follows."""

PAYLOAD, FAILED, SLOW, LATER, MEMORY_ERROR, END = b"P", b"F", b"S", b"L", b"M", b"E"
"""A payload; a code and its detail; a message that the time of this request was too short for; one
of a template that took too long already, and was not begun; one that memory did not suffice for,
after which the process ends; no more records."""

_PIPE_BYTES = 1024 * 1024
_FLUSHED_BYTES = 64 * 1024
_ANSWERED_BYTES = 8 * 1024 * 1024  # after which the parent has to ask again for the rest


class _Slow(Exception):
    """A message was given less than SECONDS, and needs more."""


class _TookTooLong(BaseException):
    """Not to be caught by those who catch every exception."""


class Progress:
    """The page, shared by parent and child, that says which message of a request has begun."""

    SIZE = mmap.PAGESIZE

    def __init__(self, file: int) -> None:
        """Map a file of SIZE bytes."""
        self._places = memoryview(mmap.mmap(file, self.SIZE)).cast("i")

    def begin(self, place: int) -> None:
        """Say that a message has begun; -1 is none."""
        self._places[0] = place

    @property
    def begun(self) -> int:
        """Which message had begun last, or -1."""
        return self._places[0]


def main() -> None:
    """Answer requests on the standard streams until they end."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "r+b") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    for pipe in (requests, answers):
        with suppress(OSError, AttributeError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    child = _Child(Progress(int(sys.argv[1])))
    child.limit_memory()
    with suppress(BrokenPipeError):
        while len(head := requests.read(LENGTH.size)) == LENGTH.size:
            document = requests.read(*LENGTH.unpack(head))
            child.answer(orjson.loads(document), answers)


class _Child:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._renderers = {"message": Renderer(MESSAGE), "request": Renderer(REQUEST)}
        self._rendering = False
        self._mapped = 0  # bytes, before anything was rendered
        self._seconds = SECONDS
        self._time = self._begun = (
            0.0  # of the processor, at the last tick and at a message's start
        )
        signal.signal(signal.SIGPROF, self._tick)

    def answer(self, request: Mapping[str, Any], answers: BinaryIO) -> None:
        """Render the messages of a request in their order, and write what becomes of them: as far
        as it goes in the time that the request may take.
        """
        records: list[bytes] = []
        self._time = time.process_time()  # quick requests have ended before the first tick
        size, total, flushed = 0, 0, self._time
        over = self._time + request["seconds"]
        self._allow_more_time()
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        for kind, seconds, content in self._rendered(request):
            records += RECORD.pack(kind, seconds, len(content)), content
            size += len(content)
            if size > _FLUSHED_BYTES or self._time > flushed or kind == MEMORY_ERROR:
                _write(answers, records)
                total += size
                records, size, flushed = [], 0, self._time
            if kind == MEMORY_ERROR:
                os._exit(0)
            if total > _ANSWERED_BYTES or self._time > over:
                break
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        self._progress.begin(-1)
        records.append(RECORD.pack(END, 0, 0))
        _write(answers, records)

    def _rendered(self, request: Mapping[str, Any]) -> Iterator[tuple[bytes, float, bytes]]:
        renderer = self._renderers[request["escaping"]]
        self._seconds = request["limit"]
        taken: dict[str, float] = {}
        for place, message in enumerate(request["messages"]):
            template_hash = message[0]
            if taken and taken.get(template_hash, 0) > SECONDS:
                yield LATER, 0, b""
                continue
            self._progress.begin(place)
            begun = self._begun = self._time
            try:
                kind, content = PAYLOAD, self._limited(renderer, request["templates"], *message)
            except RenderError as error:
                kind, content = FAILED, orjson.dumps([error.code, error.detail])
            except _Slow:
                kind, content = SLOW, b""
            except MemoryError:
                kind, content = MEMORY_ERROR, b""
            if kind == MEMORY_ERROR and self._is_clean():
                kind, content = FAILED, orjson.dumps([memory().code, memory().detail])
            seconds = self._time - begun
            if seconds:
                taken[template_hash] = taken.get(template_hash, 0) + seconds
            yield kind, seconds, content

    def _limited(
        self,
        renderer: Renderer,
        templates: Mapping[str, Any],
        template_hash: str,
        variables: Mapping[str, Any],
        headers: Mapping[str, str] | None,
        mailboxes: Sequence[str],
    ) -> bytes:
        """Return the payload as JSON. Raises `RenderError`, `MemoryError` and `_Slow`."""
        try:
            self._rendering = True
            if not renderer.knows(template_hash):
                renderer.learn(template_hash, templates[template_hash])
            payload = renderer.render(template_hash, variables, mailboxes)
            if headers is not None:
                payload = with_headers(payload, headers)
            content = _payload(payload)
            self._rendering = False
        except _TookTooLong:
            self._rendering = False
            raise (_Slow() if self._seconds < SECONDS else timeout()) from None
        finally:
            self._rendering = False
        return content

    def _tick(self, *_: object) -> None:
        """Look at the time, and raise when it is over: again and again, for where Python ignores
        exceptions one is not enough.
        """
        self._time = time.process_time()
        self._allow_more_time()
        if self._rendering and self._time - self._begun > self._seconds + TICK:
            raise _TookTooLong

    def _allow_more_time(self) -> None:
        """Put off the end by the kernel: Python is still to be interrupted."""
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS + 1)

    def limit_memory(self) -> None:
        """Take no more address space than is mapped now and MEMORY; leave no core behind."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # elsewhere than on Linux
            self._mapped = _mapped()
            limit = self._mapped + _LITTER + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def _is_clean(self) -> bool:
        """Whether what is mapped is as little as if nothing had been rendered."""
        gc.collect()
        return 0 < _mapped() <= self._mapped + _LITTER


def timeout() -> RenderError:
    """Return what becomes of a message that took too long."""
    return RenderError(TIMEOUT, f"took more than {SECONDS:g} s of processor time")


def memory() -> RenderError:
    """Return what becomes of a message that took too much memory."""
    return RenderError("render_memory", f"took more than {MEMORY // 2**20} MB")


def with_headers(payload: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Return a payload with headers, and the template's own but for those."""
    own = payload.get("headers") or {}
    if not isinstance(own, Mapping):
        raise RenderError("invalid_header", "headers must be an object")
    ours = {name.lower() for name in headers}
    kept = {name: value for name, value in own.items() if name.lower() not in ours}
    return {**payload, "headers": {**kept, **headers}}


def to_json(value: Any) -> bytes:
    """Return a value as JSON. Raises `RenderError` for half a character and for deep nesting."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise RenderError("not_json", str(error)) from None


def _payload(payload: Any) -> bytes:
    content = to_json(payload)
    if len(content) > LARGEST:
        raise RenderError(TOO_LARGE, f"{len(content)} bytes, more than {LARGEST}")
    return content


def _write(answers: BinaryIO, records: list[bytes]) -> None:
    content = b"".join(records)
    view = memoryview(LENGTH.pack(len(content)) + content)
    while view:
        view = view[answers.write(view) :]


def _mapped() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * mmap.PAGESIZE


if __name__ == "__main__":
    main()
