"""Call the hooks that decisions wait for."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import QueryCanceled

from dripdrop.daemon.drain import drain
from dripdrop.hooks import HookCaller

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker

FUNCTIONS = 2
"""SQL functions being called at a time; each takes a connection."""


class Hooks:
    """Takes from `dripdrop.claim_hooks()` and hands to `dripdrop.complete_hooks()`, in batches.

    At most `hooks_in_flight` executions are claimed and not yet handed in, so that no slow endpoint
    holds up the others. What a worker that dies had claimed is called again after five minutes.
    """

    name = "hooks"
    feeds: tuple[str, ...] = ("tick",)

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.interval = worker.settings.interval
        self._caller = HookCaller(worker.settings.channels, worker.vault, worker.rendering)
        self._functions = asyncio.Semaphore(FUNCTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: list[dict[str, Any]] = []

    @property
    def over(self) -> bool:
        """When everything that was claimed is handed in, or given up."""
        return self.worker.stopping.is_set() and not self.in_flight

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
        batch = self._done[: self.worker.settings.batch_size]
        if not batch:
            return False
        async with self.worker.database() as database:
            await database.complete_hooks(batch)
        del self._done[: len(batch)]
        return True

    async def _begin(self) -> bool:
        settings = self.worker.settings
        free = min(settings.hooks_in_flight - self.in_flight, settings.batch_size)
        if free <= 0 or self.worker.stopping.is_set():
            return False
        async with self.worker.database() as database:
            claims = await database.claim_hooks(free)
        claims.sort(key=lambda claim: claim.message_id)
        for _, group in groupby(claims, key=lambda claim: claim.message_id):
            task = asyncio.create_task(self._fetch(list(group)))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return bool(claims)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.worker.wake(self.name)

    async def _fetch(self, claims: list[Any]) -> None:
        """Call all hooks of one execution and keep the answers until they are handed in.

        When the database goes away meanwhile, the claim is left to run out.
        """
        try:
            answers = await asyncio.gather(*(self._answer(claim) for claim in claims))
        except psycopg.Error as error:
            self.worker.log.warning(
                "hooks_given_up",
                execution=str(claims[0].execution_id),
                error=type(error).__name__,
            )
            return
        self._done.append(
            {
                "execution": str(claims[0].execution_id),
                "fence": claims[0].fence,
                "message": claims[0].message_id,
                "values": {
                    claim.key: answer for claim, answer in zip(claims, answers, strict=True)
                },
            }
        )

    async def _answer(self, claim: Any) -> dict[str, Any]:
        """Return the answer of one hook. The log says what failed, and no value."""
        sqlstate = None
        try:
            if claim.kind == "sql":
                answer, sqlstate = await self._call_function(claim)
            else:
                answer = await self._caller.call(claim.hook, claim.variables)
        except psycopg.Error:
            raise
        except Exception as error:
            self.worker.log.error("hook_failed", key=claim.key, error=type(error).__name__)
            answer = {"error": "hook_exception"}
        if "error" in answer:
            self.worker.log.warning(
                "hook_failed",
                execution=str(claim.execution_id),
                key=claim.key,
                code=answer["error"],
                **({"sqlstate": sqlstate} if sqlstate else {}),
            )
        return answer

    async def _call_function(self, claim: Any) -> tuple[dict[str, Any], str | None]:
        """Call a SQL function under its own timeout; return the answer and its SQLSTATE.

        Nothing of the call is kept but the answer, which is handed in by another transaction.
        """
        seconds = claim.hook["timeout_ms"] / 1000 + 5
        async with self._functions, self.worker.database(seconds) as database:
            connection = database.connection
            try:
                async with connection.transaction(force_rollback=True):
                    await connection.execute(
                        "select set_config('statement_timeout', %s, true)",
                        [f"{claim.hook['timeout_ms']}ms"],
                    )
                    return await database.call_hook(claim.execution_id, claim.key), None
            except QueryCanceled as error:
                return {"error": "hook_timeout"}, error.sqlstate
            except psycopg.Error as error:
                if connection.broken:
                    raise
                return {"error": "hook_exception"}, error.sqlstate
