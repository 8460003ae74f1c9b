"""The application's ids are taken as they are: from triggers, from queries and from Python."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dripdrop.client import Client
from dripdrop.errors import InvalidArgument
from tests.engine import TENANT, Engine

SAM = UUID("0190c3f2-5b1e-7cc3-a000-00000000002a")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((column, "42") for column in ("bigint", "int", "smallint", "numeric")),
        *((column, "sam") for column in ("text", "varchar(20)", "name")),
        ("uuid", str(SAM)),
    ],
)
def test_a_trigger_passes_the_ids_of_its_row(engine: Engine, column: str, value: str) -> None:
    engine.author()
    for statement in (
        f"create table users (id {column}, email text)",
        f"create table orders (id {column}, user_id {column})",
        """
        create function greet() returns trigger language plpgsql as $$
        begin
          perform dripdrop.enroll(
            'acme', 'onboarding', 'User', new.id, jsonb_build_object('email', new.email)
          );
          return new;
        end $$
        """,
        """
        create function follow_up() returns trigger language plpgsql as $$
        begin
          perform dripdrop.enroll(
            'acme', 'onboarding', 'User', new.user_id, '{"email": "sam@example.com"}',
            entry_key => new.id
          );
          perform dripdrop.track_event(
            'acme', 'ordered', subscriber_id => new.user_id, event_id => 'order-' || new.id
          );
          perform dripdrop.set_subscription(
            'acme', 'User', new.user_id, 'news', 'subscribed', 'shop'
          );
          return new;
        end $$
        """,
        "create trigger greet after insert on users for each row execute function greet()",
        "create trigger follow after insert on orders for each row execute function follow_up()",
    ):
        engine.connection.execute(statement.encode())
    engine.create_topic(TENANT, "news", "News")
    engine.rows("insert into users values (%s, 'sam@example.com') returning 1", value)
    engine.rows("insert into orders values (%s, %s) returning 1", value, value)
    enrolled = engine.list_enrollments(TENANT, "User", value)
    assert [row.entry_key for row in enrolled] == [value, ""]
    assert [row.subscriber_id for row in engine.rows("select * from dripdrop.events")] == [value]
    (news,) = engine.get_subscriptions(TENANT, "User", value)
    assert news.subscribed
    for call in (
        "dripdrop.get_enrollment('acme', 'onboarding', 'User', o.user_id, o.id)",
        "dripdrop.list_enrollments('acme', 'User', o.user_id)",
        "dripdrop.list_messages('acme', 'User', o.user_id)",
        "dripdrop.get_subscriptions('acme', 'User', o.user_id)",
        "dripdrop.update_subscriber('acme', 'User', o.user_id, '{\"name\": \"Sam\"}')",
        "dripdrop.unenroll_subscriber('acme', 'User', o.user_id)",
        "dripdrop.export_subscriber('acme', 'User', o.user_id)",
        "dripdrop.erase_subscriber('acme', 'User', o.user_id)",
    ):
        assert engine.rows(f"select r.* from orders as o cross join {call} as r"), call


def test_texts_and_literals_mean_what_they_meant(engine: Engine) -> None:
    engine.author()
    for call in (
        "'acme', 'onboarding', 'User', 'sam', '{\"email\": \"s@example.com\"}'",
        "'acme', 'onboarding', 'User', 'sam', '{\"email\": \"s@example.com\"}', ''",
        "'acme', 'onboarding', 'User', 'sam', entry_key => null, data => '{}'",
        "'acme', 'onboarding', 'User', 'sam'::text",
        "'acme', 'onboarding', 'User', subscriber_id => 'sam', starting_step => null",
    ):
        engine.rows(f"select dripdrop.enroll({call})")
    assert len(engine.list_enrollments(TENANT)) == 1
    (numbered,) = engine.rows(
        "select (dripdrop.enroll('acme', 'onboarding', 'User', 7, '{\"email\": \"s@x.org\"}',"
        " 'order-7')).entry_key"
    )
    assert numbered == ("order-7",)


@pytest.mark.parametrize("name", [42, SAM, "42"])
def test_python_passes_ids_as_it_has_them(engine: Engine, name: Any) -> None:
    engine.author()
    text = str(name)
    data = {"email": "sam@example.com"}
    sam = engine.enroll(TENANT, "onboarding", "User", name, data, entry_key=name)
    assert (sam.subscriber_id, sam.entry_key) == (text, text)
    assert engine.get_enrollment(TENANT, "onboarding", "User", name, name) == sam
    event = engine.track_event(TENANT, "ordered", subscriber_id=name, event_id=name)
    assert (event.subscriber_id, event.event_id) == (text, text)
    (listed,) = engine.enroll_many(
        TENANT, "onboarding", [{"subscriber_id": name, "entry_key": name, "data": data}]
    )
    assert listed.id == sam.id
    assert engine.list_enrollments(TENANT, "User", name)[0].id == sam.id


def test_a_document_holds_what_python_has(engine: Engine) -> None:
    engine.author()
    data = {
        "email": "sam@example.com",
        "at": datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=1))),
        "utc": datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        "day": date(2026, 3, 2),
        "time": time(9, 30),
        "id": SAM,
        "price": Decimal("19.90"),
        "exact": Decimal("12345678901234567890.123456789"),
        "whole": Decimal("1E+3"),
        "list": [Decimal("-0.5"), {"deep": Decimal(7)}],
        "text": '"0.5"',
    }
    sam = engine.enroll(TENANT, "onboarding", "User", 42, data)
    (written,) = engine.rows("select data::text from dripdrop.enrollments where id = %s", sam.id)
    kept = json.loads(written.data, parse_float=str)
    assert kept == {
        "email": "sam@example.com",
        "at": "2026-03-02T09:30:00+01:00",
        "utc": "2026-03-02T09:30:00+00:00",
        "day": "2026-03-02",
        "time": "09:30:00",
        "id": str(SAM),
        "price": "19.90",
        "exact": "12345678901234567890.123456789",
        "whole": 1000,
        "list": ["-0.5", {"deep": 7}],
        "text": '"0.5"',
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "sNaN", "1e400", "1e-100000"])
def test_a_decimal_that_is_no_number_of_json_is_refused(engine: Engine, number: str) -> None:
    with pytest.raises(InvalidArgument, match=r"data\.price"):
        engine.enroll(TENANT, "onboarding", "User", 42, {"price": Decimal(number)})


def test_a_connection_of_another_driver_is_told_where_the_right_one_is() -> None:
    class Psycopg2:
        """A connection that psycopg knows nothing of."""

        def cursor(self, name: str | None = None) -> None:
            """Take what that driver takes."""

    for connection in (Psycopg2(), object()):
        with pytest.raises(TypeError, match=r"driver_connection.*ensure_connection.*psycopg2"):
            Client(connection).version()  # type: ignore[arg-type]
