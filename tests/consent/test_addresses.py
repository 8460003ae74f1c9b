"""An address has one form, however it is written."""

from __future__ import annotations

import re
from typing import Any

import idna
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dripdrop.errors import InvalidArgument
from tests.engine import TENANT, Engine

Db = psycopg.Connection[Any]


def normalized(db: Db, recipient: str, channel: str = "email") -> Any:
    """Return an address as others are compared with it."""
    return db.execute("select dripdrop._normalized(%s, %s)", [channel, recipient]).fetchone()[0]  # type: ignore[index]


def is_recipient(db: Db, recipient: str) -> Any:
    """Return whether mail can go to an address."""
    row = db.execute(
        "select dripdrop._is_address('mailbox', dripdrop._normalized('email', %s))", [recipient]
    ).fetchone()
    return row and row[0]


@pytest.mark.parametrize(
    "written",
    [
        "\ufeffsam@example.com",
        "sam@example.com\u200b",
        "\u00a0sam@example.com\u00a0",
        "sam\u00ad@exam\u200bple.com",
        "\u202asam@example.com\u202c",
        "\r\n\t sam@example.com \f\v",
        "\u2003Sam@Example.COM\u3000",
        "\u200dsam@example.com",
    ],
)
def test_what_nobody_sees_is_no_part_of_an_address(engine: Engine, written: str) -> None:
    assert normalized(engine.connection, written) == "sam@example.com"
    engine.suppress(TENANT, "email", written)
    assert engine.is_suppressed(TENANT, "email", "sam@example.com")
    engine.author()
    assert engine.join(data={"email": written}).state == "active"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sam@bücher.example", "sam@xn--bcher-kva.example"),
        ("SAM@BÜCHER.Example", "sam@XN--BCHER-KVA.example"),
        ("sam@bu\u0308cher.example", "sam@bücher.example"),
        ("sam@bücher\u3002example", "sam@bücher.example"),
        ("sam@\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.com", "sam@example.com"),
        ("sam@ПРИМЕР.испытание", "sam@пример.испытание"),
        ("sam@例え.テスト", "sam@xn--r8jz45g.xn--zckzah"),
    ],
)
def test_a_domain_has_one_form_in_whatever_script(engine: Engine, one: str, other: str) -> None:
    engine.author()
    for written, asked in ((one, other), (other, one)):
        engine.suppress(TENANT, "email", written)
        assert engine.is_suppressed(TENANT, "email", asked)
        engine.unsuppress(TENANT, "email", asked, "kim", "test")
        engine.suppress(TENANT, "email", written[written.index("@") :])
        assert engine.is_suppressed(TENANT, "email", asked)
        engine.unsuppress(TENANT, "email", asked[asked.index("@") :], "kim", "test")


def test_a_message_to_a_domain_in_another_script_goes_to_its_ascii_form(engine: Engine) -> None:
    engine.author()
    engine.join(data={"email": "Sam@Bücher.example"})
    assert [claim.recipient for claim in engine.claim()] == ["sam@xn--bcher-kva.example"]


letters = st.characters(categories=["Ll", "Lo"], max_codepoint=0xFFFF)


@pytest.mark.slow
@given(label=st.text(st.one_of(st.sampled_from("abcxyz019-"), letters), min_size=1, max_size=30))
@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_labels_are_written_as_python_writes_punycode(db: Db, label: str) -> None:
    row = db.execute("select dripdrop._ascii_label(%s)", [label]).fetchone()
    expected = label if label.isascii() else "xn--" + label.encode("punycode").decode()
    assert row is not None
    assert row[0] == expected


@pytest.mark.parametrize("domain", ["STRAẞE.de", "Ελλάδα.gr", "ЖЁЛТЫЙ.рф", "ŁÓDŹ.pl", "ČESKÝ.cz"])
def test_domains_are_written_as_the_idna_library_writes_them(db: Db, domain: str) -> None:
    if "ẞ" in domain:
        domain = domain.replace("ẞ", "ß")
    expected = idna.encode(domain, uts46=True).decode()
    assert normalized(db, f"sam@{domain}") == f"sam@{expected}"


@pytest.mark.parametrize(
    "address",
    [
        "test.@iana.org",
        ".test@iana.org",
        "te..st@iana.org",
        "test@-iana.org",
        "test@iana-.org",
        "test@iana.-org",
        "test@iana.org-",
        "test@mail-.iana.org",
        "l" * 65 + "@example.com",
        "sam@" + "x" * 64 + ".org",
        "sam@iana." + "x" * 64,
        "sam@" + ".".join(["x" * 62] * 4) + ".com",
        '"sam"@example.com',
        "sam@[192.0.2.1]",
        "sam@127.0.0.1",
        "sam@1.2",
        "sam@\uff11\uff12.\uff11",
        "sam@7",
        "sam@exam_ple.com",
        "sam@example.com.",
        "jörg@example.com",
        "sam@" + "ü" * 63 + ".org",
        "s" * 5_000_000 + "@example.com",
    ],
)
def test_what_no_server_takes_is_no_recipient(db: Db, address: str) -> None:
    assert is_recipient(db, address) is False


@pytest.mark.parametrize(
    "address",
    [
        "l" * 64 + "@example.com",
        "sam@" + "x" * 63 + ".org",
        "sam@a--b.example",
        "a.b.c@x-y.co.uk",
        "s@1.example",
        "s@example.x1",
        "-sam-@example.com",
        "o'neil+news@example.com",
    ],
)
def test_what_a_server_may_take_is_a_recipient(db: Db, address: str) -> None:
    assert is_recipient(db, address) is True


@pytest.mark.parametrize("pattern", ["@*.example.com", "*@example.com", "@*", "sam@*.com"])
def test_a_pattern_is_no_address(engine: Engine, pattern: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.suppress(TENANT, "email", pattern)
    assert "@example.com" in (refusal.value.diag.message_hint or "")
    assert "subdomain" in (refusal.value.diag.message_hint or "")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"recipient": "x@example.com", "expires_at": "2020-01-01"}, "expires_at"),
        ({"recipient": "x@example.com", "expires_at": "some time"}, "expires_at"),
        ({"recipient": "x@example.com", "expires_at": "infinity"}, "expires_at"),
        ({"recipient": "x@example.com", "expires_at": "9999-01-01"}, "expires_at"),
        ({"recipient": "nobody"}, "recipient"),
        ({"recipient": "@*.example.com"}, "recipient"),
        ({"recipient": "x@example.com", "metadata": {"a": 10**400}}, "metadata.a"),
    ],
)
def test_the_place_of_a_bad_element_is_named(
    engine: Engine, bad: dict[str, Any], field: str
) -> None:
    good = {"channel": "email", "recipient": "eve@example.com", "expires_at": "2027-01-01"}
    with engine.refused(InvalidArgument) as refusal:
        engine.suppress_many(TENANT, [good, good, {"channel": "email"} | bad, good])
    assert refusal.value.diag.message_detail == "Element 3 of the suppressions."
    assert refusal.value.diag.column_name == field


def test_a_message_does_not_repeat_an_address_of_megabytes(engine: Engine) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.suppress(TENANT, "email", "s" * 5_000_000)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "written",
    [
        "\u202a+49 151 2345 6789\u202c",
        "+49\u00a0151\u00a023456789",
        "\uff0b\uff14\uff1915123456789",
        "+49\u2011151\u201123456789",
    ],
)
def test_a_number_may_be_copied_from_anywhere(db: Db, written: str) -> None:
    assert re.fullmatch(r"\+4915123456789", normalized(db, written, "sms"))
