"""Call the hooks that decisions wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import psycopg
from psycopg.errors import QueryCanceled

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.halve import halved, is_a_rows, is_nobodys
from dripdrop.daemon.reading import CODE, unreadable
from dripdrop.daemon.stage import Stage, drain
from dripdrop.hooks import HookCaller
from dripdrop.templates.process import RenderProcess

FUNCTIONS = 8
"""Executions whose SQL functions are being called at a time; each takes a connection."""

_PORTION = 4 * 1024 * 1024  # characters of answers that are handed in at once
_OVERTIME = 1.0  # seconds that a function may take to end once it has been cancelled
_DEADLINE = 5.0  # seconds that its call may take beyond its own timeout, whatever happens


class Hooks(Stage):
    """Takes from `dripdrop.claim_hooks()` and hands to `dripdrop.complete_hooks()`, in batches.

    It claims what it can call at once: a hook has its own places, so that no slow endpoint or
    function holds up the others. What a worker that dies had claimed is called again after five
    minutes.
    """

    name = "hooks"
    feeds = ("tick",)

    def __init__(self, desk: Desk, rendering: RenderProcess) -> None:
        """Render requests in a process, which stays the caller's."""
        super().__init__(desk)
        self._caller = HookCaller(desk.settings.channels, desk.vault, rendering)
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        self._asking_functions = 0
        self._done: list[dict[str, Any]] = []

    @property
    def over(self) -> bool:
        """When everything that was claimed is handed in, or given up."""
        return super().over and not self.in_flight

    @property
    def in_flight(self) -> int:
        """How many executions are claimed and not yet handed in."""
        return len(self._tasks) + len(self._done)

    async def step(self) -> bool:
        """Hand in what has been answered, and call what fits."""
        handed_in = await self._hand_in()
        begun = await self._begin()
        return handed_in or begun

    async def drain(self, grace: float) -> None:
        """Wait for the calls; after `grace` seconds give them up."""
        await drain(self._tasks, grace)

    async def aclose(self) -> None:
        """Give up what is being called, and close the connections."""
        await self.drain(0)
        await self._caller.aclose()

    async def _hand_in(self) -> bool:
        batch = self._portion()
        if not batch:
            return False
        await halved(batch, self._complete, self._refused)
        del self._done[: len(batch)]
        return True

    def _portion(self) -> list[dict[str, Any]]:
        """Return the first answers, as many as the database takes at once."""
        size = 0
        batch: list[dict[str, Any]] = []
        for result in self._done[: self.desk.settings.batch_size]:
            size += sum(len(answer.get("response", "")) for answer in result["values"].values())
            if batch and size > _PORTION:
                break
            batch.append(result)
        return batch

    async def _complete(self, results: Sequence[dict[str, Any]]) -> None:
        async with self.desk.database() as database:
            await database.complete_hooks(results)

    async def _refused(self, result: dict[str, Any], error: psycopg.Error) -> None:
        """Answer with an error where the database refuses the answers; else hold the message.

        A claim of goals and exit rules is left to run out.
        """
        self.desk.log.error("hook_refused", **_asker(result), sqlstate=error.sqlstate)
        values = {key: {"error": "hook_unusable"} for key in result["values"]}
        try:
            await self._complete([result | {"values": values}])
        except psycopg.Error as again:
            if not is_a_rows(again):
                raise
            if "execution" in result:
                await self._hold(result, again)

    async def _hold(self, result: dict[str, Any], error: psycopg.Error) -> None:
        """Leave a message out of the claims for a while; `explain()` says why."""
        try:
            async with self.desk.database() as database:
                await database.note_fault(
                    result["execution"],
                    self.name,
                    str(error.sqlstate),
                    str(error.diag.message_primary),
                )
        except psycopg.Error as again:
            if is_nobodys(again):
                raise
            self.desk.log.error("not_held", **_asker(result), sqlstate=again.sqlstate)

    async def _begin(self) -> bool:
        settings = self.desk.settings
        free = min(settings.hooks_in_flight - self.in_flight, settings.batch_size)
        if free <= 0 or self.desk.stopping.is_set():
            return False
        async with self.desk.database() as database:
            claims = await database.claim_hooks(
                free, busy=dict(self._busy), functions=FUNCTIONS - self._asking_functions
            )
        for _, group in groupby(claims, key=lambda claim: (claim.message_id, claim.enrollment_id)):
            self._call(list(group))
        return bool(claims)

    def _call(self, claims: list[Any]) -> None:
        """Begin to call all hooks of one execution or enrolment; count them until they are over."""
        hooks = [claim.hook["id"] for claim in claims]
        asks_functions = any(claim.kind == "sql" for claim in claims)
        self._busy.update(hooks)
        self._asking_functions += asks_functions

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._busy.subtract(hooks)
            self._busy = +self._busy
            self._asking_functions -= asks_functions
            self.desk.wake(self.name)

        task = asyncio.create_task(self._fetch(claims))
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _fetch(self, claims: list[Any]) -> None:
        """Call all hooks of one execution and keep the answers until they are handed in.

        When the database goes away meanwhile, the claim is left to run out.
        """
        first = claims[0]
        if first.execution_id is None:
            result = {"enrollment": str(first.enrollment_id), "ask_at": first.ask_at.isoformat()}
        else:
            result = {
                "execution": str(first.execution_id),
                "fence": first.fence,
                "message": first.message_id,
            }
        try:
            result["values"] = await self._answers(claims)
        except psycopg.Error as error:
            self.desk.log.warning("hooks_given_up", **_asker(result), error=type(error).__name__)
            return
        self._done.append(result)

    async def _answers(self, claims: list[Any]) -> dict[str, dict[str, Any]]:
        """Return the answers by key: functions are called one after the other."""

        async def functions() -> list[tuple[str, dict[str, Any]]]:
            return [
                (claim.key, await self._answer(claim)) for claim in claims if claim.kind == "sql"
            ]

        async def endpoint(claim: Any) -> tuple[str, dict[str, Any]]:
            return claim.key, await self._answer(claim)

        endpoints = [endpoint(claim) for claim in claims if claim.kind == "http"]
        called, *answered = await asyncio.gather(functions(), *endpoints)
        return dict([*called, *answered])

    async def _answer(self, claim: Any) -> dict[str, Any]:
        """Return the answer of one hook. The log says what failed, and no value."""
        sqlstate = None
        try:
            if unreadable(claim) is not None:
                answer = {"error": CODE}
            elif claim.kind == "sql":
                answer, sqlstate = await self._call_function(claim)
            else:
                answer = await self._caller.call(claim.hook, claim.variables)
        except psycopg.Error:
            raise
        except Exception as error:
            self.desk.log.error("hook_failed", key=claim.key, error=type(error).__name__)
            answer = {"error": "hook_exception"}
        if "error" in answer:
            self.desk.log.warning(
                "hook_failed",
                **_asker({"execution": claim.execution_id, "enrollment": claim.enrollment_id}),
                key=claim.key,
                code=answer["error"],
                **({"sqlstate": sqlstate} if sqlstate else {}),
            )
        return answer

    async def _call_function(self, claim: Any) -> tuple[dict[str, Any], str | None]:
        """Call a SQL function under its own timeout; return the answer and its SQLSTATE.

        Its transaction is rolled back: the answer is handed in by another one. A function can catch
        its cancellation; then its session is ended. It may raise any SQLSTATE: only a connection
        that is lost is one.
        """
        seconds = claim.hook["timeout_ms"] / 1000
        late = asyncio.Event()
        sqlstate = None
        try:
            async with self.desk.database(seconds + _DEADLINE) as database:
                connection = database.connection
                cursor = await connection.execute(
                    "select pg_backend_pid(), set_config('statement_timeout', %s, true),"
                    " set_config('lock_timeout', '0', true)",
                    [f"{claim.hook['timeout_ms']}ms"],
                )
                row = await cursor.fetchone()
                assert row is not None
                end = asyncio.create_task(self._end_session(row[0], seconds + _OVERTIME, late))
                try:
                    with self.desk.unheard(connection):
                        answer = await database.call_hook(
                            claim.execution_id, claim.key, claim.enrollment_id
                        )
                except psycopg.Error as error:
                    if connection.broken:
                        raise
                    canceled = isinstance(error, QueryCanceled)
                    answer = {"error": "hook_timeout" if canceled else "hook_exception"}
                    sqlstate = error.sqlstate
                finally:
                    end.cancel()
                await connection.rollback()
        except psycopg.Error as error:
            if not late.is_set():
                raise
            return {"error": "hook_timeout"}, error.sqlstate
        return answer, sqlstate

    async def _end_session(self, pid: int, seconds: float, late: asyncio.Event) -> None:
        """End a session of ours, unless this is cancelled before."""
        await asyncio.sleep(seconds)
        late.set()
        async with self.desk.database() as database:
            await database.connection.execute("select pg_terminate_backend(%s)", [pid])


def _asker(result: dict[str, Any]) -> dict[str, str]:
    """Return who asked, for the log."""
    for who in ("execution", "enrollment"):
        if result.get(who) is not None:
            return {who: str(result[who])}
    return {}
