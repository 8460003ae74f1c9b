"""Hooks go out through the guard: to public addresses, and only where they were told to."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from dripdrop.channels import ChannelSettings
from tests.hooks.conftest import GUARDED, Endpoint, called, described

pytestmark = pytest.mark.anyio

BLOCKED = {"error": "url_blocked"}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "①②⑦.⓪.⓪.①",
    ],
)
async def test_no_spelling_of_a_private_address_is_called(endpoint: Endpoint, host: str) -> None:
    port = endpoint.url.rpartition(":")[2]
    hook = described(f"http://{host}:{port}/", retry_count=5)
    assert await called(hook, settings=GUARDED) == BLOCKED
    assert endpoint.requests == []


@pytest.mark.slow
async def test_a_host_from_a_variable_is_guarded_too(endpoint: Endpoint) -> None:
    port = endpoint.url.rpartition(":")[2]
    hook = described(f"http://{{{{ host }}}}:{port}/")
    assert await called(hook, {"host": "127.0.0.1"}, GUARDED) == BLOCKED
    assert endpoint.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("host", ["a@127.0.0.1", "127.0.0.1/", "127.0.0.1#", "127.0.0.1:80"])
async def test_a_variable_cannot_bring_another_part_of_the_url(
    endpoint: Endpoint, host: str
) -> None:
    hook = described("http://{{ host }}.example.com/")
    assert "error" in await called(hook, {"host": host})
    assert endpoint.requests == []


async def test_plain_http_is_blocked_unless_it_is_allowed(endpoint: Endpoint) -> None:
    assert await called(described(endpoint.url), settings=ChannelSettings()) == BLOCKED
    assert endpoint.requests == []


async def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    endpoint.answers = [(302, "")]
    endpoint.headers["Location"] = endpoint.url + "/secret"
    assert (await called(described(endpoint.url)))["error"] == "http_302"
    assert [request.target for request in endpoint.requests] == ["/"]


async def test_a_name_is_resolved_once_and_what_it_gave_is_checked(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a second look would say, there is none."""
    resolved: list[Any] = []
    port = int(endpoint.url.rpartition(":")[2])

    def getaddrinfo(host: Any, *_: Any, **__: Any) -> list[Any]:
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    hook = described(f"http://rebound.example.com:{port}/", retry_count=5)
    assert await called(hook, settings=GUARDED) == BLOCKED
    assert [host for host in resolved if host == "rebound.example.com"] == ["rebound.example.com"]
    assert endpoint.requests == []
