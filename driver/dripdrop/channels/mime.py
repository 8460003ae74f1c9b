"""An e-mail, from payload to wire bytes (RFC 5322, RFC 2045-2047). Standard library only."""

from __future__ import annotations

import re
from base64 import encodebytes
from binascii import b2a_qp
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from dripdrop.channels.base import Message, Outcome
from dripdrop.mailbox import on_one_line, read_mailbox
from dripdrop.outgoing.headers import checked_headers, one_line
from dripdrop.outgoing.reach import Unsendable

# The HTML standard's "valid e-mail address": https://html.spec.whatwg.org/#valid-e-mail-address
_ADDR_SPEC = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_RESERVED_HEADER = re.compile(
    r"from|sender|reply-to|to|cc|bcc|subject|date|message-id|mime-version|return-path|received"
    r"|dkim-signature|content-.*|resent-.*"
    # Relays that take recipients from a header: SendGrid, SparkPost, Mandrill.
    r"|x-smtpapi|x-msys-api|x-mc-.*",
    re.IGNORECASE,
)
_LONGEST_ADDRESS = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
_LONGEST_LINE = 998  # RFC 5322 section 2.1.1
_READABLE_LINE = 78  # RFC 5322 section 2.1.1


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
        `Unsendable` for a header the engine sets itself, for a malformed address, and for a
        message without a body. A line break or control character in a header becomes a blank, in
        an address it is refused.
        """
        payload = message.payload
        text, html = payload.get("text") or None, payload.get("html") or None
        if text is None and html is None:
            raise Unsendable("empty_body", "the message has neither text nor html")
        if not all(isinstance(part, str | None) for part in (text, html)):
            raise Unsendable("invalid_body", "text and html must be strings")
        recipient = one_line(message.recipient or "", "the recipient")
        if not _is_address(recipient):
            raise Unsendable("invalid_address", "the recipient is not an e-mail address")
        sender = _mailbox(str(payload.get("from") or default_sender or ""), "from")
        reply_to = payload.get("reply_to")
        return cls(
            sender=sender,
            recipient=recipient,
            reply_to=_mailbox(str(reply_to), "reply_to") if reply_to else None,
            subject=on_one_line(str(payload.get("subject") or "")).strip(),
            text=text,
            html=html,
            headers=_extra_headers(payload.get("headers") or {}),
            message_id=cls.id_of(message, default_sender),
            date=message.sent_at,
        )

    @staticmethod
    def id_of(message: Message, default_sender: str | None) -> str:
        """Return the Message-ID, without its brackets, of a message that can be read."""
        sender = _mailbox(str(message.payload.get("from") or default_sender or ""), "from")
        return f"{message.idempotency_key[:32]}@{sender.domain}"

    @staticmethod
    def without_sender(message: Message, default_sender: str | None) -> Outcome | None:
        """Return what becomes of a message that names no sender, of an account without one."""
        if message.payload.get("from") or default_sender:
            return None
        return Outcome("auth_error", "invalid_adapter", "from is missing")

    @staticmethod
    def has_own_sender(message: Message, default_sender: str | None) -> bool:
        """Whether a payload names another sender's address than the account's."""
        if not message.payload.get("from"):
            return False
        named, account = (
            read_mailbox(str(value)) if value else None
            for value in (message.payload.get("from"), default_sender)
        )
        if named is None or account is None:
            return False
        return named.address.lower() != account.address.lower()

    def as_bytes(self) -> bytes:
        """Return the message for the wire: CRLF line ends and seven-bit clean.

        Headers are folded here and not by `email.policy`, which turns a long URL or Message-ID
        into an encoded word (that breaks List-Unsubscribe and In-Reply-To) and loses spaces in
        long names.
        """
        headers = [_mailbox_header("From", self.sender), f"To: {self.recipient}"]
        if self.reply_to is not None:
            headers.append(_mailbox_header("Reply-To", self.reply_to))
        headers.append(_header("Subject", self.subject))
        headers.append(f"Date: {format_datetime(self.date)}")
        headers.append(f"Message-ID: <{self.message_id}>")
        headers += [_header(name, value) for name, value in self.headers.items()]
        head = "".join(f"{header}\r\n" for header in headers)
        return head.encode("ascii") + self._body()

    def _body(self) -> bytes:
        """Return one part, or both as alternatives, by hand: `email.message` takes twenty times as
        long.
        """
        parts = [
            _part(text, subtype)
            for text, subtype in ((self.text, "plain"), (self.html, "html"))
            if text is not None
        ]
        if len(parts) == 1:
            return b"MIME-Version: 1.0\r\n" + parts[0]
        boundary = f"=_{self.message_id.partition('@')[0]}".encode("ascii")
        mark = b"--" + boundary
        return b"".join(
            (
                b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n"
                b' boundary="' + boundary + b'"\r\n',
                *(b"\r\n" + mark + b"\r\n" + part for part in parts),
                b"\r\n" + mark + b"--\r\n",
            )
        )


def _part(text: str, subtype: str) -> bytes:
    """Return a text with its headers, as it is if it can be, else in the shorter of two encodings.

    `=_` is in no part, for boundaries begin with it: no encoding makes one (RFC 2045 section 6.7).
    """
    lines = text.encode().splitlines()
    content = b"\r\n".join(lines) + b"\r\n"
    encoding = "7bit"
    if (
        not content.isascii()
        or b"=_" in content
        or max(map(len, lines), default=0) > _READABLE_LINE
    ):
        encoding, plain = "quoted-printable", content
        content = b2a_qp(plain, istext=True)
        if len(content) > len(plain) * 4 / 3:
            encoding, content = "base64", encodebytes(plain).replace(b"\n", b"\r\n")
    head = (
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode("ascii") + content


def _extra_headers(headers: Any) -> dict[str, str]:
    if isinstance(headers, Mapping):
        headers = {name: on_one_line(str(value)).strip() for name, value in headers.items()}
    checked = checked_headers(headers)
    for name in checked:
        if _RESERVED_HEADER.fullmatch(name):
            raise Unsendable("invalid_header", f'header "{name}" is not the template\'s to set')
    return checked


@lru_cache(maxsize=256)
def _mailbox(value: str, what: str) -> Address:
    """Return the one mailbox that a text is; most messages of a sender have the same."""
    mailbox = read_mailbox(value)
    if mailbox is None or not _is_address(mailbox.address):
        one_line(value, what)
        raise Unsendable("invalid_address", f"{what} is not one e-mail address")
    username, _, domain = mailbox.address.rpartition("@")
    return Address(mailbox.name, username, domain)


def _is_address(text: str) -> bool:
    return len(text) <= _LONGEST_ADDRESS and _ADDR_SPEC.fullmatch(text) is not None


def _mailbox_header(name: str, mailbox: Address) -> str:
    if _is_plain(mailbox.display_name):
        header = _at_blanks(f"{name}: {mailbox}")
        if header is not None:
            return header
    return f"{name}: {_encoded(name, mailbox.display_name)}\r\n <{mailbox.addr_spec}>"


def _header(name: str, value: str) -> str:
    """Return a header, folded at its blanks; what cannot be, or is not ASCII, in encoded words."""
    header = _at_blanks(f"{name}: {value}") if _is_plain(value) else None
    return f"{name}: {_encoded(name, value)}" if header is None else header


def _at_blanks(header: str) -> str | None:
    """Fold before blanks, into lines of 78 characters where they are that short (RFC 5322 2.1.1).

    None where a line would have more than 998.
    """
    words = re.findall(r"\s*\S+", header)
    lines = ["".join(words[:2])]
    for word in words[2:]:
        if len(lines[-1]) + len(word) > _READABLE_LINE:
            lines.append(word)
        else:
            lines[-1] += word
    return "\r\n".join(lines) if max(map(len, lines)) <= _LONGEST_LINE else None


def _encoded(name: str, text: str) -> str:
    return Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    """Whether text goes as it is: what looks like an encoded word must itself be encoded."""
    return text.isascii() and "=?" not in text
