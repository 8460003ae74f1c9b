"""Connection strings: what is understood, and that no error holds a password."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import psycopg
import pytest

from dripdrop.connections import connect
from dripdrop.dsn import InvalidDsn, redacted, understood
from tests.driver.command import dripdrop


@pytest.mark.parametrize(
    "scheme",
    [
        "postgresql",
        "postgres",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+asyncpg",
        "POSTGRES",
    ],
)
def test_every_usual_spelling_of_the_scheme_is_understood(scheme: str) -> None:
    assert understood(f"{scheme}://u:s3cret@h/db") == "postgresql://u:s3cret@h/db"


def test_asyncpgs_word_for_tls_is_understood() -> None:
    dsn = understood("postgresql+asyncpg://u:p@h/db?ssl=require&application_name=x")
    assert dsn == "postgresql://u:p@h/db?sslmode=require&application_name=x"


@pytest.mark.parametrize(
    "dsn",
    [
        "host=/tmp dbname=app",
        "postgresql:///app?host=/tmp",
        "postgresql://one:5432,two:5433/app",
        "postgresql://u:s3%40cret@[::1]:5432/app",
        "service=app",
    ],
)
def test_what_libpq_takes_stays_as_it_is(dsn: str) -> None:
    assert understood(dsn) == dsn


MALFORMED = [
    "postgresql://u:s3cret%zz@h/db",
    "postgresql://u:%zzs3cret@h/db",
    "postgresql://u:s3cret@x@h/db",
    "postgresql://u:x@s3cret@h/db",
    "postgresql://u:s3cret/x@h/db",
    "postgresql://u:x/s3cret@h/db",
    "postgresql://u:12/s3cret@h/db",
    "postgresql://u:s3cret?x@h/db",
    "postgresql://u:x?s3cret=1@h/db",
    "postgresql://u:x s3cret@h/db",
    "postgresql://u:s3cret\0@h/db",
    "postgresql://u:s3cret\udcff@h/db",
    "postgresql://u:s3cret@h:54x2/db",
    "postgresql://u:s3cret@h:99999/db",
    "postgresql://u:s3cret@h/db?sslmod=require",
    "postgresql://h/db?password=x&s3cret",
    "mysql://u:s3cret@h/db",
    "host=h password=x s3cret",
    "host=h password=x s3cret=1",
    "host=h password='s3cret",
    "s3cret",
]


@pytest.mark.parametrize("dsn", MALFORMED)
@pytest.mark.parametrize("command", ["install", "check", "run", "web", "pauses", "adapters"])
def test_whatever_is_wrong_with_a_dsn_no_command_repeats_it(dsn: str, command: str) -> None:
    refused = dripdrop(command, "--dsn", dsn)
    assert refused.returncode == 1
    assert refused.stderr.startswith("dripdrop: the connection string is malformed: ")
    assert "\nhint: " in refused.stderr
    assert "s3cret" not in refused.stdout + refused.stderr


@pytest.mark.parametrize("dsn", MALFORMED)
def test_an_error_of_the_driver_does_not_repeat_it_either(dsn: str) -> None:
    with pytest.raises(InvalidDsn) as refused:
        connect(dsn)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))
    assert "s3cret" not in refused.value.hint


def test_an_option_that_is_nearly_right_is_named_as_it_should_be() -> None:
    with pytest.raises(InvalidDsn, match="there is sslmode"):
        understood("postgresql://h/db?sslmod=require")


def test_a_server_that_cannot_be_reached_is_told_without_the_password() -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        connect("postgresql://u:127.0.0.1@127.0.0.1:9/db")
    assert "127.0.0.1" not in str(refused.value)
    assert "[redacted]" in str(refused.value)


@pytest.mark.parametrize("password", ["s3 cr/et", "p%40ss@", "q\"u'o\\te", "x"])
def test_a_password_is_redacted_however_it_is_encoded(password: str) -> None:
    dsn = f"postgresql://u:{quote(password, safe='')}@h/db"
    texts = [password, quote(password), quote(password, safe=""), repr(password)]
    for text in texts:
        assert password not in redacted(f'refused: "{text}"', dsn).replace("x-", "")
    assert redacted("extra text", dsn) == "extra text"
