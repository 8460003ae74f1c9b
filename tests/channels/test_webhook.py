from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from dripdrop.channels import Adapter, ChannelSettings, InvalidAdapter, Message

from .conftest import EXECUTION, IDEMPOTENCY_KEY, HTTPServer, HTTPServers, Open, message

pytestmark = pytest.mark.anyio

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def signed_with(server: HTTPServer) -> dict[str, str]:
    return {"url": f"{server.url}/hook", "secret": SECRET}


def as_of(sent_at: datetime, key: str, payload: dict[str, Any]) -> Message:
    return Message(EXECUTION, 1, key, None, "webhook", None, payload, sent_at)


async def test_a_receiver_can_verify_the_signature(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    channel = open_("webhook", "default", signed_with(server))
    body = {"type": "user.greeted", "name": "Zoë"}
    outcome = await channel.send(as_of(datetime.now(UTC), IDEMPOTENCY_KEY, {"body": body}))
    assert outcome.kind == "sent"
    ((request, content),) = server.requests
    assert Webhook(SECRET).verify(content, dict(request.headers)) == body
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(content + b" ", dict(request.headers))


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
async def test_the_signature_is_the_known_one(
    open_: Open, http_server: HTTPServers, zone: timezone
) -> None:
    server = await http_server()
    channel = open_("webhook", "default", signed_with(server))
    at = datetime.fromtimestamp(1700000000, zone)
    await channel.send(as_of(at, "msg_1", {"body": {"type": "t"}}))
    ((request, content),) = server.requests
    assert content == b'{"type":"t"}'
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["webhook-timestamp"] == "1700000000"
    signature = "v1,o30BrT4bF0wATinTVdBDSW5U/q1FzVqshDOoR9h6+aU="
    assert request.headers["webhook-signature"] == signature


async def test_the_id_is_the_same_on_every_attempt(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    channel = open_("webhook", "default", signed_with(server))
    for _ in range(2):
        await channel.send(message({"body": {}}))
    ids = [request.headers["webhook-id"] for request, _ in server.requests]
    assert ids == [IDEMPOTENCY_KEY] * 2


@pytest.mark.parametrize(
    ("payload", "document"),
    [
        ({"body": {"a": 1}}, {"type": "dripdrop.webhook", "a": 1}),
        ({"body": {"a": 1}, "type": "t"}, {"type": "t", "a": 1}),
        ({"body": {"type": "mine"}, "type": "t"}, {"type": "mine"}),
        ({"body": [1, 2]}, {"type": "dripdrop.webhook", "data": [1, 2]}),
        ({}, {"type": "dripdrop.webhook", "data": None}),
    ],
)
async def test_a_body_always_has_a_type(
    open_: Open, http_server: HTTPServers, payload: dict[str, Any], document: dict[str, Any]
) -> None:
    server = await http_server()
    await open_("webhook", "default", signed_with(server)).send(message(payload))
    assert json.loads(server.requests[0][1]) == document


async def test_the_payload_says_where_and_how(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    channel = open_("webhook", "default", {"secret": SECRET, "url": "https://nowhere.invalid"})
    payload = {"url": f"{server.url}/other?a=1", "method": "put", "headers": {"X-Tag": "a"}}
    await channel.send(message(payload))
    ((request, _),) = server.requests
    assert (request.method, request.path_qs) == ("PUT", "/other?a=1")
    assert request.headers["X-Tag"] == "a"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == "dripdrop-postgres"


async def test_the_name_in_the_url_is_the_name_that_tls_checks(
    open_: Open, http_server: HTTPServers, certificate: ssl.SSLContext
) -> None:
    server = await http_server(tls=certificate)
    channel = open_(
        "webhook", "default", signed_with(server), settings=ChannelSettings(allow_private=True)
    )
    assert (await channel.send(message({}))).kind == "sent"
    assert server.requests[0][0].host.startswith("localhost:")


async def test_an_untrusted_certificate_is_refused(
    open_: Open,
    http_server: HTTPServers,
    certificate: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = await http_server(tls=certificate)
    outcome = await open_("webhook", "default", signed_with(server)).send(message({}))
    assert (outcome.kind, outcome.code) == ("unreachable", "connect_error")
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "headers", "kind", "retry_after"),
    [
        (200, {}, "sent", None),
        (204, {}, "sent", None),
        (302, {"Location": "/elsewhere"}, "refused", None),
        (308, {"Location": "/elsewhere"}, "refused", None),
        (400, {}, "refused", None),
        (401, {}, "refused", None),
        (404, {}, "refused", None),
        (408, {}, "refused", None),
        (410, {}, "refused", None),
        (429, {}, "refused", None),
        (429, {"Retry-After": "120"}, "refused", 120.0),
        (429, {"Retry-After": "0"}, "refused", 1.0),
        (429, {"Retry-After": "9999999"}, "refused", 86400.0),
        (
            429,
            {
                "Date": "Mon, 02 Mar 2026 09:00:00 GMT",
                "Retry-After": "Mon, 02 Mar 2026 09:05:00 GMT",
            },
            "refused",
            300.0,
        ),
        (429, {"Retry-After": "soon"}, "refused", None),
        # A status is not lost for a header that nobody can read.
        (200, {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999"}, "sent", None),
        (429, {"Retry-After": "Mon, 01 Jan 99999 00:00:00 GMT"}, "refused", None),
        (
            429,
            {
                "Date": "Mon, 02 Mar 2026 09:00:00 +99999999999999",
                "Retry-After": "Fri, 02 Mar 2096 09:00:00 GMT",
            },
            "refused",
            86400.0,
        ),
        (500, {}, "refused", None),
        (502, {}, "refused", None),
        (502, {"Retry-After": "30"}, "refused", 30.0),
        (504, {"Retry-After": "30"}, "refused", 30.0),
        (503, {}, "refused", None),
        (999, {}, "refused", None),
    ],
)
async def test_a_status_is_reported_as_it_is(
    open_: Open,
    http_server: HTTPServers,
    status: int,
    headers: dict[str, str],
    kind: str,
    retry_after: float | None,
) -> None:
    server = await http_server()
    server.status, server.headers = status, headers
    outcome = await open_("webhook", "default", signed_with(server)).send(message({}))
    assert (outcome.kind, outcome.retry_after) == (kind, retry_after)
    assert (outcome.code, outcome.stage) == (f"http_{status}", "request")
    assert outcome.detail == ("" if retry_after is None else f"Retry-After: {retry_after:g}")
    assert outcome.response == {"status": status}
    assert len(server.requests) == 1


async def test_what_a_messages_own_endpoint_says_is_not_said_of_the_adapter(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    server.status = 401
    channel = open_("webhook", "default", {"secret": SECRET})
    outcome = await channel.send(message({"url": server.url}))
    assert (outcome.kind, outcome.code, outcome.stage) == ("refused", "http_401", "endpoint")


async def test_a_reply_that_never_comes_may_mean_sent(
    open_: Open, http_server: HTTPServers
) -> None:
    server = await http_server()
    server.silent = True
    settings = ChannelSettings(allow_http=True, allow_private=True, timeout=0.2)
    channel = open_("webhook", "default", signed_with(server), settings=settings)
    outcome = await channel.send(message({}))
    assert (outcome.kind, outcome.code) == ("maybe_sent", "timeout")
    assert len(server.requests) == 1


async def test_a_lost_reply_may_mean_sent(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    server.status = None
    outcome = await open_("webhook", "default", signed_with(server)).send(message({}))
    assert (outcome.kind, outcome.code) == ("maybe_sent", "connection_lost")


async def test_an_endless_reply_is_cut_short(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    server.body = "x" * 10_000_000
    outcome = await open_("webhook", "default", signed_with(server)).send(message({}))
    assert outcome.kind == "sent"
    assert "xxx" not in repr(outcome)


async def test_cookies_are_not_kept(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    server.headers = {"Set-Cookie": "session=1"}
    channel = open_("webhook", "default", signed_with(server))
    await channel.send(message({}))
    await channel.send(message({}))
    assert "Cookie" not in server.requests[1][0].headers


async def test_proxies_from_the_environment_are_ignored(
    open_: Open, http_server: HTTPServers, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    server = await http_server()
    outcome = await open_("webhook", "default", signed_with(server)).send(message({}))
    assert outcome.kind == "sent"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"headers": {"X-Tag": "a\r\nX-Evil: b"}}, "invalid_header"),
        ({"headers": {"X-Tag\r\nX-Evil": "b"}}, "invalid_header"),
        ({"headers": {"X-Tag": "día"}}, "invalid_header"),
        ({"headers": {"Webhook-Id": "mine"}}, "invalid_header"),
        ({"headers": {"Host": "elsewhere"}}, "invalid_header"),
        ({"headers": ["X-Tag"]}, "invalid_header"),
        ({"method": "CONNECT"}, "invalid_method"),
        ({"url": 5}, "url_refused"),
        ({"url": 0}, "url_refused"),
        ({"url": "no url"}, "url_refused"),
    ],
)
async def test_a_payload_that_cannot_be_sent_safely_fails(
    open_: Open, http_server: HTTPServers, payload: dict[str, Any], code: str
) -> None:
    server = await http_server()
    outcome = await open_("webhook", "default", signed_with(server)).send(message(payload))
    assert (outcome.kind, outcome.code) == ("failed", code)
    assert server.requests == []


async def test_a_webhook_without_any_url_fails(open_: Open) -> None:
    outcome = await open_("webhook", "default", {"secret": SECRET}).send(message({}))
    assert (outcome.kind, outcome.code) == ("failed", "url_refused")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_a", "a"])
def test_a_malformed_secret_is_refused_at_once_and_not_shown(open_: Open, secret: str) -> None:
    with pytest.raises(InvalidAdapter, match="secret is not base64"):
        open_("webhook", "default", {"secret": secret})


def test_the_secret_is_not_in_an_adapters_repr() -> None:
    adapter = Adapter(UUID(int=0), None, "a", "webhook", "default", {}, {"secret": SECRET})
    assert SECRET not in repr(adapter)


@pytest.mark.parametrize(("interim", "kind"), [(1, "sent"), (3, "sent"), (50_000, "maybe_sent")])
async def test_interim_replies_are_few(open_: Open, interim: int, kind: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        channel = open_("webhook", "default", {"url": url, "secret": SECRET})
        outcome = await channel.send(message({"body": {}}))
        await channel.aclose()
    assert outcome.kind == kind
    assert kind == "sent" or outcome.detail == "too many interim replies"


async def test_what_is_below_every_status_is_reported_with_its_three_digits(open_: Open) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        outcome = await open_("webhook", "default", {"url": url, "secret": SECRET}).send(
            message({"body": {}})
        )
    assert (outcome.kind, outcome.code) == ("refused", "http_099")


@pytest.mark.parametrize("own_url", [True, False])
async def test_a_messages_own_host_that_hangs_takes_no_place_from_its_sender(
    open_: Open, http_server: HTTPServers, own_url: bool
) -> None:
    server, silent = await http_server(), await http_server()
    silent.silent = True
    settings = ChannelSettings(allow_http=True, allow_private=True, timeout=0.2)
    account = {"secret": "whsec_c2VjcmV0"} | ({"url": server.url} if own_url else {})
    channel = open_("webhook", "default", account, {"max_in_flight": 4}, settings)
    before = channel.places
    sending = asyncio.create_task(channel.send(message({"url": silent.url})))
    while not silent.requests:
        await asyncio.sleep(0.01)
    assert channel.places - before == (1 if own_url else 0), "its own place is not the server's"
    assert (await sending).kind == "maybe_sent"
    assert channel.places == before
    assert before == (1 if own_url else 4)
