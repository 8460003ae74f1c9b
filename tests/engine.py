"""The engine as the tests drive it: the SQL API, a person's way through it, and what is written."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from dripdrop.client import Client
from dripdrop.errors import DripdropError

TENANT = "acme"
TEMPLATE = {"subject": "Hello {{ name }}", "text": "Hello {{ name }}"}

ENVELOPE = b64encode(b"\x01" + bytes(40)).decode()
"""What has the form of sealed credentials, and opens with no key."""

ACCOUNTS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "smtp": (None, {"host": "mail.acme.example", "from": "Acme <hello@acme.example>"}),
    "postmark": (ENVELOPE, {"from": "Acme <hello@acme.example>"}),
    "default": (ENVELOPE, {}),
}
"""By provider, the credentials and the config of a sender that could work."""


def after(amount: int, unit: str) -> dict[str, Any]:
    """Return the timing of a step that waits."""
    return {"type": "delay", "delay_amount": amount, "delay_unit": unit}


def email(key: str, **fields: Any) -> dict[str, Any]:
    """Return an email step."""
    return {"key": key, "channel": "email", "template": TEMPLATE} | fields


def onboarding(*steps: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a sequence document: by default a welcome now and a tip after three days."""
    return {
        "key": "onboarding",
        "name": "Onboarding",
        "steps": list(steps) or [email("welcome"), email("tip", timing=after(3, "days"))],
    } | fields


