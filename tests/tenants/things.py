"""What a tenant may have: a row of every kind, and the ids and keys that lead to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from dripdrop.vault import Vault, generate_key, to_text
from tests.engine import Engine, after

VAULT = Vault(generate_key())


@dataclass(frozen=True)
class Things:
    """The ids and keys of one tenant's rows, or made up ones."""

    sequence: str
    sequence_id: UUID
    version_id: UUID
    draft_id: UUID
    step_id: UUID
    draft_step_id: UUID
    transition_id: UUID
    condition_id: UUID
    rule_id: UUID
    hook: str
    http_hook: str
    http_hook_id: UUID
    hook_credentials: bytes
    adapter: str
    adapter_id: UUID
    adapter_credentials: bytes
    pool_id: UUID
    enrollment_id: UUID
    paused_id: UUID
    failed_id: UUID
    unknown_id: UUID
    subscriber: str
    event_id: str
    recipient: str
    calendar: str
    topic: str
    cap: str
    sent_id: UUID
    held_id: UUID

    def texts(self) -> dict[str, str]:
        """Return every id and key as text, by its name."""
        return {
            name: str(value) for name, value in asdict(self).items() if not isinstance(value, bytes)
        }


def made_up(things: Things) -> Things:
    """Return ids that nothing has, and keys that nobody uses."""
    values = {
        name: uuid4() if isinstance(value, UUID) else f"made_up_{name}"
        for name, value in asdict(things).items()
        if not isinstance(value, bytes)
    }
    return replace(things, **values | {"recipient": "made_up@example.com"})  # type: ignore[arg-type]


def definition(prefix: str, *, steps: int = 3) -> dict[str, Any]:
    """Return the document of a sequence that has all a sequence can have."""
    private = f"{prefix}-confidential"
    words = {"subject": private, "text": private}
    return {
        "key": f"{prefix}_sequence",
        "name": private,
        "description": private,
        "reentry": "always",
        "metadata": {"note": private},
        "hooks": [{"key": f"{prefix}_score", "url": f"https://{private}.example/{prefix}"}],
        "goals": [{"name": private, "event": "bought"}],
        "entry": [{"to": "welcome"}],
        "steps": [
            {
                "key": "welcome",
                "name": private,
                "channel": "email",
                "template": words,
                "adapter": f"{prefix}_mail",
                "conditions": [{"field_path": "score", "operator": ">", "expected_value": 1}],
            },
            {
                "key": "offer",
                "channel": "email",
                "timing": after(3, "days"),
                "template": words,
            },
            {
                "key": "reply",
                "channel": "email",
                "timing": {"type": "event", "trigger_event": f"{prefix}_reply"},
                "template": words,
                "conditions": [{"hook": f"{prefix}_score", "expected_value": 1}],
            },
        ][:steps],
    }


