"""The log of what became of messages: reports, and that they were sent."""

from __future__ import annotations

from tests.conftest import Clock
from tests.engine import TENANT, Engine


def log(engine: Engine) -> list[tuple[object, ...]]:
    """Return what the log says of which messages, the oldest first."""
    return [
        tuple(row)
        for row in engine.rows(
            "select step_execution_id, event_type, event_data ->> 'reason' as reason, provider,"
            " provider_message_id, occurred_at, tenant_key from dripdrop.message_events"
            " order by occurred_at, event_type"
        )
    ]


def test_a_sent_message_is_in_the_log_once(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    (message,) = engine.executions(sam.id)
    engine.deliver(code="smtp_250", provider_message_id="p-1")
    assert log(engine) == [(message.id, "sent", "smtp_250", "smtp", "p-1", clock.now, TENANT)]
    assert engine.rows("select from dripdrop.message_reports") == []


def test_the_log_outlives_a_deleted_message(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.deliver(code="smtp_250", provider_message_id="p-1")
    before = log(engine)
    engine.rows("delete from dripdrop.enrollments returning 1")
    assert log(engine) == before
    assert engine.rows("select from dripdrop.step_executions") == []


def test_what_was_never_sent_leaves_nothing_when_it_is_deleted(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.rows("delete from dripdrop.enrollments returning 1")
    assert log(engine) == []
