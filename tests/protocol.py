"""A sender in a few lines, speaking the SQL protocol on a connection, and journeys to send.

Nothing here renders or sends: messages are given a fixed payload, and outcomes are made up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

Connection: TypeAlias = psycopg.Connection[Any]

EMAIL = {"subject": "Hello", "text": "Hello {{ name }}"}
PAYLOAD = {"subject": "Hello", "text": "Hello Sam"}


def add_adapter(
    db: Connection,
    name: str = "Mail",
    channel: str = "email",
    provider: str = "smtp",
    tenant: str | None = None,
) -> UUID:
    """Create a default sender of a channel; return its id."""
    row = db.execute(
        """
        select id from dripdrop.create_channel_adapter(
          %s, %s, %s, %s, credentials => %s, is_default => true
        )
        """,
        # An envelope as the vault makes one (version, key id, nonce, ciphertext, tag), of nothing.
        [tenant, name, channel, provider, "AQ" + "A" * 62],
    ).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def step(key: str, **fields: Any) -> dict[str, Any]:
    """Return a step's document: an email that is due at once, unless `fields` say otherwise."""
    template: dict[str, Any] = EMAIL if fields.get("channel", "email") == "email" else {}
    return {"key": key, "channel": "email", "template": template, **fields}


def days(number: int) -> dict[str, Any]:
    """Return the timing of a delay in days."""
    return {"type": "delay", "delay_amount": number, "delay_unit": "days"}


def add_sequence(
    db: Connection,
    *steps: dict[str, Any],
    tenant: str | None = None,
    key: str = "welcome",
    **fields: Any,
) -> None:
    """Apply a sequence of these steps: one email at once, and one after a day, if none."""
    steps = steps or (step("first"), step("second", timing=days(1)))
    definition = {"key": key, "name": key, "steps": steps, **fields}
    db.execute("select dripdrop.apply(%s, %s)", [tenant, Jsonb(definition)])


def enroll(
    db: Connection, subscriber: str = "1", tenant: str | None = None, key: str = "welcome"
) -> UUID:
    """Enrol a subscriber whose address is named after them; return the enrolment's id."""
    row = db.execute(
        "select id from dripdrop.enroll(%s, %s, 'User', %s, %s)",
        [tenant, key, subscriber, Jsonb({"email": f"{subscriber}@example.com"})],
    ).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def tick(db: Connection) -> Any:
    """Run one tick; return its counts."""
    return db.execute("select * from dripdrop.tick()").fetchone()


def render(db: Connection) -> int:
    """Render all there is to render; return how many were."""
    claims = db.execute("select * from dripdrop.claim_renders()").fetchall()
    results = [
        {"execution": c.execution_id, "fence": c.fence, "message": c.message_id, "payload": PAYLOAD}
        for c in claims
    ]
    row = db.execute("select dripdrop.complete_renders(%s)", [as_json(results)]).fetchone()
    assert row is not None
    return int(row[0])


def claim(
    db: Connection, channel: str = "email", lease: timedelta = timedelta(minutes=2)
) -> list[Any]:
    """Claim what may be sent over a channel."""
    return db.execute(
        "select * from dripdrop.claim_sends(%s, lease => %s)", [channel, lease]
    ).fetchall()


def ready(db: Connection) -> list[Any]:
    """Tick, render and claim: return what is now being sent by email."""
    tick(db)
    render(db)
    return claim(db)


def record(db: Connection, claims: Iterable[Any], outcome: str = "sent", **fields: Any) -> int:
    """Record the same outcome for all claims; return how many were recorded."""
    results = [
        {"execution": c.execution_id, "fence": c.fence, "outcome": outcome, **fields}
        for c in claims
    ]
    row = db.execute("select dripdrop.complete_sends(%s)", [as_json(results)]).fetchone()
    assert row is not None
    return int(row[0])


def send(db: Connection, outcome: str = "sent", **fields: Any) -> int:
    """Take everything due through the pipeline to one outcome; return how many were recorded."""
    return record(db, ready(db), outcome, **fields)


def as_json(document: Any) -> Jsonb:
    """Wrap a document for a jsonb parameter; uuids become text."""
    return Jsonb(document, dumps=lambda value: json.dumps(value, default=str))


def execution(db: Connection, enrollment: UUID, step_key: str = "first") -> Any:
    """Return the row of a step of an enrolment, None when the step has none."""
    return db.execute(
        """
        select x.*
        from dripdrop.step_executions as x
        join dripdrop.steps as s on s.id = x.step_id
        where x.enrollment_id = %s and s.key = %s
        """,
        [enrollment, step_key],
    ).fetchone()


def enrollment_row(db: Connection, enrollment: UUID) -> Any:
    """Return the row of an enrolment."""
    return db.execute("select * from dripdrop.enrollments where id = %s", [enrollment]).fetchone()


def ledger(db: Connection) -> list[Any]:
    """Return the rows that are out of place: none, ever."""
    return db.execute("select * from dripdrop.ledger").fetchall()


def queue(db: Connection, name: str) -> list[Any]:
    """Return the pointers in a queue: rows of execution and fence."""
    return db.execute(
        f"""
        select (message ->> 'execution')::uuid as execution, (message ->> 'fence')::int as fence
        from pgmq.q_dripdrop_{name}
        order by msg_id
        """
    ).fetchall()


def query_waits(db: Connection, backend: int) -> bool:
    """Whether a backend waits for a lock that somebody else holds."""
    row = db.execute("select cardinality(pg_blocking_pids(%s)) > 0", [backend]).fetchone()
    assert row is not None
    return bool(row[0])
