from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dripdrop.channels.base import InvalidMessage
from dripdrop.channels.mime import Email

from .conftest import message

HELLO = {"subject": "Hello", "text": "Hello Ada", "from": "hello@example.org"}

words = st.lists(
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40),
    min_size=1,
    max_size=8,
).map(" ".join)


def wire(payload: dict[str, Any]) -> bytes:
    return Email.read(message(payload), None).as_bytes()


def parsed(payload: dict[str, Any]) -> EmailMessage:
    mail = message_from_bytes(wire(payload), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def body(mail: EmailMessage) -> str:
    content: str = mail.get_content()
    return content.replace("\r\n", "\n")


def decoded(payload: dict[str, Any], header: str) -> str:
    raw = message_from_bytes(wire(payload), policy=policy.compat32)[header]
    return str(make_header(decode_header(raw.replace("\r\n", ""))))


@settings(max_examples=100, deadline=None)
@given(words)
def test_any_subject_arrives_intact(subject: str) -> None:
    assert decoded(HELLO | {"subject": subject}, "Subject") == subject


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=0xA1, max_codepoint=0x24F), min_size=1, max_size=90))
def test_any_sender_name_arrives_intact(name: str) -> None:
    payload = HELLO | {"from": f'"{name}" <hello@example.org>'}
    assert decoded(payload, "From") == f"{name} <hello@example.org>"


@settings(max_examples=50, deadline=None)
@given(words)
def test_any_body_arrives_intact(text: str) -> None:
    assert body(parsed(HELLO | {"text": text})) == f"{text}\n"


def test_a_name_with_a_comma_stays_one_name() -> None:
    (sender,) = parsed(HELLO | {"from": '"Lovelace, Ada" <ada@example.org>'})["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Lovelace, Ada", "ada@example.org")


def test_a_subject_that_looks_encoded_is_not_decoded() -> None:
    subject = "=?utf-8?q?Bcc=3A_eve?="
    assert decoded(HELLO | {"subject": subject}, "Subject") == subject


def test_space_around_a_subject_goes() -> None:
    assert parsed(HELLO | {"subject": "\n Hello \n"})["Subject"] == "Hello"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Unsubscribe", f"<https://example.org/{'u' * 200}>"),
        ("In-Reply-To", f"<{'m' * 90}@mail.example.org>"),
    ],
)
def test_a_long_header_is_not_encoded(name: str, value: str) -> None:
    assert f"{name}: {value}\r\n".encode() in wire(HELLO | {"headers": {name: value}})


def test_two_bodies_are_alternatives_with_the_text_first() -> None:
    mail = parsed(HELLO | {"html": "<p>Grüße</p>"})
    assert mail.get_content_type() == "multipart/alternative"
    parts = [part.get_content_type() for part in mail.iter_parts()]
    assert parts == ["text/plain", "text/html"]
    html = mail.get_body(("html",))
    assert isinstance(html, EmailMessage)
    assert body(html) == "<p>Grüße</p>\n"


def test_html_alone_is_one_part() -> None:
    mail = parsed({"subject": "Hi", "html": "<p>Hi</p>", "from": "hello@example.org"})
    assert mail.get_content_type() == "text/html"


def test_the_wire_is_seven_bit_with_crlf() -> None:
    content = wire(HELLO | {"subject": "Grüße", "text": "Zoë\nÅngström\n", "html": "<p>ü</p>"})
    assert content.isascii()
    assert content.count(b"\n") == content.count(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) <= 998


def test_the_date_is_the_attempts() -> None:
    assert parsed(HELLO)["Date"] == "Mon, 02 Mar 2026 09:00:00 +0000"


def test_no_header_tells_of_the_engine() -> None:
    assert sorted(parsed(HELLO).keys()) == [
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ]


def test_extra_headers_are_sent() -> None:
    mail = parsed(HELLO | {"reply_to": "Ada <ada@example.org>", "headers": {"X-Tag": "día"}})
    assert mail["Reply-To"] == "Ada <ada@example.org>"
    assert mail["X-Tag"] == "día"


@pytest.mark.parametrize("control", ["\r", "\n", "\x00", "\x0b", "\x85", "\u2028"])
@pytest.mark.parametrize("field", ["subject", "from", "reply_to", "header"])
def test_a_control_character_in_a_header_is_refused(field: str, control: str) -> None:
    value = f"a@example.org{control}b"
    payload = {"headers": {"X-Tag": value}} if field == "header" else {field: value}
    with pytest.raises(InvalidMessage) as refusal:
        wire(HELLO | payload)
    assert refusal.value.outcome.code == "invalid_header"


@pytest.mark.parametrize("name", ["", "X Tag", "X-Tag:", "X-Tag\n", "X-Täg", "X\x00"])
def test_a_malformed_header_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        wire(HELLO | {"headers": {name: "value"}})
    assert refusal.value.outcome.code == "invalid_header"


@pytest.mark.parametrize(
    "name",
    [
        *("To", "cc", "BCC", "Resent-To", "Resent-Cc", "resent-bcc"),
        *("X-SMTPAPI", "X-MSYS-API", "X-MC-BccAddress"),
        *("From", "Message-ID", "Content-Type", "Date"),
    ],
)
def test_a_header_that_is_the_engines_or_adds_recipients_is_refused(name: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        wire(HELLO | {"headers": {name: "eve@example.com"}})
    assert refusal.value.outcome.code == "invalid_header"


@pytest.mark.parametrize(
    "recipient",
    ["", "ada", "@example.com", "ada@", "a@example.com, b@example.com", "Ada <a@example.com>"],
)
def test_a_recipient_is_exactly_one_address(recipient: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        Email.read(message(HELLO, recipient), None)
    assert refusal.value.outcome.code == "invalid_address"


@pytest.mark.parametrize("sender", ["", "nobody", "a@example.org, b@example.org"])
def test_a_sender_is_exactly_one_address(sender: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        wire(HELLO | {"from": sender})
    assert refusal.value.outcome.code == "invalid_address"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"text": None}, "empty_body"),
        ({"text": ""}, "empty_body"),
        ({"text": 5}, "invalid_body"),
        ({"headers": ["X-Tag"]}, "invalid_header"),
    ],
)
def test_a_payload_of_the_wrong_shape_is_refused(payload: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        wire(HELLO | payload)
    assert refusal.value.outcome.code == code
