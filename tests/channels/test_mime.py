from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dripdrop.channels.mime import Email
from dripdrop.mailbox import Mailbox
from dripdrop.outgoing.reach import Unsendable

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


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(words)
def test_any_subject_arrives_intact(subject: str) -> None:
    assert decoded(HELLO | {"subject": subject}, "Subject") == subject


@pytest.mark.slow
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


bodies = st.text(st.sampled_from(" \t\n.=_-\u00e9\U0001f600aB:>"), min_size=1, max_size=400)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(text=bodies, html=bodies, width=st.integers(1, 40))
def test_both_bodies_arrive_intact_in_short_lines(text: str, html: str, width: int) -> None:
    payload = HELLO | {"text": text * width, "html": html * width}
    assert max(map(len, wire(payload).split(b"\r\n"))) <= 78
    mail = parsed(payload)
    plain, rich = mail.iter_parts()
    for part, written in ((plain, text * width), (rich, html * width)):
        assert isinstance(part, EmailMessage)
        assert body(part) == written.removesuffix("\n") + "\n"


def test_a_body_that_has_the_boundary_in_it_is_no_part_of_its_own() -> None:
    first = parsed(HELLO | {"html": "<p>Hello</p>"})
    mark = f"--{first.get_boundary()}"
    text = f"Hello\n{mark}\nContent-Type: text/html\n\nBye\n{mark}--\n"
    mail = parsed(HELLO | {"text": text, "html": "<p>Hello</p>"})
    assert mail.get_boundary() == first.get_boundary()
    plain, _ = mail.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert body(plain) == text


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


BREAKS = ["\t", "\r", "\n", "\r\n", "\x00", "\x0b", "\x1b", "\x85", "\u2028", "\r\n\t"]


@pytest.mark.parametrize("control", BREAKS)
def test_a_line_break_or_control_character_in_a_header_is_a_blank(control: str) -> None:
    text = f"Hello{control}Bcc: eve@example.com"
    payload = HELLO | {"subject": text, "headers": {"X-Tag": text}}
    payload |= {"from": f'"{text}" <a@example.org>', "reply_to": f"{text} <b@example.org>"}
    mail = parsed(payload)
    assert mail["Subject"] == mail["X-Tag"] == "Hello Bcc: eve@example.com"
    for header, address in (("From", "a@example.org"), ("Reply-To", "b@example.org")):
        (mailbox,) = mail[header].addresses
        assert mailbox.display_name == "Hello Bcc: eve@example.com"
        assert mailbox.addr_spec == address
    assert mail["Bcc"] is None


@pytest.mark.parametrize("control", BREAKS)
@pytest.mark.parametrize("field", ["from", "reply_to"])
def test_a_line_break_in_an_address_is_refused(field: str, control: str) -> None:
    with pytest.raises(Unsendable) as refusal:
        wire(HELLO | {field: f"a@example.org{control}b"})
    assert refusal.value.code == "invalid_header"


