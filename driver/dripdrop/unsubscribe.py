"""The tokens and headers by which a recipient unsubscribes (RFC 8058, RFC 2369).

A token names one message, and all that is needed to unsubscribe when that is gone: the tenant, the
execution, the channel, the address and the topic. It works for as long as its key is there. It is
encrypted and authenticated with AES-SIV (RFC 5297) under a key derived for this purpose, so that
whoever reads one learns nothing from it and nobody makes one up. SIV has no nonce to repeat: what
stands in for it is a keyed hash of the whole content. The same message therefore always gets the
same token, so that a mail that is rendered again is the same mail, and all that equal tokens tell
is that they are of one message.

Whoever only answers links needs no more than the derived keys: `web_key()` writes them down.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from dripdrop.vault import KEY_VARIABLE, Vault, VaultError

WEB_KEY_VARIABLE = "DRIPDROP_WEB_KEY"

_PURPOSE = "dripdrop unsubscribe 1"
_KEY_BYTES = 64
_TAG_BYTES = 16
_UUID_BYTES = 16
_SECOND_FORM = b"\x02"  # the first began with a time in eight bytes, of which the first is zero
_FIRST_FORM_BYTES = 8 + _UUID_BYTES


class InvalidToken(Exception):
    """A token is not one of ours, or was changed."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token says: which message of which tenant, where it went and what it was about.

    The first form of tokens named the message only.
    """

    tenant_key: str | None
    execution_id: UUID
    channel: str | None = None
    recipient: str | None = None
    topic: str | None = None


class Tokens:
    """Writes tokens with the vault's key, and reads those of that key or any older one."""

    def __init__(self, keys: Vault | Sequence[bytes]) -> None:
        """Take the keys, the current one first, or derive them."""
        if isinstance(keys, Vault):
            keys = _derived(keys)
        self._ciphers = [AESSIV(key) for key in keys]

    @classmethod
    def from_environment(cls) -> Tokens:
        """Read `DRIPDROP_WEB_KEY`, or where there is none the keys of the vault."""
        text = os.environ.get(WEB_KEY_VARIABLE, "").strip()
        if text:
            return cls([_decoded(key.strip()) for key in text.split(",")])
        if os.environ.get(KEY_VARIABLE, "").strip():
            return cls(Vault.from_environment())
        raise VaultError(
            f"{WEB_KEY_VARIABLE} is not set, and {KEY_VARIABLE} is not set; make the first from"
            " the second with `dripdrop keygen --web`"
        )

    def write(self, ticket: Ticket) -> str:
        """Return the token of a message, safe in a URL."""
        fields = (ticket.tenant_key, ticket.channel, ticket.recipient, ticket.topic)
        plaintext = b"".join(
            (
                _SECOND_FORM,
                ticket.execution_id.bytes,
                json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(),
            )
        )
        sealed = self._ciphers[0].encrypt(plaintext, None)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, token: str) -> Ticket:
        """Return what a token says, or raise `InvalidToken`, whatever is wrong with it."""
        return _unpacked(self._opened(token))

    def _opened(self, token: str) -> bytes:
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidToken from None
        if len(sealed) < _TAG_BYTES + 1 + _UUID_BYTES:
            raise InvalidToken
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed, None)
            except InvalidTag:
                continue
        raise InvalidToken


def web_key(vault: Vault) -> str:
    """Return what `DRIPDROP_WEB_KEY` takes: the derived keys in base64, the current one first.

    They are one-way (HKDF): neither the vault's keys nor what these seal can be had from them.
    """
    return ",".join(base64.b64encode(key).decode() for key in _derived(vault))


@dataclass(frozen=True, slots=True)
class Link:
    """How the recipient of one message unsubscribes."""

    url: str
    mailto: str | None

    @property
    def headers(self) -> dict[str, str]:
        """The two headers, in the shape of RFC 8058 section 3 and RFC 2369 section 2."""
        ways = [f"<{self.url}>"]
        if self.mailto:
            ways.append(f"<mailto:{self.mailto}?subject=unsubscribe>")
        return {
            "List-Unsubscribe": ", ".join(ways),
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }


def link_of(tokens: Tokens, claim: Any) -> Link:
    """Return the link of a message that `claim_renders()` says carries one."""
    token = tokens.write(
        Ticket(
            claim.tenant_key,
            claim.execution_id,
            claim.channel,
            claim.unsubscribe["recipient"],
            claim.unsubscribe["topic"],
        )
    )
    return Link(f"{claim.unsubscribe['url']}/u/{token}", claim.unsubscribe["mailto"])


def _derived(vault: Vault) -> list[bytes]:
    return vault.derived_keys(_PURPOSE, _KEY_BYTES)


def _decoded(text: str) -> bytes:
    """Return one key of `DRIPDROP_WEB_KEY`, or raise `VaultError`, which never shows it."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VaultError(
            f"{WEB_KEY_VARIABLE} is not base64; make it with `dripdrop keygen --web`"
        ) from None
    if len(key) != _KEY_BYTES:
        raise VaultError(
            f"{WEB_KEY_VARIABLE} holds {len(key)} bytes where {_KEY_BYTES} belong; make it with"
            " `dripdrop keygen --web`"
        )
    return key


def _unpacked(plaintext: bytes) -> Ticket:
    if plaintext[:1] != _SECOND_FORM:
        execution = plaintext[8:_FIRST_FORM_BYTES]
        return Ticket(plaintext[_FIRST_FORM_BYTES:].decode() or None, UUID(bytes=execution))
    tenant_key, *whither = json.loads(plaintext[1 + _UUID_BYTES :])
    return Ticket(tenant_key, UUID(bytes=plaintext[1 : 1 + _UUID_BYTES]), *whither)
