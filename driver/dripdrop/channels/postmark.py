"""E-mail over Postmark: https://postmarkapp.com/developer/api/email-api."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import orjson

from dripdrop.channels.base import Message, Outcome
from dripdrop.channels.http import HTTPChannel
from dripdrop.channels.mime import Email
from dripdrop.outgoing.http import Reply, Request

_CONFIG_FIELDS = {
    "message_stream": "MessageStream",
    "tag": "Tag",
    "track_links": "TrackLinks",
    "track_opens": "TrackOpens",
}
_MAINTENANCE = 100
_TELLING = {200, 422}  # statuses of which the ErrorCode is the reason


class PostmarkChannel(HTTPChannel):
    """A Postmark server: `api_key`, and as needed `from` and `base_url`.

    The config may hold `message_stream`, `tag`, `track_opens` and `track_links`. The idempotency
    key and the execution travel as metadata, which Postmark's webhooks repeat.
    """

    required_credentials: ClassVar[tuple[str, ...]] = ("api_key",)

    def request(self, message: Message) -> Request:
        """Return ``POST /email``."""
        email = Email.read(message, self.adapter.option("from"))
        headers = {"Message-ID": f"<{email.message_id}>", "X-PM-KeepID": "true", **email.headers}
        body: dict[str, Any] = {
            "From": str(email.sender),
            "To": email.recipient,
            "ReplyTo": str(email.reply_to) if email.reply_to else None,
            "Subject": email.subject,
            "TextBody": email.text,
            "HtmlBody": email.html,
            "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
            "Metadata": {
                "idempotency_key": message.idempotency_key,
                "execution_id": str(message.execution_id),
            },
        }
        for option, field in _CONFIG_FIELDS.items():
            body[field] = self.adapter.config.get(option)
        base_url = str(self.adapter.option("base_url") or "https://api.postmarkapp.com")
        return self.guarded_request(
            "POST",
            f"{base_url.rstrip('/')}/email",
            headers={
                "Accept": "application/json",
                "Content-Type": "application/json",
                "X-Postmark-Server-Token": self.adapter.option("api_key"),
            },
            content=orjson.dumps({name: each for name, each in body.items() if each is not None}),
        )

    async def send(self, message: Message) -> Outcome:
        """Send one e-mail."""
        nobody = Email.without_sender(message, self.adapter.option("from"))
        return nobody or await super().send(message)

    def stage(self, message: Message) -> str:
        """Return ``request``, with ``.author`` where the From is the message's own."""
        own = Email.has_own_sender(message, self.adapter.option("from"))
        return "request.author" if own else "request"

    def outcome(self, message: Message, reply: Reply) -> Outcome:
        """Read Postmark's `ErrorCode`, which tells more than the status."""
        outcome = super().outcome(message, reply)
        document = reply.json()
        error_code = document.get("ErrorCode")
        if not isinstance(error_code, int):
            return replace(outcome, kind="maybe_sent") if outcome.kind == "sent" else outcome
        if error_code == 0 and outcome.kind == "sent":
            message_id = document.get("MessageID")
            return replace(
                outcome,
                provider_message_id=message_id and self.adapter.redact(str(message_id)),
                out_message_id=Email.id_of(message, self.adapter.option("from")),
            )
        if reply.status in _TELLING or error_code == _MAINTENANCE:
            outcome = replace(
                outcome,
                kind="refused",
                code=f"postmark_{error_code}",
                detail=self.adapter.redact(str(document.get("Message", ""))),
            )
        return replace(outcome, response={"status": reply.status, "error_code": error_code})
