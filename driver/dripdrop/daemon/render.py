"""Render what was decided."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import orjson
import psycopg

from dripdrop.daemon.desk import Desk
from dripdrop.daemon.halve import halved, is_a_rows, is_nobodys
from dripdrop.daemon.reading import CODE, Unreadable, unreadable
from dripdrop.daemon.stage import Stage
from dripdrop.templates import RenderError
from dripdrop.templates.child import to_json
from dripdrop.templates.process import RenderProcess, Work
from dripdrop.unsubscribe import Link, Tokens, link_of
from dripdrop.vault import VaultError

_PORTION = 8 * 1024 * 1024  # bytes of payloads that are handed in at once

_AT_ONCE = 1.0  # seconds for which what is rendered waits for the rest of its batch

_PATIENCE = 0.5  # seconds that a tick waits for the batch before to be begun

_HELD = "XX000"  # no SQLSTATE says it
_NOT_STORABLE = ("22", "54")  # data exceptions, and limits of the database

Result = dict[str, Any]
"""What `dripdrop.complete_renders()` takes of one message."""

HandIn: TypeAlias = Callable[[str, Sequence[Result]], Awaitable[None]]
"""What takes the rendered messages of a channel."""


class Render(Stage):
    """Takes what a tick has leased, or from `dripdrop.claim_renders()`, and hands it in.

    The rendering itself is done by the worker's render process. No message ends the stage: what
    cannot be rendered or stored fails by itself, and what has to wait is claimed again.

    It is over at once: what is claimed and not completed is seen by others in a minute.
    """

    name = "render"
    feeds = ("send",)

    def __init__(self, desk: Desk, rendering: RenderProcess, hand_in: HandIn) -> None:
        """Render in a process, which stays the caller's."""
        super().__init__(desk)
        self._rendering = rendering
        self._hand_in_of = hand_in
        self._leased: list[Any] = []
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tokens: Tokens | None = None
        self._key_is_missing = False

    async def has_room(self) -> bool:
        """Whether another batch can be taken; wait a little for it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_room.wait(), _PATIENCE)
        return self._has_room.is_set()

    def take(self, claims: Sequence[Any]) -> None:
        """Take a batch that is leased to this worker, to be rendered next."""
        if claims:
            self._leased.extend(claims)
            self._has_room.clear()

    async def step(self) -> bool:
        """Render one batch, and hand it in, in portions that the database can take.

        What is in the queue has waited longer than what was just decided.
        """
        async with self.desk.database() as database:
            claims = await database.claim_renders(self.desk.settings.batch_size)
        leased = not claims
        if leased:
            claims, self._leased = self._leased, []
            self._has_room.set()
        try:
            late = [
                claim
                for channel in sorted({claim.channel for claim in claims})
                for claim in await self._render(
                    channel, [claim for claim in claims if claim.channel == channel]
                )
            ]
        except psycopg.Error as error:
            if leased and is_nobodys(error):  # what was handed in all the same is not taken twice
                self._leased = [*claims, *self._leased]
                self._has_room.clear()
            raise
        self.take(late)
        return len(late) < len(claims)

    async def _render(self, channel: str, claims: Sequence[Any]) -> list[Any]:
        """Render what goes over a channel; return what had no turn."""
        hand_in = partial(self._hand_in, channel)
        results: list[Result] = []
        late = set()
        since = time.monotonic()
        size = 0
        works: dict[Work, Result] = {}
        for result, work in self._prepared(claims):
            if isinstance(work, RenderError):
                results.append(self._failed(result, work))
            elif isinstance(work, VaultError):
                self._tell_of_the_key(work)
                await self._hold(result, _HELD, f"vault_error: {work}")
            else:
                works[work] = result
        async for work, answer in self._rendering.render(works):
            result = works[work]
            if isinstance(answer, bytes):
                results.append(result | {"payload": orjson.Fragment(answer)})
                size += len(answer)
            elif isinstance(answer, RenderError):
                results.append(self._failed(result, answer))
            elif answer.reason is not None:
                await self._hold(result, _HELD, answer.reason)
            else:
                late.add(result["execution"])
            if size > _PORTION or time.monotonic() > since + _AT_ONCE:
                await hand_in(results)
                results, size, since = [], 0, time.monotonic()
        await hand_in(results)
        templates = {claim.template_hash: claim.template for claim in claims if claim.template}
        return [
            claim._replace(template=templates[claim.template_hash])
            for claim in claims
            if str(claim.execution_id) in late
        ]

    def _prepared(
        self, claims: Iterable[Any]
    ) -> Iterator[tuple[Result, Work | RenderError | VaultError]]:
        """Give each claim its result so far, and what is to be rendered or why nothing is.

        What needs a link that cannot be made for want of a key has to wait: nothing leaves without
        its link, and the key is nobody's fault who is written to.
        """
        templates = {
            claim.template_hash: _template(claim.template)
            for claim in claims
            if claim.template is not None
        }
        for claim in claims:
            result = {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
            }
            try:
                yield result, self._work(claim, templates[claim.template_hash])
            except (RenderError, VaultError) as error:
                yield result, error

    def _work(self, claim: Any, template: orjson.Fragment | RenderError) -> Work:
        """Return what is to be rendered. Raises `RenderError`, and `VaultError` without a key."""
        reason = unreadable(claim)
        if reason is not None:
            raise RenderError(CODE, reason)
        if isinstance(template, RenderError):
            raise template
        variables, headers = claim.variables, None
        if claim.unsubscribe is not None:
            link = self._link(claim)
            variables = {**variables, "unsubscribe_url": link.url}
            headers = link.headers
        return Work(
            claim.template_hash, template, variables, headers, mailboxes=claim.mailboxes or ()
        )

    def _link(self, claim: Any) -> Link:
        self._tokens = self._tokens or Tokens(self.desk.vault())
        try:
            return link_of(self._tokens, claim)
        except (ValueError, OverflowError, OSError, struct.error) as error:  # a time out of range
            raise RenderError("unsubscribe_link", type(error).__name__) from None

    def _tell_of_the_key(self, error: VaultError) -> None:
        if not self._key_is_missing:
            self._key_is_missing = True
            self.desk.log.error(
                "vault_error",
                detail=str(error),
                hint="Messages with a link to unsubscribe wait until the worker has its key.",
            )

    def _failed(self, result: Result, error: RenderError) -> Result:
        self.desk.log.warning(
            "render_failed", execution=result["execution"], code=error.code, detail=error.detail
        )
        return result | {"code": error.code, "detail": error.detail}

    async def _hand_in(self, channel: str, results: Sequence[Result]) -> None:
        """Hand in what is rendered; where the database refuses, by the queue of the channel.

        The short way waits for limits, too, which somebody may have locked.
        """
        try:
            await self._hand_in_of(channel, results)
        except psycopg.Error as error:
            if not is_a_rows(error):
                raise
            await halved(results, self._complete, self._refused)

    async def _complete(self, results: Sequence[Result]) -> None:
        async with self.desk.database() as database:
            await database.complete_renders(results)

    async def _refused(self, result: Result, error: psycopg.Error) -> None:
        """Fail a message that cannot be stored; hold one that is refused for another reason."""
        self.desk.log.error(
            "render_refused", execution=result["execution"], sqlstate=error.sqlstate
        )
        if "payload" not in result or not str(error.sqlstate).startswith(_NOT_STORABLE):
            await self._hold(result, str(error.sqlstate), str(error.diag.message_primary))
            return
        failed = {key: value for key, value in result.items() if key != "payload"}
        detail = f"the database refuses the message ({error.sqlstate})"
        await halved(
            [failed | {"code": "not_stored", "detail": detail}], self._complete, self._refused
        )

    async def _hold(self, result: Result, sqlstate: str, reason: str) -> None:
        """Leave a message out of the claims for a while; `explain()` says why."""
        try:
            async with self.desk.database() as database:
                await database.note_fault(result["execution"], self.name, sqlstate, reason)
        except psycopg.Error as error:
            if is_nobodys(error):
                raise
            self.desk.log.error("not_held", execution=result["execution"], sqlstate=error.sqlstate)


def _template(template: Any) -> orjson.Fragment | RenderError:
    """Return a template as the process reads it, or why it cannot."""
    if isinstance(template, Unreadable):
        return RenderError(CODE, f"template: {template.reason}")
    try:
        return orjson.Fragment(to_json(template))
    except RenderError as error:
        return error
