"""What must not be written down is taken out, whatever its spelling; the rest stays."""

from __future__ import annotations

import base64
import html
import json
import quopri
from collections.abc import Callable
from io import StringIO
from urllib.parse import quote, quote_plus, urlencode

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from dripdrop.process.log import logging_to
from dripdrop.redaction import strings, without, without_people

SECRET = 'S3cr et/+"x\\yé&<'


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def units(character: str) -> list[bytes]:
    """Return the units of UTF-16."""
    encoded = character.encode("utf-16-be")
    return [encoded[at : at + 2] for at in range(0, len(encoded), 2)]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": lambda secret: secret.upper() if secret.isascii() else secret,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON, all escaped": lambda secret: "".join(
        f"\\u{unit.hex().upper()}" for each in secret for unit in units(each)
    ),
    "repr": lambda secret: repr(secret)[1:-1],
    "a URL": lambda secret: quote(secret, safe=""),
    "a URL's path": quote,
    "a URL in lower case": lambda secret: quote(secret, safe="").lower(),
    "a form": quote_plus,
    "HTML": html.escape,
    "HTML, all escaped": lambda secret: "".join(f"&#x{ord(each):X};" for each in secret),
    "HTML in decimals": lambda secret: "".join(f"&#{ord(each)};" for each in secret),
    "quoted-printable": lambda secret: quopri.encodestring(secret.encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "base64": b64,
    "base64 without padding": lambda secret: b64(secret).rstrip("="),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "basic": lambda secret: b64(f"ada:{secret}"),
    "basic, one further": lambda secret: b64(f"adam:{secret}"),
    "plain": lambda secret: b64(f"\0ada@example.com\0{secret}"),
    "in base64 of a form": lambda secret: b64(f"p={secret}&x=1"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("secret", [SECRET, "hunter2!", "long " * 50, "päßwörd-🔑"])
def test_a_secret_is_taken_out_in_every_spelling(
    secret: str, spelling: Callable[[str], str]
) -> None:
    spelled = spelling(secret)
    left = without(f"before {spelled} after", [secret])
    assert left.split()[0] == "before"
    assert "[redacted]" in left
    for at in range(0, len(spelled) - 12, 4):
        assert spelled[at : at + 12] not in left.replace("after", "").replace("before", "")


@pytest.mark.slow
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=6, max_size=40),
    st.sampled_from(sorted(SPELLINGS)),
)
def test_any_secret_is_taken_out(secret: str, spelling: str) -> None:
    spelled = SPELLINGS[spelling](secret)
    assert spelled not in without(f"< {spelled} >", [secret])


def test_a_short_secret_is_a_word_of_its_own() -> None:
    assert without("abc abcd xabc (abc)", ["abc"]) == "[redacted] abcd xabc ([redacted])"


def test_each_long_line_of_a_secret_is_taken_out() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END KEY-----"
    assert "MIIEv" not in without("bad line MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", [key])


def test_an_empty_secret_takes_nothing_out() -> None:
    assert without("some text", ["", " "]) == "some text"


def test_the_strings_of_credentials_are_found_at_any_depth() -> None:
    assert [*strings({"a": "x", "b": [{"c": "y"}, 1, None], "d": True})] == ["x", "y"]


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 <sam@example.com>: Recipient address rejected",
        "no sam%40example.com here",
        "SRS0=x=y=example.com=sam+40example.com@relay.example",
        'user "sam smith"@example.com is unknown',
        "sam=40example.com",
        "sam&#64;example.com",
        "sam\\u0040example.com",
        "sam\uff20example.com",
        "<sam@[192.0.2.1]>",
        "sam@bücher.example",
        f"echo {b64('sam@example.com')}",
        f"334 {b64('sam')}{b64('@example.com')}",
        "postgresql://sam:s3cret@db.example.com/app",
        "http://sam:pw@example.com/",
        urlencode({"to": "sam@example.com"}),
    ],
)
def test_an_address_is_taken_out_in_every_spelling(text: str) -> None:
    left = without_people(text)
    assert "[redacted]" in left
    for part in ("sam", "example.com", "bücher", b64("sam@example.com")[:8]):
        assert part not in left.replace("<[redacted]>", "")


@pytest.mark.parametrize(
    "number",
    ["+15551234567", "+1 (555) 123-4567", "15551234567", "+49 30 901820", "(555) 123-4567 8"],
)
def test_a_number_is_taken_out(number: str) -> None:
    assert without_people(f"to {number}: not reachable") == "to [redacted]: not reachable"


@pytest.mark.parametrize(
    "text",
    [
        "550 5.7.1 message refused, see https://support.example.com/mail/answer/81126",
        "queued as 4Xy7kR2z9bz",
        "at 192.0.2.1:25 [2001:db8::1]",
        "execution 019c1234-5678-7abc-8def-0123456789ab",
        '  File "/usr/local/lib/python3.11/site-packages/aiosmtplib/smtp.py", line 1023, in send',
        "2026-03-02T09:00:00+00:00 and 2026-03-02 09:15:00",
        "rate limit exceeded: 1000 per 86400 seconds, 98765432 bytes",
        "http_429 smtp_550 connect_error Certificate_Verify_Failed STARTTLS unsubscribed",
        "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
        'queue "dripdrop_send_email" does not exist',
    ],
)
def test_what_is_about_nobody_stays(text: str) -> None:
    assert without_people(text) == text


def test_a_line_of_the_log_is_about_nobody_at_any_depth() -> None:
    stream = StringIO()
    with logging_to(stream):
        log = structlog.get_logger("dripdrop")
        try:
            raise ValueError("no such user: <sam@example.com>")
        except ValueError:
            log.exception("failed", counts={"sam@example.com": [1, ("+15551234567",)]})
        log.info("sent", who=ValueError("sam@example.com"), many=2, fine=True, none=None)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["counts"] == {"[redacted]": [1, ["[redacted]"]]}
    assert "Traceback" in first["exception"]
    assert (second["who"], second["many"], second["fine"]) == ("[redacted]", 2, True)
    assert "sam" not in stream.getvalue()
