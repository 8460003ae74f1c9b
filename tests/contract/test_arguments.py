"""No argument is so long, so far away or so large that it ends in anything but a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dripdrop.errors import DripdropError, InvalidArgument, InvalidTenantKey
from tests.contract.test_documents import SAMPLES
from tests.engine import TEMPLATE, TENANT, Engine, email, onboarding

Db = psycopg.Connection[Any]


def arguments(db: Db, kind: str) -> list[tuple[str, str, dict[str, str]]]:
    """Return the public functions' parameters of a type, each with what to pass beside it."""
    rows = db.execute(
        """
        select p.proname, a.name, format_type(a.type, null) as type,
          a.place > p.pronargs - p.pronargdefaults as optional
        from pg_proc as p
        cross join unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[])
          with ordinality as a (name, type, place)
        where p.pronamespace = 'dripdrop'::regnamespace and not starts_with(p.proname, '_')
        order by p.proname, a.place
        """
    ).fetchall()
    samples = SAMPLES | {
        "bytea": "'x'",
        "date[]": "'{}'",
        "regprocedure": "'now()'",
        "uuid[]": "'{}'",
        "text[]": "'{}'",
    }
    return [
        (
            row.proname,
            row.name,
            {
                each.name: samples.get(each.type, "null")
                for each in rows
                if each.proname == row.proname and not each.optional and each.name != row.name
            },
        )
        for row in rows
        if row.type == kind
    ]


def call(db: Db, function: str, parameter: str, beside: dict[str, str], value: Any) -> None:
    """Call a function with one strange argument."""
    db.execute(
        sql.SQL("select * from dripdrop.{}({})").format(
            sql.Identifier(function),
            sql.SQL(", ").join(
                [sql.SQL("{} => %s").format(sql.Identifier(parameter))]
                + [
                    sql.SQL("{} => {}").format(sql.Identifier(name), sql.SQL(sample))
                    for name, sample in beside.items()
                ]
            ),
        ),
        [value],
    )


@pytest.mark.parametrize(
    "text",
    [pytest.param("a" * 2_000_000, marks=pytest.mark.slow), "é1 " * 1_500, "$.a" * 900],
    ids=len,
)
def test_a_long_text_is_taken_or_refused_in_short(db: Db, text: str) -> None:
    """No index row that is too large, no minutes of parsing, no megabytes in a message."""
    found = arguments(db, "text")
    assert len(found) > 100
    for function, parameter, beside in found:
        begun = time.monotonic()
        try:
            call(db, function, parameter, beside, text)
        except (DripdropError, psycopg.DataError) as refusal:
            length = len(str(refusal))
            assert length < 2000, (function, parameter)
        assert time.monotonic() - begun < 5, (function, parameter)


UNSEEN = [
    "\x85",
    "\xad",
    "\u061c",
    "\u200b",
    "\u200d",
    "\u2028",
    "\u202e",
    "\u2066",
    "\u3164",
    "\ufeff",
]
UNSEEN += ["\U000e0041"]
BLANK = [" ", "\xa0", "\u3000 \u2003"]

TENANTS_OF_WRONG_FORM = ["a\tb", "a\nb", "a\x7fb", ":a", "", "t" * 501]
TENANTS_OF_WRONG_FORM += [*(f"a{each}b" for each in UNSEEN), *BLANK]


@pytest.mark.parametrize("tenant", TENANTS_OF_WRONG_FORM)
def test_a_tenant_key_has_no_control_characters(engine: Engine, tenant: str) -> None:
    with engine.refused(InvalidTenantKey):
        engine.create_channel_adapter(tenant, "email", "email", "smtp")


@pytest.mark.parametrize(
    "name",
    [
        *("hook:s:score", "a:b", ":", "a\tb", "a\nb", "a\x7f", "n" * 201, "é" * 101, ""),
        *(f"a{each}b" for each in UNSEEN),
        *UNSEEN,
        *BLANK,
    ],
)
def test_a_sender_has_a_name_that_looks_like_no_other(engine: Engine, name: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.create_channel_adapter(TENANT, name, "email", "smtp")
    assert refusal.value.diag.column_name == "name"


@pytest.mark.parametrize("name", ["Acme Ltd", "Ačmé & Post № 1", "メール", "بريد", "📮"])
def test_a_sender_has_a_name_in_any_language(engine: Engine, name: str) -> None:
    assert engine.create_channel_adapter(TENANT, name, "email", "smtp").name == name


@pytest.mark.parametrize("title", ["a\u202eb", "a\u2028b", "a\u200bb", "a\nb"])
def test_a_title_has_nothing_that_cannot_be_seen(engine: Engine, title: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.create_sequence(TENANT, "welcome", title)
    assert refusal.value.diag.column_name == "name"
    assert engine.create_sequence(TENANT, "welcome", "Welcome 👩‍💻").name == "Welcome 👩‍💻"


@pytest.mark.parametrize("key", ["a:b", "a\nb", "a\n", "k" * 201, "K", "é", "", " a"])
def test_keys_are_short_and_plain(engine: Engine, key: str) -> None:
    engine.author()
    sequence = engine.get_sequence(TENANT, "onboarding")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: engine.create_sequence(TENANT, key, "A sequence"),
        lambda: engine.apply(TENANT, onboarding() | {"key": key}),
        lambda: engine.author(email(key)),
        lambda: engine.create_topic(TENANT, key, "News"),
        lambda: engine.create_http_hook(TENANT, sequence.id, key, "https://example.com"),
        lambda: engine.create_hook(TENANT, key, "now()"),
        lambda: engine.set_frequency_cap(TENANT, key, 1, timedelta(days=1)),
        lambda: engine.set_holidays(TENANT, key, []),
    )
    for refused in calls:
        with engine.refused(DripdropError):
            refused()


@pytest.mark.parametrize("title", ["a\nb", "a\tb", "t" * 201])
def test_titles_are_one_line(engine: Engine, title: str) -> None:
    engine.author()
    calls: tuple[Callable[[], Any], ...] = (
        lambda: engine.create_sequence(TENANT, "other", title),
        lambda: engine.author(email("a", name=title)),
        lambda: engine.create_topic(TENANT, "news", title),
        lambda: engine.author(goals=[{"name": title, "event": "paid"}]),
    )
    for refused in calls:
        with engine.refused(DripdropError):
            refused()


def test_the_longest_names_are_let_in(engine: Engine) -> None:
    engine.create_channel_adapter(TENANT, "n" * 200, "email", "smtp")
    engine.apply(TENANT, onboarding() | {"key": "k" * 200, "name": "Win-back: " + "n" * 190})
    engine.create_topic(TENANT, "k" * 200, "n" * 200)
    engine.author(email("s" * 200, template=TEMPLATE, config={"topic": "k" * 200}))


@pytest.mark.parametrize("value", ["infinity", "100000000 years", "-1 day"])
def test_an_interval_without_an_end_is_refused(db: Db, value: str) -> None:
    version = db.execute("show server_version_num").fetchone()
    if value == "infinity" and (version is None or int(version[0]) < 170000):
        pytest.skip("intervals are finite before 17")
    taken = []
    for function, parameter, beside in arguments(db, "interval"):
        try:
            call(db, function, parameter, beside, value)
            taken.append((function, parameter))
        except psycopg.DatabaseError as refusal:
            if not str(refusal.sqlstate).startswith(("ZD", "22008")):
                taken.append((function, parameter))
    assert set(taken) <= {("open_transactions", "older_than")}  # which only looks
