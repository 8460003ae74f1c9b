"""E-mail over SMTP (RFC 5321), with STARTTLS (RFC 3207), TLS (RFC 8314) or neither."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import ClassVar, Literal

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected

from dripdrop.channels.base import (
    Adapter,
    ChannelSettings,
    InvalidAdapter,
    InvalidMessage,
    Message,
    Outcome,
    OutcomeKind,
)
from dripdrop.channels.mime import Email

_CONNECTIONS = 8
_PORTS = {"starttls": 587, "tls": 465, "none": 25}

_AUTHENTICATION_CODES = {530, 534, 535, 538}  # RFC 4954 section 6
_NO_MAILBOX_CODES = {550, 551, 553}  # RFC 5321 section 4.2.3
# RFC 3463 section 3.2 and 3.3, RFC 7505: 5.1.7 and 5.1.8 are about the sender's address.
_NO_MAILBOX = re.compile(r"5\.1\.(?!7$|8$)\d+|5\.2\.1")
_MAILBOX_FULL = "5.2.2"
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")

_Stage = Literal["session", "sender", "recipient", "content"]


class SMTPChannel:
    """An SMTP account: `host`, and as needed `port`, `security`, `username`, `password`, `from`.

    `security` is ``starttls`` (required, the default), ``tls`` or ``none``; the port follows from
    it unless given. Fields may stand in the credentials or in the config; credentials win.
    """

    required_credentials: ClassVar[tuple[str, ...]] = ("host",)

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Prepare a few reusable connections, none of them open yet."""
        self._adapter = adapter
        self._settings = settings
        self._clients: asyncio.LifoQueue[aiosmtplib.SMTP] = asyncio.LifoQueue()
        for _ in range(_CONNECTIONS):
            self._clients.put_nowait(self._client())

    async def send(self, message: Message) -> Outcome:
        """Send one e-mail."""
        try:
            email = Email.read(message, self._adapter.option("from"))
            content = email.as_bytes()
        except InvalidMessage as error:
            return error.outcome
        try:
            async with self._connection() as smtp:
                return await self._transfer(smtp, email, content)
        except SMTPResponseException as error:
            return self._refused(error.code, error.message, "session")
        except (SMTPException, OSError) as error:
            return self._unreached(error)

    async def aclose(self) -> None:
        """Say goodbye on the connections that are not sending."""
        while not self._clients.empty():
            smtp = self._clients.get_nowait()
            with contextlib.suppress(SMTPException, OSError):
                if smtp.is_connected:
                    await smtp.quit()
            smtp.close()

    def _client(self) -> aiosmtplib.SMTP:
        option = self._adapter.option
        security = option("security") or "starttls"
        try:
            port = int(option("port") or _PORTS[security])
        except KeyError:
            raise InvalidAdapter(
                f'adapter "{self._adapter.name}": security must be starttls, tls or none'
            ) from None
        except ValueError:
            raise InvalidAdapter(f'adapter "{self._adapter.name}": port is no number') from None
        return aiosmtplib.SMTP(
            hostname=str(option("host")),
            port=port,
            username=str(option("username")) if option("username") else None,
            password=str(option("password")) if option("password") else None,
            use_tls=security == "tls",
            start_tls=security == "starttls",
            timeout=self._settings.timeout,
        )

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """Lend a connection with an empty envelope; one that raises is closed."""
        smtp = await self._clients.get()
        try:
            if not await _still_answers(smtp):
                await smtp.connect()
                await smtp.ehlo()
            yield smtp
        except BaseException:
            smtp.close()
            raise
        finally:
            self._clients.put_nowait(smtp)

    async def _transfer(self, smtp: aiosmtplib.SMTP, email: Email, content: bytes) -> Outcome:
        """Run one mail transaction (RFC 5321 section 3.3).

        The library's `data()` raises the same errors before and after the content has left. Only
        after may the server have taken the message, so the last two steps are done by hand.
        """
        protocol = smtp.protocol
        if protocol is None:
            raise SMTPServerDisconnected("Connection lost")
        try:
            await smtp.mail(email.sender.addr_spec)
        except SMTPResponseException as error:
            return self._refused(error.code, error.message, "sender")
        try:
            await smtp.rcpt(email.recipient)
        except SMTPResponseException as error:
            return self._refused(error.code, error.message, "recipient")
        reply = await smtp.execute_command(b"DATA")
        if reply.code != 354:
            return self._refused(reply.code, reply.message, "content")

        protocol.write(_dot_stuffed(content))
        try:
            reply = await protocol.read_response(timeout=self._settings.timeout)
            if reply.code // 100 not in {2, 4, 5}:
                raise SMTPException(f"Unexpected reply {reply.code} to the content")
        except (SMTPException, OSError) as error:
            smtp.close()
            detail = self._adapter.redact(str(error))
            return Outcome("maybe_sent", "reply_lost", detail, out_message_id=email.message_id)
        if reply.code >= 400:
            return self._refused(reply.code, reply.message, "content")
        return Outcome(
            "sent",
            f"smtp_{reply.code}",
            provider_message_id=email.message_id,
            out_message_id=email.message_id,
            response={"code": reply.code, "text": self._adapter.redact(reply.message)},
        )

    def _refused(self, code: int, text: str, stage: _Stage) -> Outcome:
        kind, hard = _classify(code, text, stage)
        detail = self._adapter.redact(text)
        response = {"code": code, "stage": stage}
        return Outcome(kind, f"smtp_{code}", detail, hard=hard, response=response)

    def _unreached(self, error: Exception) -> Outcome:
        if isinstance(error, TimeoutError):
            code = "timeout"
        elif isinstance(error, SMTPServerDisconnected):
            code = "connection_lost"
        else:
            code = "connect_error"
        return Outcome("retry", code, self._adapter.redact(str(error)))


def _classify(code: int, text: str, stage: _Stage) -> tuple[OutcomeKind, bool]:
    """Return what a refusal means, and whether it condemns the address."""
    if code in _AUTHENTICATION_CODES:
        return "auth_error", False
    if code < 500 or stage == "session":
        return "retry", False
    enhanced = match.group() if (match := _ENHANCED_CODE.match(text)) else None
    if enhanced is None:
        if stage == "recipient" and code in _NO_MAILBOX_CODES:
            return "bounced", True
        return ("bounced" if code == 552 else "failed"), False
    if stage in {"recipient", "content"} and _NO_MAILBOX.fullmatch(enhanced):
        return "bounced", True
    return ("bounced" if enhanced == _MAILBOX_FULL else "failed"), False


def _dot_stuffed(content: bytes) -> bytes:
    """Return the content with its terminator, transparent (RFC 5321 section 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", content) + b".\r\n"


async def _still_answers(smtp: aiosmtplib.SMTP) -> bool:
    if not smtp.is_connected:
        return False
    try:
        await smtp.rset()
    except (SMTPException, OSError):
        smtp.close()
        return False
    return True
