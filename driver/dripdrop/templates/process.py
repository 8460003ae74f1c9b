"""The parent's side of the process that renders: work in, answers out, and what ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, TypeAlias

import orjson
import structlog

from dripdrop.templates import child
from dripdrop.templates.liquid import RenderError

_MESSAGES = 500  # of a request
_BYTES = 2 * 1024 * 1024  # of a request, unless one message has more
_PATIENCE = 30.0  # seconds of the clock in which no message begins, after which the process ends
_SHORT = 0.1  # seconds of the processor that a short try may take
_TURNS = ((10.0, child.SECONDS), (10.0, _SHORT), (2.0, _SHORT), (2.0, child.SECONDS))
"""How much of the processor a call takes at most, and one message of it: for messages whose
templates have been quick, for the first, short, try of those that nobody knows, for that of those
whose templates may take long, and for those that did."""
_SUSPECTS = 1000
_QUICK = 10_000
_START = 0.3  # seconds of the processor that a new process costs
_ENVIRONMENT = ("LANG", "LC_", "LD_LIBRARY_PATH", "PYTHON", "TZ")


@dataclass(frozen=True, slots=True)
class Later:
    """Why a message was not rendered this time: because of its template, or it had no turn."""

    reason: str | None = None


Answer: TypeAlias = bytes | RenderError | Later
"""A payload as JSON, why there is none and will be none, or to be asked for again."""


@dataclass(slots=True, eq=False)
class Work:
    """One message, or one request of a hook, to be rendered."""

    template_hash: str
    template: Any
    variables: Mapping[str, Any]
    headers: Mapping[str, str] | None = None
    """What is added to the payload's own headers."""
    mailboxes: Sequence[str] = ()
    """The fields of the template that are mailboxes."""
    escaping: Literal["message", "request"] = "message"
    document: bytes = field(init=False)
    slow: bool = field(init=False, default=False)
    """A short try was too short for it."""
    alone: bool = field(init=False, default=False)
    """It is tried by itself, in a new process, because one ended while it was rendered."""

    def __post_init__(self) -> None:
        """Write down what the process reads. Raises `RenderError` for what cannot be."""
        message = [self.template_hash, self.variables, self.headers, self.mailboxes]
        self.document = child.to_json(message)


