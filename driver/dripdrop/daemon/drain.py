"""The end of what a stage has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Collection


async def drain(tasks: Collection[asyncio.Task[None]], grace: float) -> None:
    """Wait for the tasks; cancel those that go on after `grace` seconds."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
