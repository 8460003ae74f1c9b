"""One sender of a worker: an adapter and its channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from uuid import UUID

from dripdrop.channels import (
    Adapter,
    Channel,
    ChannelSettings,
    InvalidAdapter,
    Message,
    NotServed,
    Outcome,
    check_served,
)
from dripdrop.daemon.desk import Desk
from dripdrop.daemon.reading import Unreadable
from dripdrop.vault import VaultError, from_text

OpenChannel: TypeAlias = Callable[[Adapter, ChannelSettings], Channel]
"""What makes the channel of an adapter, and connects to nothing yet."""


class Sender:
    """An adapter, its channel, and how many messages it has in hand."""

    def __init__(
        self,
        desk: Desk,
        row: Mapping[str, Any] | Unreadable,
        open_channel: OpenChannel,
        settings: ChannelSettings,
    ) -> None:
        """Open the channel of an adapter's row; one that cannot be opened sends nothing.

        What others send for gets no place here, and what was claimed of it is given back.
        """
        self.row = row
        self.channel_name = "" if isinstance(row, Unreadable) else row["channel"]
        self._desk = desk
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._channel: Channel | None = None
        self._unusable = Outcome("auth_error", "invalid_adapter")
        self._is_served = True
        try:
            self._channel = open_channel(self._adapter(), settings)
        except NotServed as error:
            self._is_served = False
            self._unusable = Outcome("released", "not_served", str(error))
            desk.log.warning(
                "not_served",
                adapter=None if isinstance(row, Unreadable) else row["name"],
                detail=str(error),
                hint="What sends for this provider takes its messages; this daemon leaves them.",
            )
        except (InvalidAdapter, VaultError) as error:
            code = "vault_error" if isinstance(error, VaultError) else "invalid_adapter"
            name = None if isinstance(row, Unreadable) else row["name"]
            desk.log.error(code, adapter=name, detail=str(error))
            self._unusable = Outcome("auth_error", code, str(error))

    @property
    def free(self) -> int:
        """How many more messages it can be handed."""
        return max(self._places - self._busy, 0)

    @property
    def is_idle(self) -> bool:
        """Whether half of its places or more are free."""
        return self._busy * 2 <= self._places

    @property
    def _places(self) -> int:
        if not self._is_served:
            return 0
        most = self._desk.settings.in_flight_per_adapter
        places = 1 if self._channel is None else self._channel.places
        return min(places, most or places)

    def take(self) -> None:
        """Take a place."""
        self._busy += 1
        self._idle.clear()

    def give_back(self) -> None:
        """Give a place back."""
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def send(self, message: Message) -> Outcome:
        """Hand a message over."""
        return self._unusable if self._channel is None else await self._channel.send(message)

    async def aclose(self, *, wait: bool = True) -> None:
        """Close the channel, once nothing is being sent through it."""
        if wait:
            await self._idle.wait()
        if self._channel is not None:
            with suppress(Exception):
                await self._channel.aclose()

    def _adapter(self) -> Adapter:
        row = self.row
        if isinstance(row, Unreadable):
            raise InvalidAdapter(f"the adapter cannot be read: {row.reason}")
        check_served(row["channel"], row["provider"])
        sealed = row["credentials"]
        return Adapter(
            id=UUID(row["id"]),
            tenant_key=row["tenant_key"],
            name=row["name"],
            channel=row["channel"],
            provider=row["provider"],
            config=row["config"],
            credentials=self._desk.vault().open(
                from_text(sealed), row["tenant_key"], row["name"], "adapter"
            )
            if sealed
            else {},
        )