class RenderProcess:
    """Renders in a process of its own, which is started when there is something to render.

    It has neither the environment nor the connections of this one, and ends with it. What takes too
    much processor time or memory ends in a `RenderError`; when that costs the process, another one
    renders the rest. Nobody fails for what somebody else, or the machine, has done: whoever was
    being rendered when a process ended is rendered again, alone.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._log = structlog.get_logger("dripdrop")
        self._lock = asyncio.Lock()
        self._running: _Running | None = None
        self._suspects: OrderedDict[str, None] = OrderedDict()
        self._quick: OrderedDict[str, None] = OrderedDict()

    async def render(self, works: Iterable[Work]) -> AsyncIterator[tuple[Work, Answer]]:
        """Give each work back with its answer, in any order.

        Templates that take long come last, and get a part of the time.
        """
        waiting = list(works)
        left = [seconds for seconds, _ in _TURNS]
        while turns := {self._rank(work) for work in waiting if left[self._rank(work)] > 0}:
            rank = min(turns)
            portion = self._portion(waiting, rank)
            taken = set(portion)
            waiting = [work for work in waiting if work not in taken]
            async with self._lock:
                reply = await self._ask(portion, _TURNS[rank][1], left[rank])
            left[rank] -= reply.seconds
            for work, answer in self._judged(portion, reply):
                if answer is None:
                    waiting.append(work)
                else:
                    yield work, answer
        for work in waiting:
            is_late = self._rank(work) > 1
            yield work, Later("its template takes long to render" if is_late else None)

    async def render_one(self, work: Work) -> Any:
        """Return the payload. Raises `RenderError`; `TimeoutError` when it had no turn."""
        async for _, answer in self.render([work]):
            if isinstance(answer, RenderError):
                raise answer
            if isinstance(answer, bytes):
                return orjson.loads(answer)
        raise TimeoutError

    async def aclose(self) -> None:
        """End the process."""
        async with self._lock:
            await self._end()

    def _rank(self, work: Work) -> int:
        """Return how late a work's turn is, see `_TURNS`."""
        if work.slow or work.alone:
            return 3
        if work.template_hash in self._suspects:
            return 2
        return 0 if work.template_hash in self._quick else 1

    def _portion(self, waiting: Sequence[Work], rank: int) -> list[Work]:
        """Return the first of a rank that fit into a request; one that is to be alone is."""
        portion: list[Work] = []
        size = 0
        for work in waiting:
            if self._rank(work) != rank:
                continue
            size += len(work.document)
            if portion and (size > _BYTES or work.alone or portion[0].alone):
                break
            portion.append(work)
            if len(portion) == _MESSAGES:
                break
        return portion

    def _suspect(self, work: Work) -> None:
        self._quick.pop(work.template_hash, None)
        self._suspects[work.template_hash] = None
        while len(self._suspects) > _SUSPECTS:
            self._suspects.popitem(last=False)

    def _note(self, work: Work, seconds: float) -> None:
        """Remember of a template whether it is quick: once suspected, it stays so."""
        if seconds > _SHORT + child.TICK:
            self._suspect(work)
        elif work.template_hash not in self._suspects:
            self._quick[work.template_hash] = None
            if len(self._quick) > _QUICK:
                self._quick.popitem(last=False)

    def _judged(
        self, portion: Sequence[Work], reply: _Reply
    ) -> Iterator[tuple[Work, Answer | None]]:
        """Say what became of each work; None is to be tried once more."""
        last_chance = len(portion) == 1 and portion[0].alone
        for place, work in enumerate(portion):
            kind, seconds, content = (
                reply.records[place] if place < len(reply.records) else (None, 0.0, b"")
            )
            if kind in (child.PAYLOAD, child.FAILED):
                self._note(work, seconds)
            if kind == child.PAYLOAD:
                yield work, content
                continue
            if kind == child.FAILED:
                error = RenderError(*orjson.loads(content))
                if error.code in (child.TIMEOUT, child.memory().code):
                    self._suspect(work)
                yield work, error
                continue
            if kind in (child.LATER, child.SLOW):
                self._suspect(work)
                work.slow = kind == child.SLOW
            elif kind == child.MEMORY_ERROR or place == reply.begun:
                self._suspect(work)
                if reply.status == -signal.SIGVTALRM:
                    yield work, child.timeout()
                    continue
                if last_chance:
                    yield work, _verdict(kind, reply.status)
                    continue
                work.alone = True
            yield work, None

    async def _ask(self, portion: Sequence[Work], limit: float, seconds: float) -> _Reply:
        """Have a portion rendered, as far as it goes in so many seconds."""
        if portion[0].alone:
            await self._end()
        start = 0.0 if self._running else _START
        try:
            self._running = self._running or await self._started()
            reply = await self._running.ask(portion, limit, seconds)
        except OSError as error:  # no memory, no process, no file
            self._log.error("render_process_not_started", error=type(error).__name__)
            return _Reply(seconds=seconds)
        except BaseException:
            await self._end()  # its answer would be taken for the next one's
            raise
        reply.seconds += start
        if reply.status is not None:
            await self._end()
            if not reply.memory_error:
                reply.seconds += 1 + child.SECONDS
                self._log.warning("render_process_ended", status=reply.status)
        return reply

    async def _started(self) -> _Running:
        """Start a process. Who gives up meanwhile waits until it has started, and ends it: asyncio
        may wait for ever for the end of a process that it was kept from starting.
        """
        starting = asyncio.ensure_future(_Running.start())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await (await starting).end()
            raise

    async def _end(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            await running.end()


@dataclass(slots=True)
class _Reply:
    """The records that came, in the order of the request, and what ended the process if it did."""

    records: list[tuple[bytes, float, bytes]] = field(default_factory=list)
    seconds: float = 0.0
    status: int | None = None
    begun: int | None = None
    """Which work was being rendered when the process ended."""

    @property
    def memory_error(self) -> bool:
        """Whether it ended by itself, after a lack of memory."""
        return bool(self.records) and self.records[-1][0] == child.MEMORY_ERROR


class _Running:
    """A process that was started."""

    def __init__(self, process: asyncio.subprocess.Process, progress: child.Progress) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._progress = progress

    @classmethod
    async def start(cls) -> _Running:
        environment = {
            name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)
        }
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with _page() as page:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", child.__name__, str(page.fileno())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_BYTES,
                pass_fds=[page.fileno()],
                env=environment,
                start_new_session=True,  # no Ctrl-C: it ends when its work is done
            )
            return cls(process, child.Progress(page.fileno()))

    async def ask(self, portion: Sequence[Work], limit: float, seconds: float) -> _Reply:
        """Send a request and read its answer."""
        reply = _Reply()
        self._progress.begin(-1)
        try:
            self._send(portion, limit, seconds)
            while True:
                size = child.LENGTH.unpack(await self._read(child.LENGTH.size))[0]
                if not _take(reply, await self._read(size)):
                    return reply
        except (EOFError, ConnectionError):
            await self.end()
            reply.status = self._process.returncode
            if self._progress.begun >= len(reply.records):
                reply.begun = self._progress.begun
            return reply

    async def end(self) -> None:
        """End the process and wait for its end. More than once is as good as once.

        Not by `Process.kill()`, which looks whether it has ended, and then nobody learns how.
        """
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def _send(self, portion: Sequence[Work], limit: float, seconds: float) -> None:
        templates = {work.template_hash: work.template for work in portion if work.template}
        request = orjson.dumps(
            {
                "escaping": portion[0].escaping,
                "limit": limit,
                "seconds": seconds,
                "templates": templates,
                "messages": [orjson.Fragment(work.document) for work in portion],
            }
        )
        self._requests.write(child.LENGTH.pack(len(request)) + request)

    async def _read(self, size: int) -> bytes:
        """Read so many bytes, however long it takes, as long as messages begin.

        Raises `EOFError` when there are no more: at their end, or at the end of patience.
        """
        reading = asyncio.ensure_future(self._answers.readexactly(size))
        while True:
            begun = self._progress.begun
            done, _ = await asyncio.wait([reading], timeout=_PATIENCE)
            if done:
                return reading.result()
            if self._progress.begun == begun:
                reading.cancel()
                raise EOFError("nothing begins any more")


def _page() -> BinaryIO:
    """Return a file that parent and child can map: of memory, where the system has such."""
    if sys.platform == "linux":
        page: BinaryIO = os.fdopen(os.memfd_create("dripdrop"), "r+b")
    else:
        page = tempfile.TemporaryFile()  # noqa: SIM115
    page.truncate(child.Progress.SIZE)
    return page


def _take(reply: _Reply, content: bytes) -> bool:
    """Add records to a reply; return whether there are more to come."""
    place = 0
    while place < len(content):
        kind, seconds, size = child.RECORD.unpack_from(content, place)
        if kind == child.END:
            return False
        place += child.RECORD.size
        reply.records.append((kind, seconds, content[place : place + size]))
        reply.seconds += seconds
        place += size
    return True


def _verdict(kind: bytes | None, status: int | None) -> Answer:
    """Say what becomes of a message that ended a process in which it was alone."""
    if kind == child.MEMORY_ERROR:
        return child.memory()
    if status == -signal.SIGKILL:  # by us, whose patience ended, or by the system
        return Later("the process that rendered it was killed")
    return RenderError("render_crashed", f"the process that rendered it ended with {status}")
