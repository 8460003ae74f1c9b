"""Render what was decided."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from dripdrop.daemon.reading import CODE, unreadable
from dripdrop.templates import Renderer, RenderError
from dripdrop.unsubscribe import Tokens, link_of, with_headers

if TYPE_CHECKING:
    from dripdrop.daemon.worker import Worker

_TURN = 0.02  # seconds of rendering after which the other stages get theirs


class Render:
    """Takes from `dripdrop.claim_renders()` and hands to `dripdrop.complete_renders()`."""

    name = "render"
    feeds: tuple[str, ...] = ("send",)

    def __init__(self, worker: Worker) -> None:
        """Belong to a worker."""
        self.worker = worker
        self.interval = worker.settings.interval
        self._renderer = Renderer()
        self._tokens: Tokens | None = None

    @property
    def over(self) -> bool:
        """At once: what is claimed and not completed is seen by others in a minute."""
        return self.worker.stopping.is_set()

    async def step(self) -> bool:
        """Render one batch."""
        async with self.worker.database() as database:
            claims = await database.claim_renders(self.worker.settings.batch_size)
        if not claims:
            return False
        for claim in claims:
            if isinstance(claim.template, dict):
                self._renderer.learn(claim.template_hash, claim.template)
        results = []
        turn = time.monotonic()
        for claim in claims:
            results.append(self._rendered(claim))
            if time.monotonic() - turn > _TURN:
                await asyncio.sleep(0)
                turn = time.monotonic()
        async with self.worker.database() as database:
            await database.complete_renders(results)
        return True

    def _rendered(self, claim: Any) -> dict[str, Any]:
        result = {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
        }
        reason = unreadable(claim)
        if reason is not None:
            self.worker.log.warning(CODE, execution=result["execution"], detail=reason)
            return result | {"code": CODE, "detail": reason}
        link = None
        variables = claim.variables
        if claim.unsubscribe is not None:
            # Without a key this raises and ends the worker: nothing leaves that lacks its link.
            self._tokens = self._tokens or Tokens(self.worker.vault())
            link = link_of(self._tokens, claim)
            variables = {**variables, "unsubscribe_url": link.url}
        try:
            payload = self._renderer.render(claim.template_hash, claim.channel, variables)
        except RenderError as error:
            self.worker.log.warning(
                "render_failed", execution=result["execution"], code=error.code, detail=error.detail
            )
            return result | {"code": error.code, "detail": error.detail}
        return result | {"payload": payload if link is None else with_headers(payload, link)}
