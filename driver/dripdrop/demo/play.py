"""The story on stage: the clock jumps to what comes next, a person's deed or a message due."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import psycopg

from dripdrop.demo import story
from dripdrop.demo.app import App
from dripdrop.demo.screen import Screen


@dataclass
class Clock:
    """The demo's time: call it, as a worker does, to know it."""

    now: datetime

    def __call__(self) -> datetime:
        """Return the time it is."""
        return self.now


class Play:
    """The story as it unfolds.

    Attributes:
        left_nothing: whether the sign-up that was rolled back did.
    """

    def __init__(self, app: App, clock: Clock, screen: Screen) -> None:
        """Put everyone's deeds in order."""
        self.left_nothing = False
        self._app = app
        self._clock = clock
        self._screen = screen
        deeds: list[tuple[datetime, Callable[[], Awaitable[None]]]] = [
            (story.PAUSED_AT, self._pause),
            (story.RESUMED_AT, self._resume),
            (story.UNSUBSCRIBED_AT, self._unsubscribe),
        ]
        for place, name in enumerate(story.PEOPLE):
            deed = self._sign_up_in_vain if name == story.DECLINED else self._sign_up
            deeds.append((story.START + place * story.BETWEEN_SIGN_UPS, partial(deed, name)))
        self._deeds = deque(sorted(deeds, key=lambda each: each[0]))

    async def go_on(self) -> bool:
        """Jump to the next moment and do what is done then; False when nothing is to come."""
        cursor = await self._app.connection.execute(
            "select min(due_at) as at from dripdrop.step_executions"
        )
        due = [row.at for row in await cursor.fetchall() if row.at]
        moment = min(due + [at for at, _ in self._deeds], default=None)
        if moment is None or moment <= self._clock.now:
            return False
        await self.set_clock(moment)
        while self._deeds and self._deeds[0][0] <= moment:
            _, deed = self._deeds.popleft()
            await deed()
        return True

    async def set_clock(self, now: datetime) -> None:
        """Make it `now` for the worker and for the application's connection."""
        self._clock.now = now
        await self._app.connection.execute(
            "select set_config('dripdrop.now', %s, false)", [now.isoformat()]
        )

    async def _sign_up(self, name: str) -> None:
        await self._app.sign_up(name)
        self._say(f"{name} signs up")

    async def _sign_up_in_vain(self, name: str) -> None:
        before = await self._app.counts()
        async with self._app.connection.transaction():
            await self._app.sign_up(name)
            within = await self._app.counts()
            raise psycopg.Rollback
        after = await self._app.counts()
        self.left_nothing = after == before and all(
            new == old + 1 for new, old in zip(within, before, strict=True)
        )
        self._say(f"{name} signs up, the card is declined: rolled back")
        for moment, counts in (("before", before), ("within", within), ("after", after)):
            self._screen.say(
                f"    {moment:6}  {counts.users} users, {counts.enrolments} enrolments,"
                f" {counts.messages} messages"
            )

    async def _pause(self) -> None:
        await self._app.pause(story.PAUSING)
        self._say(f"{story.PAUSING} pauses")

    async def _resume(self) -> None:
        await self._app.resume(story.PAUSING)
        self._say(f"{story.PAUSING} resumes")

    async def _unsubscribe(self) -> None:
        await self._app.unsubscribe(story.UNSUBSCRIBING)
        self._say(f"{story.UNSUBSCRIBING} unsubscribes")

    def _say(self, text: str) -> None:
        self._screen.say(text, self._clock.now)
