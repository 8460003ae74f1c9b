"""Creating and removing the queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.errors import NotStarted, PgmqMissing
from tests.engine import TENANT, Engine

QUEUES = ["dripdrop_hooks", "dripdrop_render", "dripdrop_send_email", "dripdrop_send_webhook"]


def queues(engine: Engine) -> list[str]:
    return [q.queue_name for q in engine.rows("select queue_name from pgmq.meta order by 1")]


def test_stopping_removes_the_queues(engine: Engine) -> None:
    rows = [row for row in engine.stop() if row.object in QUEUES]
    assert [(row.object, row.action) for row in rows] == [(queue, "dropped") for queue in QUEUES]
    assert queues(engine) == []


def test_stopping_twice_is_the_same_as_once(engine: Engine) -> None:
    engine.stop()
    assert engine.stop() == []


def test_starting_creates_the_queues(engine: Engine) -> None:
    engine.stop()
    rows = [row for row in engine.start() if row.object in QUEUES]
    assert [(row.object, row.action) for row in rows] == [(queue, "created") for queue in QUEUES]
    assert queues(engine) == QUEUES


def test_starting_twice_keeps_the_queues_and_what_is_in_them(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.tick()
    rows = [row for row in engine.start() if row.object in QUEUES]
    assert [row.action for row in rows] == ["kept"] * len(QUEUES)
    assert engine.render() == 1


def test_starting_again_makes_the_installation_ready(engine: Engine) -> None:
    engine.stop()
    engine.start()
    assert engine.startup_check() == []


def test_starting_needs_pgmq(engine: Engine) -> None:
    engine.connection.execute("drop schema pgmq cascade")
    with engine.refused(PgmqMissing):
        engine.start()


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.tick(),
        lambda engine: engine.claim_renders(),
        lambda engine: engine.claim_sends("email"),
    ],
    ids=["tick", "claim_renders", "claim_sends"],
)
def test_nothing_runs_before_the_start(engine: Engine, call: Callable[[Engine], Any]) -> None:
    engine.author()
    engine.join()
    engine.stop()
    with engine.refused(NotStarted):
        call(engine)


def test_what_was_under_way_is_found_again_after_a_stop_and_a_start(engine: Engine) -> None:
    engine.author()
    for name in ("sam", "eve"):
        engine.join(name)
    engine.tick()
    claim = engine.claim_renders(1)[0]
    engine.complete_renders(
        [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "payload": {"subject": "Hello", "text": "Hello"},
            }
        ]
    )
    engine.stop()
    engine.start()
    assert engine.reconcile().repointed == 2
    engine.render()
    assert len(engine.claim_sends("email")) == 2
    assert len(engine.list_active_enrollments(TENANT)) == 2
