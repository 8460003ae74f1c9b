"""An e-mail, from payload to wire bytes (RFC 5322, RFC 2045-2047). Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from typing import Any

from dripdrop.channels.base import InvalidMessage, Message
from dripdrop.channels.headers import checked_headers, one_line

# The HTML standard's "valid e-mail address": https://html.spec.whatwg.org/#valid-e-mail-address
_ADDR_SPEC = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_RESERVED_HEADER = re.compile(
    r"from|sender|reply-to|to|cc|bcc|subject|date|message-id|mime-version|return-path|received"
    r"|dkim-signature|content-.*|resent-.*"
    # Relays that take recipients from a header: SendGrid, SparkPost, Mandrill.
    r"|x-smtpapi|x-msys-api|x-mc-.*",
    re.IGNORECASE,
)
_SEVEN_BIT = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True)
class Email:
    """One message to one recipient, checked: nothing in it can start a header of its own."""

    sender: Address
    recipient: str
    reply_to: Address | None
    subject: str
    text: str | None
    html: str | None
    headers: Mapping[str, str]
    message_id: str
    date: datetime

    @classmethod
    def read(cls, message: Message, default_sender: str | None) -> Email:
        """Read a payload ``{"subject", "html"?, "text"?, "from"?, "reply_to"?, "headers"?}``.

        The Message-ID comes from the idempotency key, so a resend carries the same one. Raises
        `InvalidMessage` for a line break in any header or address, for a header the engine sets
        itself, for a malformed address, and for a message without a body.
        """
        payload = message.payload
        text, html = payload.get("text") or None, payload.get("html") or None
        if text is None and html is None:
            raise InvalidMessage("empty_body", "the message has neither text nor html")
        if not all(isinstance(part, str | None) for part in (text, html)):
            raise InvalidMessage("invalid_body", "text and html must be strings")
        recipient = one_line(message.recipient or "", "the recipient")
        if not _ADDR_SPEC.fullmatch(recipient):
            raise InvalidMessage("invalid_address", "the recipient is not an e-mail address")
        sender = _mailbox(payload.get("from") or default_sender or "", "from")
        reply_to = payload.get("reply_to")
        return cls(
            sender=sender,
            recipient=recipient,
            reply_to=_mailbox(reply_to, "reply_to") if reply_to else None,
            subject=one_line(str(payload.get("subject") or "").strip(), "subject"),
            text=text,
            html=html,
            headers=_extra_headers(payload.get("headers") or {}),
            message_id=f"{message.idempotency_key[:32]}@{sender.domain}",
            date=message.sent_at,
        )

    def as_bytes(self) -> bytes:
        """Return the message for the wire: CRLF line ends and seven-bit clean.

        Headers are folded here and not by `email.policy`, which turns a long URL or Message-ID
        into an encoded word (that breaks List-Unsubscribe and In-Reply-To) and loses spaces in
        long names.
        """
        headers = {"From": _folded_mailbox(self.sender), "To": self.recipient}
        if self.reply_to is not None:
            headers["Reply-To"] = _folded_mailbox(self.reply_to)
        headers["Subject"] = _folded(self.subject)
        headers["Date"] = format_datetime(self.date)
        headers["Message-ID"] = f"<{self.message_id}>"
        headers |= {name: _folded(value) for name, value in self.headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return head.encode("ascii") + self._body().as_bytes()

    def _body(self) -> EmailMessage:
        body = EmailMessage(policy=_SEVEN_BIT)
        if self.text is not None:
            body.set_content(self.text)
            if self.html is not None:
                body.add_alternative(self.html, subtype="html")
        elif self.html is not None:
            body.set_content(self.html, subtype="html")
        return body


def _extra_headers(headers: Any) -> dict[str, str]:
    checked = checked_headers(headers)
    for name in checked:
        if _RESERVED_HEADER.fullmatch(name):
            raise InvalidMessage("invalid_header", f'header "{name}" is not the template\'s to set')
    return checked


def _mailbox(value: Any, what: str) -> Address:
    mailboxes = getaddresses([one_line(str(value), what)])
    if len(mailboxes) != 1 or not _ADDR_SPEC.fullmatch(mailboxes[0][1]):
        raise InvalidMessage("invalid_address", f"{what} is not one e-mail address")
    name, address = mailboxes[0]
    username, _, domain = address.rpartition("@")
    return Address(name, username, domain)


def _folded_mailbox(mailbox: Address) -> str:
    if _is_plain(mailbox.display_name):
        return str(mailbox)
    return f"{_folded(mailbox.display_name)} <{mailbox.addr_spec}>"


def _folded(text: str) -> str:
    charset = "us-ascii" if _is_plain(text) else "utf-8"
    return Header(text, charset).encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    """Whether text goes as it is: what looks like an encoded word must itself be encoded."""
    return text.isascii() and "=?" not in text
