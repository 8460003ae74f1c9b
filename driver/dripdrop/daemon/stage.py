"""A part of the pipeline that is repeated, and the end of what it has begun."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

from dripdrop.daemon.desk import Desk


class Stage(ABC):
    """A part of the pipeline that is repeated."""

    name: ClassVar[str]
    feeds: ClassVar[tuple[str, ...]] = ()
    """The stages that may have something to do once this one had."""

    def __init__(self, desk: Desk) -> None:
        """Work at a desk."""
        self.desk = desk
        self.interval = desk.settings.interval
        """How many seconds it waits when it found nothing to do."""

    @abstractmethod
    async def step(self) -> bool:
        """Do one batch, and say whether there was anything to do."""

    @property
    def over(self) -> bool:
        """Whether the stage has come to its end: at once when the worker stops."""
        return self.desk.stopping.is_set()


async def drain(tasks: Collection[asyncio.Task[None]], grace: float) -> None:
    """Wait for the tasks; cancel those that go on after `grace` seconds."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
