"""Sealing and opening channel credentials, so that the database only ever stores ciphertext.

An envelope is binary::

    offset  bytes  meaning
    0       1      format version, 1
    1       4      key id: the first four bytes of the SHA-256 of the key
    5       12     random nonce
    17      n+16   AES-256-GCM ciphertext of the credentials as UTF-8 JSON, with its tag

The associated data is the JSON array ``[kind, tenant_key, name]``, kind being ``"adapter"`` or
``"http_hook"``, so an envelope copied to another owner or another tenant does not open. Older
envelopes have ``[tenant_key, name]``; they open, and `Vault.reseal` brings them to the new form.
Sources: NIST SP 800-38D, RFC 5116 section 5.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Kind = Literal["adapter", "http_hook"]
"""What credentials belong to."""

HOOK_PREFIX = "hook:"
"""How the names begin that the database gives to HTTP hooks."""

KEY_VARIABLE = "DRIPDROP_ENCRYPTION_KEY"
OLD_KEYS_VARIABLE = "DRIPDROP_ENCRYPTION_KEYS_OLD"

_NAME_BYTES = 200
_NO_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f:]")
_OWNERS: Mapping[Kind, str] = {"adapter": "adapter", "http_hook": "HTTP hook"}

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES + _NONCE_BYTES


class VaultError(Exception):
    """A key is missing or wrong, or an envelope does not open. Never holds a secret."""


def generate_key() -> str:
    """Return a new key: 32 random bytes in base64, as `DRIPDROP_ENCRYPTION_KEY` wants it."""
    return base64.b64encode(AESGCM.generate_key(bit_length=256)).decode()


class Vault:
    """Seals with one key and opens with that key or any older one.

    Keys are base64 of exactly 32 bytes; anything else raises `VaultError`.
    """

    def __init__(self, key: str, old_keys: list[str] | None = None) -> None:
        """Take the current key and the keys that older envelopes may still be sealed under."""
        current = _decode_key(key, KEY_VARIABLE)
        older = [_decode_key(old, OLD_KEYS_VARIABLE) for old in old_keys or []]
        self._keys = [current, *older]
        self._key_id = _key_id(current)
        self._ciphers = {_key_id(each): AESGCM(each) for each in [*older, current]}

    @classmethod
    def from_environment(cls) -> Vault:
        """Read `DRIPDROP_ENCRYPTION_KEY` and, comma-separated, `DRIPDROP_ENCRYPTION_KEYS_OLD`."""
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key:
            raise VaultError(f"{KEY_VARIABLE} is not set; make a key with `dripdrop keygen`")
        old_keys = [old.strip() for old in os.environ.get(OLD_KEYS_VARIABLE, "").split(",")]
        return cls(key, [old for old in old_keys if old])

    def seal(
        self,
        credentials: Mapping[str, Any],
        tenant_key: str | None,
        name: str,
        kind: Kind | None = None,
    ) -> bytes:
        """Return the envelope of `credentials`, which opens only for this tenant and owner.

        Without a kind the name says it: that of an HTTP hook is ``hook:SEQUENCE:KEY``.
        """
        header = _VERSION + self._key_id + os.urandom(_NONCE_BYTES)
        plaintext = json.dumps(dict(credentials)).encode()
        cipher = self._ciphers[self._key_id]
        nonce = header[-_NONCE_BYTES:]
        bound_to = _associated_data(kind or kind_of(name), tenant_key, name)
        return header + cipher.encrypt(nonce, plaintext, bound_to)

    def open(
        self, envelope: bytes, tenant_key: str | None, name: str, kind: Kind | None = None
    ) -> dict[str, Any]:
        """Return the sealed credentials, or raise `VaultError` unless all is as it was sealed."""
        return self._opened(envelope, tenant_key, name, kind or kind_of(name))[0]

    def _opened(
        self, envelope: bytes, tenant_key: str | None, name: str, kind: Kind
    ) -> tuple[dict[str, Any], bool]:
        """Return the sealed credentials, and whether they are bound to their kind."""
        key_id = _read_key_id(envelope)
        try:
            cipher = self._ciphers[key_id]
        except KeyError:
            raise VaultError(
                f'the credentials of {_OWNERS[kind]} "{name}" are sealed under key {key_id.hex()},'
                f" which is neither {KEY_VARIABLE} nor among {OLD_KEYS_VARIABLE}"
            ) from None
        header, ciphertext = envelope[:_HEADER_BYTES], envelope[_HEADER_BYTES:]
        forms = [_associated_data(kind, tenant_key, name)]
        if kind == kind_of(name):  # else a hook's old envelope would open for its namesake
            forms.append(_old_associated_data(tenant_key, name))
        for bound_to in forms:
            try:
                plaintext = cipher.decrypt(header[-_NONCE_BYTES:], ciphertext, bound_to)
            except InvalidTag:
                continue
            return json.loads(plaintext), bound_to == forms[0]
        raise VaultError(
            f'the credentials of {_OWNERS[kind]} "{name}" do not open with {KEY_VARIABLE}: they'
            " were changed, or sealed for another adapter or tenant"
        )

    def derived_keys(self, purpose: str, length: int) -> list[bytes]:
        """Return keys for another purpose (HKDF, RFC 5869): of the current key, then the older."""
        info = purpose.encode()
        return [HKDF(hashes.SHA256(), length, None, info).derive(key) for key in self._keys]

    def reseal(
        self, envelope: bytes, tenant_key: str | None, name: str, kind: Kind | None = None
    ) -> bytes | None:
        """Return `envelope` under the current key and in the new form, None when it already is."""
        kind = kind or kind_of(name)
        credentials, is_new = self._opened(envelope, tenant_key, name, kind)
        if is_new and _read_key_id(envelope) == self._key_id:
            return None
        return self.seal(credentials, tenant_key, name, kind)


def kind_of(name: str) -> Kind:
    """Return what has a name of this form: an adapter's has no colon."""
    return "http_hook" if name.startswith(HOOK_PREFIX) else "adapter"


