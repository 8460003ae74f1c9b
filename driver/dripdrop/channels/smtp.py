"""E-mail over SMTP (RFC 5321), with STARTTLS (RFC 3207), TLS (RFC 8314) or neither."""

from __future__ import annotations

import re
from typing import ClassVar

from dripdrop.channels.base import Adapter, ChannelSettings, Message, Outcome, TooLate
from dripdrop.channels.mime import Email
from dripdrop.channels.smtp_pool import Busy, Pool
from dripdrop.channels.smtp_session import Account, Away, Refused, Session
from dripdrop.outgoing.reach import Unsendable

_CONNECTIONS = 8
_LATER = re.compile(r"again|retry|wait|later|come back|gr[ae]y|defer", re.IGNORECASE)
_CLOCK = re.compile(r"\b(\d{1,2}):(\d{2}):(\d{2})\b")
_PERIOD = re.compile(
    r"\b(?:in|after|for|wait|within|least|about|by)\s+(\d{1,5})\s*"
    r"(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?)\b",
    re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class SMTPChannel:
    """An SMTP account: `host` and `from`, and as needed `port`, `security`, `username`, `password`.

    `security` is ``starttls`` (required, the default), ``tls`` or ``none``; the port follows from
    it unless given. A login leaves without TLS only where `allow_plain` is true. `helo` is the name
    that EHLO says, `connections` how many there may be. Fields may stand in the credentials or in
    the config; credentials win.
    """

    required_credentials: ClassVar[tuple[str, ...]] = ("host",)

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Prepare without connecting. Raises `InvalidAdapter`."""
        self._adapter = adapter
        self._account = Account.read(adapter, settings)
        in_flight = adapter.count("max_in_flight", _CONNECTIONS)
        connections = adapter.count("connections", in_flight)
        self._pool = Pool(self._account.open, connections)
        self._in_flight = adapter.count("max_in_flight", connections)

    @property
    def places(self) -> int:
        """How many connections the server seems to allow, and `max_in_flight` at most."""
        return min(self._pool.places, self._in_flight)

    async def send(self, message: Message) -> Outcome:
        """Send one e-mail."""
        if nobody := Email.without_sender(message, self._adapter.option("from")):
            return nobody
        try:
            email = Email.read(message, self._adapter.option("from"))
            content = email.as_bytes()
        except Unsendable as error:
            return Outcome("failed", error.code, error.detail)
        except (ValueError, LookupError, TypeError) as error:
            return Outcome("failed", "invalid_message", self._adapter.redact(type(error).__name__))
        try:
            session = await self._pool.take(message)
            try:
                return await self._deliver(session, message, email, content)
            except _Stale:
                session = await self._pool.take(message, fresh=True)
                return await self._deliver(session, message, email, content)
        except TooLate:
            return Outcome("released", "too_late")
        except Busy as error:
            return Outcome("released", error.code)
        except Refused as error:
            return self._refused(error)
        except Away as error:
            detail = self._adapter.redact(error.detail)
            return Outcome(error.kind, error.code, detail, stage=error.stage or "")

    async def aclose(self) -> None:
        """Say goodbye on the connections that are not sending."""
        await self._pool.aclose()

    async def _deliver(
        self, session: Session, message: Message, email: Email, content: bytes
    ) -> Outcome:
        """Run one mail transaction (RFC 5321 section 3.3), and give the connection back."""
        usable = False
        try:
            outcome = await self._transfer(session, message, email, content)
            usable = outcome.kind != "maybe_sent"
            return outcome
        except TooLate:
            usable = session.stage != "content"
            raise
        except Refused as error:
            usable = error.code != 421
            if session.reused and not usable and not message.handover.begun:
                raise _Stale from None
            if Email.has_own_sender(message, self._adapter.option("from")):
                raise Refused(f"{error.stage}.author", error.code, error.text) from None
            raise
        except Away as error:
            if session.reused and not message.handover.begun:
                raise _Stale from None
            error.stage = session.stage
            raise
        finally:
            self._pool.give_back(session, usable)

    async def _transfer(
        self, session: Session, message: Message, email: Email, content: bytes
    ) -> Outcome:
        message.handover.check()
        await session.announce(email.sender.addr_spec, email.recipient)
        await message.handover.turn()
        session.check()
        message.handover.begin()
        try:
            reply = await session.content(content)
        except Away as error:
            return self._lost(email, error.detail)
        if reply.code // 100 not in {2, 4, 5}:
            return self._lost(email, f"no reply to a content: {reply.code} {reply.message}")
        if reply.code >= 400:
            raise Refused("content", reply.code, reply.message)
        return Outcome(
            "sent",
            f"smtp_{reply.code}",
            provider_message_id=email.message_id,
            out_message_id=email.message_id,
            response={"code": reply.code, "text": self._adapter.redact(reply.message)},
        )

    def _lost(self, email: Email, detail: str) -> Outcome:
        detail = self._adapter.redact(detail)
        return Outcome("maybe_sent", "reply_lost", detail, out_message_id=email.message_id)

    def _refused(self, error: Refused) -> Outcome:
        return Outcome(
            "refused",
            f"smtp_{error.code}",
            self._adapter.redact(error.text),
            retry_after=_asked_for(error.text) if error.code < 500 else None,
            stage=error.stage,
            response={"code": error.code, "stage": error.stage.partition(".")[0]},
        )


class _Stale(Exception):
    """A connection that had been used before turned out to be lost before any content."""


def _asked_for(text: str) -> float | None:
    """Return the seconds after which a server says to come again, at most a day; else None."""
    if not _LATER.search(text):
        return None
    seconds = None
    if clock := _CLOCK.search(text):
        hours, minutes, rest = map(int, clock.groups())
        seconds = hours * 3600 + minutes * 60 + rest
    elif period := _PERIOD.search(text):
        seconds = int(period[1]) * _SECONDS[period[2][0].lower()]
    return float(min(seconds, 86400)) if seconds else None