class Engine(Client):
    """The SQL API on one connection, for one tenant unless a test names another."""

    def author(self, *steps: Mapping[str, Any], **fields: Any) -> Any:
        """Apply the onboarding sequence and give its channels a default sender."""
        for channel, provider in (("email", "smtp"), ("webhook", "default")):
            if self.get_default_adapter(TENANT, channel) is None:
                self.create_channel_adapter(TENANT, channel, channel, provider, is_default=True)
        return self.apply(TENANT, onboarding(*steps, **fields))

    def create_channel_adapter(
        self,
        tenant_key: str | None,
        name: str,
        channel: str,
        provider: str,
        credentials: str | None = None,
        config: Any = None,
        is_default: bool = False,
        active: bool = True,
    ) -> Any:
        """Add a sender; what its provider asks for and a test has no word about is made up."""
        own, account = ACCOUNTS.get(provider, (None, {}))
        if config is None or isinstance(config, dict):
            config = account | (config or {})
        return super().create_channel_adapter(
            tenant_key,
            name,
            channel,
            provider,
            own if credentials is None else credentials,
            config,
            is_default,
            active,
        )

    def update_channel_adapter(
        self,
        tenant_key: str | None,
        adapter_id: UUID,
        credentials: str | None = None,
        config: Any = None,
        is_default: bool | None = None,
        active: bool | None = None,
    ) -> Any:
        """Change a sender; a config is completed as for a new one."""
        if isinstance(config, dict):
            for adapter in self.list_channel_adapters(tenant_key):
                if adapter.id == adapter_id:
                    config = ACCOUNTS[adapter.provider][1] | config
        return super().update_channel_adapter(
            tenant_key, adapter_id, credentials, config, is_default, active
        )

    def join(self, subscriber_id: str = "sam", **fields: Any) -> Any:
        """Enrol a user who has an email address."""
        fields.setdefault("data", {"email": f"{subscriber_id}@example.com"})
        return self.enroll(TENANT, "onboarding", "User", subscriber_id, **fields)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        return self.connection.execute(query.encode(), values).fetchall()

    def enrollment(self, enrollment_id: UUID) -> Any:
        """Return an enrolment's row."""
        return self.rows("select * from dripdrop.enrollments where id = %s", enrollment_id)[0]

    def executions(self, enrollment_id: UUID) -> list[Any]:
        """Return an enrolment's executions with their steps' keys, in the order of planning."""
        return self.rows(
            "select x.*, s.key as step, dripdrop.idempotency_key("
            "   x.enrollment_id, x.step_id, x.occurrence, x.attempt_window"
            " ) as idempotency_key"
            " from dripdrop.step_executions as x"
            " join dripdrop.steps as s on s.id = x.step_id"
            " where x.enrollment_id = %s order by x.id",
            enrollment_id,
        )

    def last(self, enrollment_id: UUID) -> Any:
        """Return the execution that was planned last."""
        return self.executions(enrollment_id)[-1]

    def render(self) -> int:
        """Render what is queued; return how many."""
        results = [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "payload": {"subject": "Hello", "text": "Hello"},
            }
            for claim in self.claim_renders()
        ]
        return int(self.complete_renders(results))

    def claim(self, channel: str = "email") -> list[Any]:
        """Let everything due go as far as the fence; return the claims."""
        self.tick()
        self.render()
        claims: list[Any] = self.claim_sends(channel)
        return claims

    def claim_one(self, channel: str = "email") -> list[Any]:
        """Let everything due go as far as the fence, and one message through it."""
        self.tick()
        self.render()
        claims: list[Any] = self.claim_sends(channel, 1)
        return claims

    def record(self, claims: list[Any], outcome: str = "sent", **result: Any) -> None:
        """Record one outcome for all claims."""
        self.complete_sends(
            [
                {"execution": str(claim.execution_id), "fence": claim.fence, "outcome": outcome}
                | result
                for claim in claims
            ]
        )

    def deliver(self, outcome: str = "sent", **result: Any) -> list[Any]:
        """Let everything due go all the way to its outcome; return the claims."""
        claims = self.claim()
        self.record(claims, outcome, **result)
        return claims

    def bring_to(self, state: str, enrollment_id: UUID) -> Any:
        """Bring an enrolment's first message to a state; return the execution."""
        if state != "scheduled":
            self.tick()
        if state not in ("scheduled", "queued"):
            self.render()
        if state in ("sending", "unknown", "sent", "failed"):
            claims = self.claim_sends("email")
            outcome = {"unknown": "maybe_sent", "sent": "sent", "failed": "failed"}.get(state)
            if outcome is not None:
                self.record(claims, outcome)
        execution = self.executions(enrollment_id)[0]
        assert execution.state == state
        return execution

    def ledger(self) -> list[str]:
        """Return what is out of place."""
        return [row.problem for row in self.rows("select problem from dripdrop.ledger")]

    def contents(self) -> dict[str, str]:
        """Return the contents of every table of the engine and of its queues."""
        tables = self.rows(
            "select schemaname as schema, tablename as name from pg_tables"
            " where schemaname = 'dripdrop' or (schemaname = 'pgmq' and tablename like 'q\\_%%')"
        )
        contents = {}
        for table in tables:
            query = sql.SQL("select t::text from {} as t order by t::text").format(
                sql.Identifier(table.schema, table.name)
            )
            contents[table.name] = "\n".join(row[0] for row in self.connection.execute(query))
        return contents

    @contextmanager
    def refused(self, error: type[DripdropError]) -> Iterator[pytest.ExceptionInfo[DripdropError]]:
        """Expect a refusal that says what to do about it and leaves everything as it was."""
        before = self.contents()
        with pytest.raises(error) as refusal:
            yield refusal
        assert refusal.value.diag.message_hint
        assert self.contents() == before

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Write to the tables with triggers and foreign keys out of the way."""
        self.connection.execute("set session_replication_role = replica")
        try:
            yield
        finally:
            self.connection.execute("reset session_replication_role")

    def wait_until_blocked(self, other: psycopg.Connection[Any]) -> None:
        """Return when another connection waits for a lock."""
        give_up = time.monotonic() + 20
        while not self.rows("select pg_blocking_pids(%s) <> '{}' as yes", other.info.backend_pid)[
            0
        ].yes:
            assert time.monotonic() < give_up, "the other connection never came to wait"
