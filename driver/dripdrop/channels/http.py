"""Channels whose provider is reached over HTTP: what a reply means to a send."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from dripdrop.channels.base import Adapter, ChannelSettings, Message, Outcome, TooLate
from dripdrop.channels.window import MOST, Window
from dripdrop.outgoing.http import GuardedHTTP, NoReply, Reply, Request
from dripdrop.outgoing.reach import Unsendable

_TOO_MANY = {429, 503}


class HTTPChannel(ABC):
    """A provider reached by one HTTP request per message.

    A provider says how a message becomes a request, and how a reply becomes an outcome where the
    status does not tell enough.
    """

    required_credentials: ClassVar[tuple[str, ...]] = ()

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Prepare the connection pool, which opens with the first message."""
        self.adapter = adapter
        self.settings = settings
        self._most = adapter.count("max_in_flight", MOST)
        set_by_hand = adapter.option("max_in_flight") not in (None, "")
        self._window = Window(self._most, self._most) if set_by_hand else Window()
        self._has_server = True
        self._here = 0
        self._elsewhere = 0
        self._http = GuardedHTTP(settings)

    @property
    def places(self) -> int:
        """How many requests may be under way: one until there is a reply, then as many as the
        server takes, see `Window`, or `max_in_flight`. One that says nothing gets one.

        What is under way to a message's own URL leaves these places free: its host is not the
        sender's server, and who gets a place there is for the database to say.
        """
        return min(self._window.limit + self._elsewhere, self._most)

    @abstractmethod
    def request(self, message: Message) -> Request:
        """Return the request for a message, or raise `Unsendable`."""

    def stage(self, message: Message) -> str:
        """Return ``request``, or ``endpoint`` where the URL is the message's own."""
        return "request"

    def guarded_request(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> Request:
        """Return a request whose URL and headers have been checked, or raise `Unsendable`."""
        return self._http.request(method, url, headers, content, self.settings.timeout)

    def outcome(self, message: Message, reply: Reply) -> Outcome:
        """Return what a reply says by its status: 2xx is sent, any other is a refusal."""
        after = reply.retry_after(message.sent_at)
        return Outcome(
            "sent" if 200 <= reply.status < 300 else "refused",
            reply.code,
            "" if after is None else f"Retry-After: {after:g}",
            retry_after=after,
            stage=self.stage(message),
            response={"status": reply.status},
        )

    async def send(self, message: Message) -> Outcome:
        """Send one message."""
        try:
            request = self.request(message)
        except Unsendable as error:
            return self._unsendable(message, Outcome("failed", error.code, error.detail))
        except (ValueError, LookupError, TypeError) as error:
            return Outcome("failed", "invalid_message", type(error).__name__)
        elsewhere = self._has_server and self.stage(message) == "endpoint"
        self._elsewhere += elsewhere
        self._here += not elsewhere
        self._window.begun(self._here)
        try:
            await message.handover.turn()
            reply = await self._http.exchange(
                request, self.settings.timeout, message.handover.begin
            )
        except TooLate:
            return Outcome("released", "too_late")
        except NoReply as error:
            return self._lost(message, error, elsewhere)
        finally:
            self._elsewhere -= elsewhere
            self._here -= not elsewhere
        if not elsewhere:
            self._answered(message, reply)
        return self.outcome(message, reply)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _answered(self, message: Message, reply: Reply) -> None:
        now = asyncio.get_running_loop().time()
        if reply.status in _TOO_MANY:
            self._window.too_many(now)
        elif message.handover.left_at is not None:
            self._window.answered(now - message.handover.left_at, now)

    def _lost(self, message: Message, error: NoReply, elsewhere: bool) -> Outcome:
        if self._has_server and not elsewhere:
            self._window.lost()
        outcome = Outcome("unreachable", error.code, self.adapter.redact(error.detail))
        if message.handover.begun:
            return replace(outcome, kind="maybe_sent")
        return self._unsendable(message, outcome)

    def _unsendable(self, message: Message, outcome: Outcome) -> Outcome:
        """Hold a URL that will not do against whoever gave it."""
        if outcome.code != "url_refused":
            return outcome
        own = self.stage(message) != "endpoint"
        return replace(outcome, kind="auth_error" if own else "failed")
