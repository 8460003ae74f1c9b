from __future__ import annotations

from typing import Any

import psycopg
import pytest

from dripdrop.channels import ChannelSettings
from dripdrop.outgoing.reach import Unsendable
from dripdrop.outgoing.urlguard import check_url, is_public

from .conftest import HTTPServers, Open, message

pytestmark = pytest.mark.anyio

REACH = ChannelSettings(allow_http=True, allow_private=True)
GUARDED = ChannelSettings(allow_http=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[fc00::1]",
        "[fe80::1]",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
    ],
)
async def test_no_spelling_of_a_private_address_is_reached(
    open_: Open, http_server: HTTPServers, host: str
) -> None:
    server = await http_server()
    port = server.url.rpartition(":")[2]
    channel = open_("webhook", "default", {"secret": "whsec_c2VjcmV0"}, settings=GUARDED)
    outcome = await channel.send(message({"url": f"http://{host}:{port}/"}))
    assert (outcome.kind, outcome.code) == ("failed", "url_refused")
    assert server.requests == []


async def test_a_redirect_to_a_private_address_is_not_followed(
    open_: Open, http_server: HTTPServers
) -> None:
    server, secret = await http_server(), await http_server()
    server.status, server.headers = 307, {"Location": secret.url}
    channel = open_("webhook", "default", {"secret": "whsec_c2VjcmV0"})
    outcome = await channel.send(message({"url": server.url}))
    assert (outcome.kind, outcome.code) == ("refused", "http_307")
    assert secret.requests == []


async def test_a_providers_base_url_is_guarded_too(open_: Open, http_server: HTTPServers) -> None:
    server = await http_server()
    credentials = {"api_key": "server-token", "base_url": server.url}
    channel = open_("email", "postmark", credentials, settings=GUARDED)
    payload = {"text": "Hi", "from": "hello@example.org"}
    assert (await channel.send(message(payload))).code == "url_refused"
    assert server.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.255.255.255",
        "100.127.255.255",
        "127.255.255.255",
        "169.254.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2002:a00:1::",
        "2002:a9fe:a9fe::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_a_special_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"],
)
def test_a_global_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com",
        "https://",
        "https:///path",
        "http://example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://user@example.com",
        "https://user:pass@example.com",
        "https://example.com:port",
        "https://example.com:99999/",
        "https://example.com/\n",
        " https://example.com/",
        f"https://example.com/{'x' * 70_000}",
    ],
)
def test_a_url_that_is_not_plain_https_is_refused(url: str) -> None:
    with pytest.raises(Unsendable) as refusal:
        check_url(url, ChannelSettings())
    assert refusal.value.code == "url_refused"
    assert "pass" not in refusal.value.detail.replace("password", "")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com", "example.com"),
        ("HTTPS://Example.COM:8443/a@b", "example.com"),
        ("hTTp://127.0.0.1:1/", "127.0.0.1"),
        ("http://[::1]:5?x", "[::1]"),
        ("https://münchen.example#x", "münchen.example"),
        ("https://a_b.example/{{ x }}", "a_b.example"),
        ("http:///h", None),
        ("http://h;x@y/", None),
        ("http://u:p@h/", None),
        ("http://h\\x", None),
        ("http://\th/", None),
        ("http://h\n/", None),
        (" http://h/", None),
        ("http://a b/", None),
        ("http://h:1:1/", None),
        ("http://h:/", None),
        ("http://[::1", None),
        ("http://[::1]x/", None),
        ("http://*.example/", None),
        ("http://%31%32%37.0.0.1:1/", None),
        ("https:{{ h }}", None),
        ("//h/", None),
        (f"http://{'a' * 300}.example/", None),
    ],
)
def test_driver_and_database_read_the_same_host(
    db: psycopg.Connection[Any], url: str, host: str | None
) -> None:
    read = db.execute("select dripdrop._url_host(%s)", [url]).fetchone()
    assert read == (host,)
    if host is None:
        with pytest.raises(Unsendable) as refusal:
            check_url(url, REACH)
        assert refusal.value.code == "url_refused"
    else:
        parsed = check_url(url, REACH).host or ""
        assert parsed.lower() == host.strip("[]")


def test_a_blank_in_a_url_stays_a_blank() -> None:
    url = check_url("https://example.com/a b?c d+e", ChannelSettings())
    assert url.raw_path_qs == "/a%20b?c%20d+e"


def test_plain_http_is_allowed_only_by_the_settings() -> None:
    assert check_url("http://example.com/a", ChannelSettings(allow_http=True)).host == "example.com"