def furnish(engine: Engine, tenant: str | None, prefix: str) -> Things:
    """Give a tenant a row of every kind. Keys begin with the prefix.

    What is nobody else's business says that it is confidential.
    """
    private = f"{prefix}-confidential"
    words = {"subject": private, "text": private}
    adapter = engine.create_channel_adapter(
        tenant,
        f"{prefix}_mail",
        "email",
        "smtp",
        seal({"username": private, "password": private}, tenant, f"{prefix}_mail"),
        {"from": f"{private}@example.com"},
        is_default=True,
    )
    engine.update_tenant_settings(tenant, "Europe/Berlin")
    engine.set_holidays(tenant, f"{prefix}_calendar", [date(2026, 3, 10)])
    engine.create_hook(
        tenant, f"{prefix}_hook", "app.answer(dripdrop.enrollments, jsonb)", description=private
    )

    engine.create_topic(tenant, f"{prefix}_topic", private)
    engine.set_frequency_cap(tenant, f"{prefix}_cap", 100, timedelta(seconds=1))
    engine.pause_sending(tenant, "channel", "webhook", private)

    engine.apply(tenant, definition(prefix, steps=2))
    sequence = engine.get_sequence(tenant, f"{prefix}_sequence")
    failed, unknown, early = (enroll(engine, tenant, prefix, number) for number in range(3))
    version = engine.apply(tenant, definition(prefix))
    waiting, paused = (enroll(engine, tenant, prefix, number) for number in range(3, 5))
    record(engine, {failed.id: "failed", unknown.id: "maybe_sent", early.id: "sent"})
    engine.pause_enrollment(tenant, paused.id)
    engine.track_event(
        tenant, "opened_app", {"note": private}, waiting.id, event_id=f"{prefix}_event"
    )
    engine.suppress(tenant, "email", f"{prefix}_gone@example.com", source=private)
    engine.set_subscription(
        tenant, "User", waiting.subscriber_id, f"{prefix}_topic", "subscribed", private
    )

    engine.pause_adapter(tenant, adapter.id, reason=private)
    engine.resume_adapter(tenant, adapter.id)
    (held,) = engine.rows(
        "update dripdrop.step_executions"
        " set due_at = null, waits_for = 'release', reason = 'stale', reason_at = now()"
        " where id = %s returning id",
        engine.last(early.id).id,
    )

    (hook,) = engine.list_http_hooks(tenant, sequence.id)
    engine.update_http_hook(
        tenant,
        hook.id,
        auth_type="bearer",
        auth_config=seal({"token": private}, tenant, f"hook:{sequence.key}:{hook.key}"),
    )
    engine.record_hook_test(tenant, hook.id, {"value": private})
    step = engine.latest_step_by_key(tenant, sequence.id, "welcome")
    engine.update_step_content(tenant, step.id, name=f"{private} welcome")
    rule = engine.create_exit_rule(tenant, sequence.id, "exit", {"name": private, "event": "left"})

    draft = engine.create_sequence_version(tenant, sequence.id, name=private)
    draft_step = engine.create_step(tenant, draft.id, "welcome", "email", words)
    engine.create_step(tenant, draft.id, "later", "email", words)
    transition = engine.create_step_transition(tenant, draft.id, "welcome", "later", "all")
    condition = engine.create_condition(
        tenant, {"predicate": "$.enrollment.score > 1"}, transition_id=transition.id
    )
    engine.connection.execute(
        "insert into dripdrop.sender_states"
        " (tenant_key, http_hook_id, state, reason, detail, until)"
        " values (%s, %s, 'resting', 'connect_error', %s, now() + interval '1 hour')",
        [tenant, hook.id, private],
    )
    pool = by_hand(engine, tenant, prefix, adapter.id, version.id, waiting.id)
    sealed_adapters = {row.adapter_id: row.credentials for row in engine.sealed_adapters()}
    sealed_hooks = {row.http_hook_id: row.auth_config for row in engine.sealed_http_hooks()}
    return Things(
        sequence=sequence.key,
        sequence_id=sequence.id,
        version_id=version.id,
        draft_id=draft.id,
        step_id=step.id,
        draft_step_id=draft_step.id,
        transition_id=transition.id,
        condition_id=condition.id,
        rule_id=rule.id,
        hook=f"{prefix}_hook",
        http_hook=hook.key,
        http_hook_id=hook.id,
        hook_credentials=sealed_hooks[hook.id],
        adapter=adapter.name,
        adapter_id=adapter.id,
        adapter_credentials=sealed_adapters[adapter.id],
        pool_id=pool,
        enrollment_id=waiting.id,
        paused_id=paused.id,
        failed_id=engine.executions(failed.id)[0].id,
        unknown_id=engine.executions(unknown.id)[0].id,
        subscriber=waiting.subscriber_id,
        event_id=f"{prefix}_event",
        recipient=f"{prefix}_gone@example.com",
        calendar=f"{prefix}_calendar",
        topic=f"{prefix}_topic",
        cap=f"{prefix}_cap",
        sent_id=engine.executions(early.id)[0].id,
        held_id=held.id,
    )


def seal(credentials: dict[str, str], tenant: str | None, name: str) -> str:
    """Return credentials as `dripdrop seal` prints them."""
    return to_text(VAULT.seal(credentials, tenant, name))


def enroll(engine: Engine, tenant: str | None, prefix: str, number: int) -> Any:
    """Enrol one of the tenant's users."""
    data = {
        "email": f"{prefix}_{number}@example.com",
        "score": 80,
        "note": f"{prefix}-confidential",
    }
    return engine.enroll(
        tenant, f"{prefix}_sequence", "User", f"{prefix}_{number}", data | {"score": 80}
    )


def record(engine: Engine, outcomes: dict[UUID, str]) -> None:
    """Let what is due leave, and give the enrolments' messages these outcomes; else it is sent."""
    engine.tick()
    engine.render()
    enrollments = {
        execution.id: enrollment_id
        for enrollment_id in outcomes
        for execution in engine.executions(enrollment_id)
    }
    for claim in engine.claim_sends("email"):
        engine.record([claim], outcomes.get(enrollments.get(claim.execution_id, uuid4()), "sent"))


def by_hand(
    engine: Engine,
    tenant: str | None,
    prefix: str,
    adapter_id: UUID,
    version_id: UUID,
    enrollment_id: UUID,
) -> UUID:
    """Insert rows of the kinds that no function makes yet; return the id of the pool."""
    (pool,) = engine.rows(
        "insert into dripdrop.adapter_pools (tenant_key, name) values (%s, %s) returning id",
        tenant,
        f"{prefix}-confidential",
    )
    engine.connection.execute(
        "insert into dripdrop.adapter_pool_members (tenant_key, pool_id, adapter_id)"
        " values (%s, %s, %s)",
        [tenant, pool.id, adapter_id],
    )
    engine.connection.execute(
        "insert into dripdrop.adapter_sequence_budgets"
        " (tenant_key, adapter_id, sequence_version_id) values (%s, %s, %s)",
        [tenant, adapter_id, version_id],
    )
    engine.connection.execute(
        "insert into dripdrop.short_links (tenant_key, step_execution_id, provider, original_url,"
        " destination_url, idempotency_key) values (%s, %s, 'dub', 'https://a.example', %s, %s)",
        [
            tenant,
            engine.executions(enrollment_id)[0].id,
            f"https://{prefix}-confidential.example",
            prefix,
        ],
    )
    found: UUID = pool.id
    return found
