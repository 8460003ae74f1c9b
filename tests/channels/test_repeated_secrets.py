"""What a server repeats of the credentials is stored nowhere."""

from __future__ import annotations

from base64 import b64encode

import pytest

from .conftest import HTTPServers, MailServers, Open, message

pytestmark = pytest.mark.anyio


async def test_what_a_mail_server_repeats_is_redacted_everywhere(
    open_: Open, mail_server: MailServers
) -> None:
    server = await mail_server()
    password = "hunter2/hunter2"
    blob = b64encode(f"\0ada\0{password}".encode()).decode()
    account = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "password": password,
        "from": "hello@example.org",
    }
    channel = open_("email", "smtp", account)
    for reply in (f"250 thanks for {blob}", f"554 {blob} is not welcome", f"554 {password}"):
        server.replies["CONTENT"] = reply
        outcome = await channel.send(message({"text": "Hello"}))
        assert blob not in repr(outcome) and password not in repr(outcome)
        assert "[redacted]" in repr(outcome)


async def test_what_an_endpoint_repeats_is_redacted_everywhere(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    account = {"api_key": "token-4711", "base_url": server.url, "from": "hello@example.org"}
    for status, body in (
        (422, {"ErrorCode": 300, "Message": 'X-Postmark-Server-Token: "token-4711"'}),
        (200, {"ErrorCode": 0, "MessageID": "token-4711"}),
    ):
        server.status, server.body = status, body
        outcome = await open_("email", "postmark", account).send(message({"text": "Hello"}))
        assert "token-4711" not in repr(outcome)
        assert "[redacted]" in repr(outcome)
