"""The client: the catalogue's functions, on the caller's connection."""

from __future__ import annotations

import base64
import inspect
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from dripdrop.client import AsyncClient, Client
from dripdrop.errors import SequenceNotFound
from dripdrop.statements import Statements

DEFINITION = {
    "key": "onboarding",
    "name": "Onboarding",
    "steps": [
        {
            "key": "welcome",
            "channel": "email",
            "template": {"subject": "Welcome", "text": "Hello {{ name }}"},
        }
    ],
}


def declared() -> dict[str, list[tuple[str, bool]]]:
    """Return (parameter, has a default) of every declared function."""
    return {
        name: [
            (parameter.name, parameter.default is not parameter.empty)
            for parameter in list(inspect.signature(method).parameters.values())[1:]
        ]
        for name, method in vars(Statements).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def test_the_declarations_are_those_of_the_catalogue(db: psycopg.Connection[Any]) -> None:
    rows = db.execute("""
        select
          proname,
          coalesce(proargnames[:pronargs], '{}') as names,
          pronargs - pronargdefaults as required
        from pg_proc
        where pronamespace = 'dripdrop'::regnamespace
          and prorettype <> 'trigger'::regtype
          and not starts_with(proname, '_')
        order by pronargs
    """).fetchall()
    required: dict[str, int] = {}
    for row in rows:  # of overloads the one with the fewest says what must be given
        required.setdefault(row.proname, row.required)
    assert declared() == {
        row.proname: [
            (name, place >= required[row.proname]) for place, name in enumerate(row.names)
        ]
        for row in rows
    }


@pytest.mark.slow
def test_what_is_given_to_a_call_is_no_part_of_its_statement(
    db: psycopg.Connection[Any], dsn: str
) -> None:
    """So that neither pg_stat_statements nor the server's log of statements has it."""
    sealed, again = ("AQ" + letter * 62 for letter in "AB")
    with psycopg.connect(dsn) as connection:
        client = Client(connection)
        pid = connection.info.backend_pid
        statement = "select query from pg_stat_activity where pid = %s"
        adapter = client.create_channel_adapter("acme", "mail", "email", "smtp", sealed)
        assert sealed not in db.execute(statement, [pid]).fetchone().query  # type: ignore[union-attr]
        (row,) = client.sealed_adapters()
        envelope = base64.b64decode(again)
        assert client.reseal_adapter("acme", adapter.id, envelope, row.credentials)
        (said,) = db.execute(statement, [pid]).fetchone()  # type: ignore[misc]
        assert "reseal_adapter" in said
        assert again not in said
        assert envelope.hex() not in said
        client.suppress("acme", "email", "sam@example.com")
        (said,) = db.execute(statement, [pid]).fetchone()  # type: ignore[misc]
        assert "sam@example.com" not in said


@pytest.mark.slow
def test_a_call_belongs_to_the_callers_transaction(db: psycopg.Connection[Any], dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        client = Client(connection)
        client.apply(None, DEFINITION)
        client.enroll(None, "onboarding", "User", "1", {"email": "ada@example.com"})
        connection.rollback()
    assert db.execute("select count(*) as n from dripdrop.sequences").fetchone() == (0,)


def test_one_row_comes_back_as_a_named_tuple(db: psycopg.Connection[Any]) -> None:
    client = Client(db)
    version = client.apply(None, DEFINITION)
    assert (version.version, version.state) == (1, "active")


def test_a_row_that_is_not_there_is_none(db: psycopg.Connection[Any]) -> None:
    client = Client(db)
    client.apply(None, DEFINITION)
    assert client.get_enrollment(None, "onboarding", "User", "nobody") is None


def test_rows_come_back_as_a_list(db: psycopg.Connection[Any]) -> None:
    client = Client(db)
    client.apply(None, DEFINITION)
    for number in ("1", "2"):
        client.enroll(None, "onboarding", "User", number, {"email": f"{number}@example.com"})
    enrollments = client.list_active_enrollments(None)
    assert sorted(enrollment.subscriber_id for enrollment in enrollments) == ["1", "2"]


def test_a_parameter_left_out_takes_the_default_of_sql(db: psycopg.Connection[Any]) -> None:
    sequence = Client(db).create_sequence(None, "welcome", "Welcome")
    assert (sequence.reentry, sequence.metadata) == ("never", {})


def test_a_document_may_hold_what_sql_would_take_for_its_own(db: psycopg.Connection[Any]) -> None:
    metadata = {"quote": "it's 100 % {} \\ “so”", "list": [1, None, True]}
    sequence = Client(db).create_sequence(None, "welcome", "Welcome", metadata=metadata)
    assert sequence.metadata == metadata


def test_times_have_a_zone(db: psycopg.Connection[Any]) -> None:
    sequence = Client(db).create_sequence(None, "welcome", "Welcome")
    assert sequence.inserted_at.astimezone(UTC) <= datetime.now(UTC)


def test_an_unknown_parameter_is_refused_before_the_database(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(TypeError, match="sequnce"):
        Client(db).list_active_enrollments(None, sequnce="onboarding")  # type: ignore[call-arg]


def test_a_refusal_is_an_error_of_its_own(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(SequenceNotFound):
        Client(db).enroll(None, "nowhere", "User", "1")


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_async_client_does_the_same(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        client = AsyncClient(connection)
        await client.apply(None, DEFINITION)
        enrolled = await client.enroll(
            None, "onboarding", "User", "1", {"email": "ada@example.com"}
        )
        (listed,) = await client.list_active_enrollments(None)
        assert listed.id == enrolled.id
        assert await client.version() == "0.1.0"