hostile = st.text(
    st.sampled_from(' \t\r\n\0\x0b\x85\u2028:;<>()@,."\\\\=?aBé\U0001f600'), max_size=300
)
HEADERS = {"From", "To", "Reply-To", "Subject", "Date", "Message-ID", "X-Tag"}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(subject=hostile, name=hostile, tag=hostile, word=st.integers(0, 1200))
def test_no_value_adds_a_header_nor_makes_a_line_too_long(
    subject: str, name: str, tag: str, word: int
) -> None:
    name = str(Mailbox(name.strip() + "x" * word, "a@example.org"))
    payload = {"subject": subject + "x" * word, "headers": {"X-Tag": tag + "x" * word}}
    head, _, _ = wire(HELLO | payload | {"from": name, "reply_to": name}).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(set(line) & {*b"\r\n\0"} or not line.strip() for line in lines)
    begun = [line.partition(b":")[0].decode() for line in lines if line[:1] not in b" \t"]
    assert set(begun) - HEADERS <= {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert len(begun) == len(set(begun))


@pytest.mark.parametrize("length", [900, 989, 990, 1200, 5000])
@pytest.mark.parametrize("header", ["Subject", "X-Tag", "From", "Reply-To"])
def test_a_long_text_without_a_blank_arrives_in_short_lines(header: str, length: int) -> None:
    text = "x" * length
    mailbox = f"{text} <a@example.org>"
    fields: dict[str, dict[str, Any]] = {
        "Subject": {"subject": text},
        "X-Tag": {"headers": {"X-Tag": text}},
        "From": {"from": mailbox},
        "Reply-To": {"reply_to": mailbox},
    }
    payload = HELLO | fields[header]
    assert max(map(len, wire(payload).split(b"\r\n"))) <= 998
    expected = mailbox if header in ("From", "Reply-To") else text
    assert decoded(payload, header) == expected


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab,;.", min_size=1, max_size=60), min_size=1, max_size=60))
def test_folding_adds_and_loses_no_blank(texts: list[str]) -> None:
    subject = " ".join(texts)
    assert decoded(HELLO | {"subject": subject}, "Subject") == subject


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"Acme, Inc." <a@example.org>', "Acme, Inc."),
        ("Acme, Inc. <a@example.org>", "Acme, Inc."),
        ("Acme (EU) <a@example.org>", "Acme (EU)"),
        ('"Say \\"hi\\"" <a@example.org>', 'Say "hi"'),
        ("O'Neil & Sons: <a@example.org>", "O'Neil & Sons:"),
        ('"a@b.example" <a@example.org>', "a@b.example"),
        ("a@b.example <a@example.org>", "a@b.example"),
        ('"Zoë, GmbH" <a@example.org>', "Zoë, GmbH"),
        ('"<x>" <a@example.org>', "<x>"),
        ("<a@example.org>", ""),
        ("a@example.org", ""),
    ],
)
def test_a_sender_is_read_as_people_write_it(written: str, name: str) -> None:
    (mailbox,) = parsed(HELLO | {"from": written})["From"].addresses
    assert (mailbox.display_name, mailbox.addr_spec) == (name, "a@example.org")


@pytest.mark.parametrize("name", ["", "X Tag", "X-Tag:", "X-Tag\n", "X-Täg", "X\x00"])
def test_a_malformed_header_name_is_refused(name: str) -> None:
    with pytest.raises(Unsendable) as refusal:
        wire(HELLO | {"headers": {name: "value"}})
    assert refusal.value.code == "invalid_header"


@pytest.mark.parametrize(
    "name",
    [
        *("To", "cc", "BCC", "Resent-To", "Resent-Cc", "resent-bcc"),
        *("X-SMTPAPI", "X-MSYS-API", "X-MC-BccAddress"),
        *("From", "Message-ID", "Content-Type", "Date"),
    ],
)
def test_a_header_that_is_the_engines_or_adds_recipients_is_refused(name: str) -> None:
    with pytest.raises(Unsendable) as refusal:
        wire(HELLO | {"headers": {name: "eve@example.com"}})
    assert refusal.value.code == "invalid_header"


@pytest.mark.parametrize(
    "recipient",
    ["", "ada", "@example.com", "ada@", "a@example.com, b@example.com", "Ada <a@example.com>"],
)
def test_a_recipient_is_exactly_one_address(recipient: str) -> None:
    with pytest.raises(Unsendable) as refusal:
        Email.read(message(HELLO, recipient), None)
    assert refusal.value.code == "invalid_address"


@pytest.mark.parametrize(
    "sender",
    [
        *("", "nobody", "a@example.org, b@example.org", "A <a@example.org>, B <b@example.org>"),
        *("A <>", "A <a@example.org", f"{'a' * 250}@example.org", "Acme <a b@example.org>"),
    ],
)
def test_a_sender_is_exactly_one_address(sender: str) -> None:
    with pytest.raises(Unsendable) as refusal:
        wire(HELLO | {"from": sender})
    assert refusal.value.code == "invalid_address"


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
    with pytest.raises(Unsendable) as refusal:
        wire(HELLO | payload)
    assert refusal.value.code == code
