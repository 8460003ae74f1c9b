"""Webhooks signed as Standard Webhooks 1.0 says: https://www.standardwebhooks.com."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from dripdrop.channels.base import Adapter, ChannelSettings, InvalidAdapter, Message
from dripdrop.channels.http import HTTPChannel
from dripdrop.outgoing.headers import checked_headers
from dripdrop.outgoing.http import Request
from dripdrop.outgoing.reach import Unsendable

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
_RESERVED_HEADERS = {
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
}


class WebhookChannel(HTTPChannel):
    """A signed webhook: `secret` (``whsec_`` and base64), and `url` unless each payload has one.

    `webhook-id` is the idempotency key, the same on every attempt, so that receivers can drop
    repeats.
    """

    required_credentials: ClassVar[tuple[str, ...]] = ("secret",)

    def __init__(self, adapter: Adapter, settings: ChannelSettings) -> None:
        """Decode the secret. Raises `InvalidAdapter` when it is not base64."""
        super().__init__(adapter, settings)
        try:
            self._key = b64decode(str(adapter.option("secret")).removeprefix("whsec_"))
        except ValueError:
            self._key = b""
        if not self._key:
            raise InvalidAdapter(f'adapter "{adapter.name}": secret is not base64')
        if not adapter.option("url"):
            self._has_server = False
            self._window.open()

    def request(self, message: Message) -> Request:
        """Return the signed request for ``{"url"?, "method"?, "body"?, "type"?, "headers"?}``.

        A body that is an object is sent as it is, with `type` added; any other becomes its `data`.
        """
        payload = message.payload
        method = str(payload.get("method") or "POST").upper()
        if method not in _METHODS:
            raise Unsendable("invalid_method", "the method is none that webhooks use")
        kind = payload.get("type") or "dripdrop.webhook"
        body = payload.get("body")
        fields = body if isinstance(body, Mapping) else {"data": body}
        content = orjson.dumps({"type": kind, **fields})
        key, at = message.idempotency_key, str(int(message.sent_at.timestamp()))
        signature = hmac.digest(self._key, f"{key}.{at}.".encode() + content, "sha256")
        headers = {
            **_extra_headers(payload.get("headers")),
            "content-type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{b64encode(signature).decode()}",
        }
        url = _own_url(message)
        if url is None:
            url = self.adapter.option("url") or ""
        return self.guarded_request(method, url, headers, content)

    def stage(self, message: Message) -> str:
        """Return ``endpoint`` where the URL is the message's own: so is what its server says."""
        own = self.adapter.option("url") and _own_url(message) is None
        return "request" if own else "endpoint"


def _own_url(message: Message) -> Any:
    """Return the URL that a message brings along, whatever it is, or None."""
    url = message.payload.get("url")
    return None if url == "" else url


def _extra_headers(headers: Any) -> dict[str, str]:
    if not headers:
        return {}
    checked = checked_headers(headers)
    for name in checked:
        if name.lower() in _RESERVED_HEADERS:
            raise Unsendable("invalid_header", f'header "{name}" is not the template\'s to set')
    return checked
