from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dripdrop.channels import ChannelSettings

from .conftest import EXECUTION, IDEMPOTENCY_KEY, HTTPServer, HTTPServers, Open, message

pytestmark = pytest.mark.anyio

HELLO = {
    "subject": "Grüße",
    "text": "Hello Ada",
    "html": "<p>Hello Ada</p>",
    "from": "Zoë <zoe@example.org>",
}
ACCEPTED = {"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc2f4a-e38e-4336-af7d-e6c392c2f817"}


def account(server: HTTPServer) -> dict[str, Any]:
    return {"api_key": "server-token", "base_url": server.url}


async def test_a_mail_becomes_one_request(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    server.body = ACCEPTED
    config = {"message_stream": "outbound", "track_opens": False}
    payload = HELLO | {"reply_to": "Ada <ada@example.org>", "headers": {"X-Tag": "a"}}
    await open_("email", "postmark", account(server), config).send(message(payload))
    ((request, content),) = server.requests
    assert (request.method, request.path) == ("POST", "/email")
    assert request.headers["X-Postmark-Server-Token"] == "server-token"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(content) == {
        "From": "Zoë <zoe@example.org>",
        "To": "ada@example.com",
        "ReplyTo": "Ada <ada@example.org>",
        "Subject": "Grüße",
        "TextBody": "Hello Ada",
        "HtmlBody": "<p>Hello Ada</p>",
        "Headers": [
            {"Name": "Message-ID", "Value": f"<{IDEMPOTENCY_KEY[:32]}@example.org>"},
            {"Name": "X-PM-KeepID", "Value": "true"},
            {"Name": "X-Tag", "Value": "a"},
        ],
        "Metadata": {"idempotency_key": IDEMPOTENCY_KEY, "execution_id": str(EXECUTION)},
        "MessageStream": "outbound",
        "TrackOpens": False,
    }


async def test_recipients_in_the_payload_or_the_config_are_ignored(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    server.body = ACCEPTED
    extra = {
        name: "eve@example.com"
        for name in ("to", "cc", "bcc", "To", "Cc", "Bcc", "recipient", "OriginalRecipient")
    }
    await open_("email", "postmark", account(server), extra).send(message(HELLO | extra))
    ((_, content),) = server.requests
    assert json.loads(content)["To"] == "ada@example.com"
    assert b"eve" not in content


async def test_an_accepted_mail_has_both_ids(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    server.body = ACCEPTED
    outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert outcome.kind == "sent"
    assert outcome.provider_message_id == ACCEPTED["MessageID"]
    assert outcome.out_message_id == f"{IDEMPOTENCY_KEY[:32]}@example.org"


@pytest.mark.parametrize(
    ("status", "error_code", "code"),
    [
        (401, 10, "http_401"),
        (503, 100, "postmark_100"),
        (422, 300, "postmark_300"),
        (422, 406, "postmark_406"),
        (429, 429, "http_429"),
        (422, 1234, "postmark_1234"),
        (500, 1234, "http_500"),
        (200, 1234, "postmark_1234"),
    ],
)
async def test_an_error_code_tells_more_than_the_status_that_comes_with_it(
    open_: Open, http_server: HTTPServers, status: int, error_code: int, code: str
) -> None:
    server = await http_server()
    server.status = status
    server.body = {"ErrorCode": error_code, "Message": "no: server-token"}
    outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code, outcome.stage) == ("refused", code, "request")
    assert outcome.detail == ("no: [redacted]" if code.startswith("postmark") else "")
    assert outcome.response == {"status": status, "error_code": error_code}


@pytest.mark.parametrize(
    ("status", "headers", "kind", "retry_after"),
    [
        (200, {}, "maybe_sent", None),
        (401, {}, "refused", None),
        (403, {}, "refused", None),
        (422, {}, "refused", None),
        (429, {"Retry-After": "7"}, "refused", 7.0),
        (500, {}, "refused", None),
        (503, {}, "refused", None),
        (503, {"Retry-After": "7"}, "refused", 7.0),
        (504, {"Retry-After": "7"}, "refused", 7.0),
    ],
)
@pytest.mark.parametrize(
    "body", ["<html>no JSON</html>", '["a"]', '{"ErrorCode": []}', "[" * 60_000]
)
async def test_without_an_error_code_the_status_is_reported(
    open_: Open,
    http_server: HTTPServers,
    status: int,
    headers: dict[str, str],
    kind: str,
    retry_after: float | None,
    body: str,
) -> None:
    server = await http_server()
    server.status, server.headers, server.body = status, headers, body
    outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert (outcome.kind, outcome.retry_after) == (kind, retry_after)


async def test_a_server_that_is_down_is_unreachable(open_: Open, closed_port: int) -> None:
    server = HTTPServer(url=f"http://127.0.0.1:{closed_port}")
    outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "connect_error")


async def test_a_host_that_does_not_resolve_is_unreachable(open_: Open) -> None:
    server = HTTPServer(url="http://nowhere.invalid")
    outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("unreachable", "connect_error")


async def test_a_reply_lost_after_the_request_may_mean_sent(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    server.status = None
    outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("maybe_sent", "connection_lost")
    assert len(server.requests) == 1


async def test_an_unreadable_reply_may_mean_sent(open_: Open) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"gibberish\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as babbler:
        server = HTTPServer(url=f"http://127.0.0.1:{babbler.sockets[0].getsockname()[1]}")
        outcome = await open_("email", "postmark", account(server)).send(message(HELLO))
    assert outcome.kind == "maybe_sent"


async def test_a_reply_that_never_comes_may_mean_sent(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    server.silent = True
    settings = ChannelSettings(allow_http=True, allow_private=True, timeout=0.2)
    channel = open_("email", "postmark", account(server), settings=settings)
    outcome = await channel.send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("maybe_sent", "timeout")


async def test_one_connection_carries_many_messages(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    server.body = ACCEPTED
    channel = open_("email", "postmark", account(server))
    for _ in range(3):
        await channel.send(message(HELLO))
    assert len({id(request.transport) for request, _ in server.requests}) == 1


async def test_an_injected_header_is_never_sent(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    payload = HELLO | {"from": "hello@example.org\r\nBcc: eve@example.com"}
    outcome = await open_("email", "postmark", account(server)).send(message(payload))
    assert (outcome.kind, outcome.code) == ("failed", "invalid_header")
    assert server.requests == []


async def test_a_token_with_a_line_break_is_never_sent(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    credentials = account(server) | {"api_key": "server-token\n"}
    outcome = await open_("email", "postmark", credentials).send(message(HELLO))
    assert (outcome.kind, outcome.code) == ("failed", "invalid_header")
    assert "server-token" not in repr(outcome)