def check_name(name: str) -> None:
    """Raise `VaultError` unless it is an adapter's name, or ``hook:SEQUENCE:KEY``.

    A name has 1 to 200 bytes of UTF-8, and neither control characters nor colons.
    """
    parts = [name]
    if kind_of(name) == "http_hook":
        parts = name.removeprefix(HOOK_PREFIX).split(":")
        if len(parts) != 2:
            raise VaultError("the name of an HTTP hook's credentials is hook:SEQUENCE:KEY")
    for part in parts:
        if not _is_name(part):
            raise VaultError(
                "a name has 1 to 200 bytes of UTF-8, and neither control characters nor a colon"
            )


def to_text(envelope: bytes) -> str:
    """Return the envelope in base64, one line, to be pasted into SQL."""
    return base64.b64encode(envelope).decode()


def from_text(text: str) -> bytes:
    """Return the envelope that `to_text` wrote, or raise `VaultError`."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise VaultError(
            "sealed credentials must be base64, as `dripdrop seal` prints them"
        ) from None


def _decode_key(text: str, variable: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VaultError(f"{variable} is not base64; make a key with `dripdrop keygen`") from None
    if len(key) != 32:
        raise VaultError(f"{variable} must be 32 bytes in base64, but holds {len(key)} bytes")
    return key


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_KEY_ID_BYTES]


def _read_key_id(envelope: bytes) -> bytes:
    if len(envelope) < _HEADER_BYTES + _TAG_BYTES or envelope[:1] != _VERSION:
        raise VaultError("this is not a sealed envelope of a version this driver knows")
    return envelope[1 : 1 + _KEY_ID_BYTES]


def _is_name(text: str) -> bool:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 1 <= size <= _NAME_BYTES and not _NO_NAME.search(text)


def _associated_data(kind: Kind, tenant_key: str | None, name: str) -> bytes:
    return json.dumps([kind, tenant_key, name]).encode()


def _old_associated_data(tenant_key: str | None, name: str) -> bytes:
    return json.dumps([tenant_key, name]).encode()
