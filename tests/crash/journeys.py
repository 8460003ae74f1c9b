"""Journeys through crashes, and what must be true of them in the end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.daemon.process import ENVIRONMENT
from tests.daemon.servers import MailServer
from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine, after, email

STEPS = ("one", "two", "three")


def author(engine: Engine, mail: MailServer, **config: Any) -> None:
    """Make a sequence of three emails, a day apart, with their steps' names as subjects."""
    account = {"host": "127.0.0.1", "port": mail.port, "security": "none"}
    sender = account | {"from": "hello@acme.example"}
    engine.create_channel_adapter(TENANT, "email", "email", "smtp", config=sender, is_default=True)
    engine.author(
        *(
            email(
                step,
                template={"subject": "{{ step_key }}", "text": "Hello"},
                # What is days late here is late because a test lets days pass.
                config={"on_stale": "send"} | config,
                timing=after(1, "days") if number else {"type": "immediate"},
            )
            for number, step in enumerate(STEPS)
        )
    )


def let_claims_pass(engine: Engine) -> None:
    """Let the minute pass for which a renderer that died keeps its messages from others.

    The queue goes by the machine's clock, which no test can set.
    """
    engine.rows(
        "select pgmq.set_vt('dripdrop_render', msg_id, 0) from pgmq.q_dripdrop_render"
        " where vt > clock_timestamp()"
    )


def do_what_is_due(dsn: str) -> None:
    """Let a daemon that nothing happens to do what is due."""
    result = dripdrop("run", "--once", "--dsn", dsn, **ENVIRONMENT)
    assert result.returncode == 0, result.stderr


def is_idle(engine: Engine) -> bool:
    """Whether nothing is due and nothing under way."""
    (row,) = engine.rows(
        "select count(*) as n from dripdrop.step_executions"
        " where due_at <= dripdrop._now() or state in ('queued', 'rendered', 'sending')"
    )
    return bool(row.n == 0)


def uncertain(engine: Engine) -> set[UUID]:
    """Return the executions that nobody alive knows the fate of."""
    rows = engine.rows(
        "select id from dripdrop.step_executions where state in ('sending', 'unknown')"
    )
    return {row.id for row in rows}


def has_ended(engine: Engine) -> bool:
    """Whether every enrolment has come to its end."""
    return not engine.rows("select from dripdrop.enrollments where state = 'active'")


def check(engine: Engine, mail: MailServer, doubted: set[UUID], *, repeats: bool) -> None:
    """Check that nothing is lost; that nothing came twice, or with `repeats` only what was doubted.

    `doubted` are the executions whose fate was uncertain at some time.
    """
    assert engine.ledger() == []
    assert {row.state for row in engine.rows("select state from dripdrop.enrollments")} == {
        "completed"
    }
    executions = {
        (row.recipient, row.key): row
        for row in engine.rows(
            "select x.*, s.key from dripdrop.step_executions as x"
            " join dripdrop.steps as s on s.id = x.step_id"
        )
    }
    people = engine.rows("select count(*) as n from dripdrop.enrollments")[0].n
    assert len(executions) == people * len(STEPS)
    assert {row.state for row in executions.values()} == {"sent"}

    arrived = {(each.recipient, each.subject) for each in mail.mails}
    assert arrived <= executions.keys()
    missing = [executions[each] for each in executions.keys() - arrived]
    twice = [executions[each] for each in mail.repeated()]
    if repeats:
        assert not missing
        assert {row.id for row in twice} <= doubted
    else:
        assert not twice
        assert {row.reason for row in missing} <= {"presumed_sent"}
        assert {row.id for row in missing} <= doubted
