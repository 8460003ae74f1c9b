"""One call: what is sent, when it is tried again, and what it gives."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from itertools import pairwise
from typing import Any

import pytest

from dripdrop.hooks import pause_after
from tests.hooks.conftest import SECRET, Endpoint, called, described, sealed

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_the_answer_is_the_body_and_the_status(endpoint: Endpoint) -> None:
    assert await called(described(endpoint.url)) == {"response": '{"score": 85}', "status": 200}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_the_method_and_the_headers_are_sent(endpoint: Endpoint, method: str) -> None:
    await called(described(endpoint.url, method=method, headers={"X-Client": "acme"}))
    (request,) = endpoint.requests
    assert (request.method, request.headers["x-client"]) == (method, "acme")


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        json.dumps("Bearer " + SECRET),
        base64.b64encode(f"sam:{SECRET}".encode()).decode(),
        "".join(f"\\u{ord(each):04x}" for each in SECRET),
    ],
)
async def test_an_answer_holds_no_credentials_in_any_spelling(
    endpoint: Endpoint, spelled: str
) -> None:
    endpoint.answer = (200, f'{{"heard": "{spelled.strip(chr(34))}", "score": 85}}')
    fields = {"auth_type": "basic", "auth_config": sealed({"username": "sam", "password": SECRET})}
    answer = await called(described(endpoint.url, **fields))
    assert json.loads(answer["response"])["score"] == 85
    assert spelled.strip('"') not in answer["response"]


@pytest.mark.slow
async def test_a_value_in_the_url_stays_in_its_place(endpoint: Endpoint) -> None:
    hook = described(endpoint.url + "/leads/{{ subscriber_id }}/score?plan={{ plan }}")
    await called(hook, {"subscriber_id": "/../?&", "plan": "a b&c=d#ü"})
    (request,) = endpoint.requests
    assert request.target == "/leads/%2F..%2F%3F&/score?plan=a%20b%26c%3Dd%23%C3%BC"


@pytest.mark.slow
@pytest.mark.parametrize("value", [".", ".."])
async def test_a_value_that_would_lead_to_another_path_is_refused(
    endpoint: Endpoint, value: str
) -> None:
    hook = described(endpoint.url + "/leads/{{ subscriber_id }}")
    assert await called(hook, {"subscriber_id": value}) == {"error": "hook_render_failed"}
    assert endpoint.requests == []


@pytest.mark.slow
async def test_a_value_in_the_body_stays_in_its_string(endpoint: Endpoint) -> None:
    name = 'Sam "The Man"\n\\", "admin": true, "x": "'
    body = '{"name": "{{ name }}", "age": {{ age }}, "tags": {{ tags | json }}}'
    await called(
        described(endpoint.url, body_template=body), {"name": name, "age": 7, "tags": ["ü", '"']}
    )
    (request,) = endpoint.requests
    assert json.loads(request.body) == {"name": name, "age": 7, "tags": ["ü", '"']}
    assert request.headers["content-type"] == "application/json"


@pytest.mark.slow
async def test_a_value_cannot_break_out_where_no_string_is(endpoint: Endpoint) -> None:
    hook = described(endpoint.url, body_template='{"age": {{ age }}}')
    assert await called(hook, {"age": '1, "admin": true'}) == {"error": "hook_render_failed"}
    assert endpoint.requests == []


@pytest.mark.slow
async def test_a_value_in_a_form_stays_in_its_field(endpoint: Endpoint) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    hook = described(endpoint.url, headers=form, body_template="name={{ name }}&a=1")
    await called(hook, {"name": "Sam&a=2"})
    (request,) = endpoint.requests
    assert request.body == "name=Sam%26a%3D2&a=1"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


async def test_without_a_template_there_is_no_body(endpoint: Endpoint) -> None:
    await called(described(endpoint.url))
    (request,) = endpoint.requests
    assert request.body == ""


@pytest.mark.slow
@pytest.mark.parametrize("part", ["url", "body_template"])
async def test_a_template_that_does_not_render_calls_nothing(endpoint: Endpoint, part: str) -> None:
    hook = described(endpoint.url) | {part: endpoint.url + "/{{ 1 | divided_by: n }}"}
    assert await called(hook, {"n": 0}) == {"error": "hook_render_failed"}
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("auth_type", "fields", "name", "value"),
    [
        ("bearer", {"token": SECRET}, "authorization", f"Bearer {SECRET}"),
        (
            "basic",
            {"username": "ada", "password": SECRET},
            "authorization",
            "Basic " + base64.b64encode(f"ada:{SECRET}".encode()).decode(),
        ),
        (
            "basic",
            {"username": SECRET},
            "authorization",
            "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode(),
        ),
        ("header", {"name": "X-Api-Key", "value": SECRET}, "x-api-key", SECRET),
    ],
)
async def test_the_credentials_are_sent(
    endpoint: Endpoint, auth_type: str, fields: dict[str, str], name: str, value: str
) -> None:
    hook = described(endpoint.url, auth_type=auth_type, auth_config=sealed(fields))
    assert (await called(hook))["status"] == 200
    (request,) = endpoint.requests
    assert request.headers[name] == value


async def test_without_credentials_no_header_is_sent(endpoint: Endpoint) -> None:
    await called(described(endpoint.url))
    (request,) = endpoint.requests
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"auth_config": None}, "missing_credentials"),
        ({"auth_config": sealed({"username": "ada"})}, "missing_credentials"),
        ({"auth_config": sealed({"token": 7})}, "missing_credentials"),
        ({"auth_config": sealed({"token": "a\r\nX-Admin: 1"})}, "invalid_header"),
        ({"auth_config": sealed({"token": SECRET}, key="other")}, "vault_error"),
        ({"auth_config": sealed({"token": SECRET}), "tenant_key": "other"}, "vault_error"),
    ],
)
async def test_credentials_that_will_not_do_call_nothing(
    endpoint: Endpoint, fields: dict[str, Any], code: str
) -> None:
    hook = described(endpoint.url, auth_type="bearer") | fields
    assert await called(hook) == {"error": code}
    assert endpoint.requests == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 600, 999])
async def test_what_may_pass_is_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, ""), (status, "")]
    answer = await called(described(endpoint.url, retry_count=2))
    assert answer == {"response": '{"score": 85}', "status": 200}
    assert len(endpoint.requests) == 3


async def test_what_does_not_pass_is_tried_as_often_as_the_hook_says(endpoint: Endpoint) -> None:
    endpoint.answer = (503, "")
    answer = await called(described(endpoint.url, retry_count=2))
    assert answer == {"error": "http_503", "status": 503}
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 422])
async def test_a_refusal_is_not_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.answer = (status, "")
    answer = await called(described(endpoint.url, retry_count=5))
    assert answer == {"error": f"http_{status}", "status": status}
    assert len(endpoint.requests) == 1


async def test_what_is_below_every_status_is_tried_again() -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 099 What\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        answer = await called(described(url, retry_count=1))
    assert (answer, asked) == ({"error": "http_099", "status": 99}, 2)


async def test_silence_times_out_each_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        answer = await called(described(url, timeout_ms=300, retry_count=1))
        assert answer == {"error": "hook_timeout"}
        silent.setblocking(False)
        for _ in range(2):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def test_where_nobody_listens_is_a_connect_error(endpoint: Endpoint) -> None:
    answer = await called(described("http://127.0.0.1:1/", retry_count=1))
    assert answer == {"error": "connect_error"}


def test_each_pause_is_twice_as_long_up_to_five_seconds() -> None:
    assert [pause_after(attempt) for attempt in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


def test_a_server_that_says_how_long_to_wait_is_heard_within_bounds() -> None:
    assert [pause_after(0, asked) for asked in (2.0, 5.0, 3600.0)] == [2.0, 5.0, 5.0]


@pytest.mark.parametrize(("headers", "pauses"), [({}, [0.1, 0.2]), ({"Retry-After": "1"}, [1.0])])
async def test_each_attempt_waits_for_its_pause(
    endpoint: Endpoint, headers: dict[str, str], pauses: list[float]
) -> None:
    endpoint.answer = (503, "")
    endpoint.headers = headers
    await called(described(endpoint.url, retry_count=len(pauses)))
    gaps = [later.at - earlier.at for earlier, later in pairwise(endpoint.requests)]
    assert len(gaps) == len(pauses)
    assert all(gap >= pause for gap, pause in zip(gaps, pauses, strict=True))


async def test_an_answer_that_is_too_large_is_refused(endpoint: Endpoint) -> None:
    endpoint.answer = (200, "x" * 65_537)
    assert await called(described(endpoint.url)) == {
        "error": "response_too_large",
        "status": 200,
    }


async def test_the_largest_answer_is_whole(endpoint: Endpoint) -> None:
    endpoint.answer = (200, "x" * 65_536)
    assert (await called(described(endpoint.url)))["response"] == endpoint.answer[1]


async def test_what_postgres_cannot_hold_is_replaced(endpoint: Endpoint) -> None:
    endpoint.answer = (200, "a\0b")
    assert (await called(described(endpoint.url)))["response"] == "a\ufffdb"


@pytest.mark.slow
async def test_a_template_that_takes_too_much_is_ended_and_calls_nothing(
    endpoint: Endpoint,
) -> None:
    greedy = (
        "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..12) %}{% assign s = s | append: s %}"
        "{% endfor %}{{ s | replace: 'a', s | size }}"
    )
    hook = described(endpoint.url, body_template=f'{{"n": {greedy}}}')
    assert await called(hook) == {"error": "hook_render_failed"}
    assert endpoint.requests == []


async def test_a_server_that_asks_for_minutes_is_left_alone_and_quoted(endpoint: Endpoint) -> None:
    endpoint.answer = (503, "")
    endpoint.headers = {"Retry-After": "600"}
    answer = await called(described(endpoint.url, retry_count=5))
    assert answer == {"error": "http_503", "status": 503, "retry_after": 600.0}
    assert len(endpoint.requests) == 1
