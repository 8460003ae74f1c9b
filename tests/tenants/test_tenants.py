"""One tenant's ids and keys mean nothing in another; null is the global scope, not all tenants.

Every public function is called here, the tables `CALLS` and `NO_TENANT` are complete: as the owner
of what it is about, and as somebody else, who must see exactly what they would see if it did not
exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from dripdrop.errors import DripdropError, StillUsed
from tests.conftest import START, Databases
from tests.engine import Engine
from tests.tenants.things import Things, furnish, made_up

Call = Callable[[Engine, str | None, Things], Any]

NO_TENANT = {
    **dict.fromkeys(
        ("claim_due", "claim_hooks", "claim_renders", "claim_sends", "tick", "reconcile"),
        "the pipeline works for all tenants at once; each row it hands out names its tenant",
    ),
    **dict.fromkeys(
        (
            "call_hook",
            "claim_rendered",
            "complete_hooks",
            "complete_renders",
            "complete_sends",
            "leased_renders",
            "note_fault",
            "release_claim",
        ),
        "the pipeline again: for executions that a claim has named",
    ),
    **dict.fromkeys(("next_due",), "a time at which the daemon looks again, of whatever tenant"),
    **dict.fromkeys(("prune",), "deletes what the settings of each row's tenant say"),
    **dict.fromkeys(
        ("note_worker", "forget_worker", "list_workers"),
        "workers serve all tenants, and name none",
    ),
    **dict.fromkeys(
        ("status",), "what goes on, for operators, of all tenants; each row names its tenant"
    ),
    **dict.fromkeys(("open_transactions",), "names sessions of the database, and no tenant's data"),
    **dict.fromkeys(
        ("check_thresholds",), "looks after the senders of all tenants; each row names its tenant"
    ),
    **dict.fromkeys(
        ("sealed_adapters", "sealed_http_hooks"),
        "key rotation seals everything anew; what they return is sealed",
    ),
    **dict.fromkeys(
        (
            "start",
            "stop",
            "check_schema",
            "startup_check",
            "missing_permissions",
            "needs_key",
            "version",
            "channels",
            "errors",
            "fields",
            "json_schema",
            "providers",
            "register_channel",
            "register_provider",
            "unregister_channel",
            "unregister_provider",
            "reply_codes",
            "provider_settings",
        ),
        "about the installation",
    ),
    **dict.fromkeys(
        ("cron_next", "next_time", "parse_timing", "idempotency_key"),
        "compute, and look nothing up",
    ),
}

PERSON = {"email": "eve@example.com", "score": 80}
EMAIL = {"subject": "Hi", "text": "Hi"}
HOLIDAY = datetime(2026, 3, 10, 12, tzinfo=UTC)

# What a function does with the things of a tenant. Where there are several ways in, a word follows.
CALLS: dict[str, Call] = {
    "activate_sequence_version": lambda e, t, x: e.activate_sequence_version(t, x.draft_id),
    "apply": lambda e, t, x: e.apply(t, one_step(x)),
    "apply, with a sender": lambda e, t, x: e.apply(t, one_step(x, adapter=x.adapter)),
    "apply, with a hook": lambda e, t, x: e.apply(
        t, one_step(x, conditions=[{"hook": x.hook, "expected_value": 1}])
    ),
    "create_topic": lambda e, t, x: e.create_topic(t, f"{x.topic}-2", "Two"),
    "drop_frequency_cap": lambda e, t, x: e.drop_frequency_cap(t, x.cap),
    "get_subscriptions": lambda e, t, x: e.get_subscriptions(t, "User", x.subscriber),
    "is_suppressed": lambda e, t, x: e.is_suppressed(t, "email", x.recipient),
    "list_circuits": lambda e, t, x: e.list_circuits(t),
    "list_frequency_caps": lambda e, t, x: e.list_frequency_caps(t),
    "list_sending_pauses": lambda e, t, x: e.list_sending_pauses(t),
    "list_suppressions": lambda e, t, x: e.list_suppressions(t, x.recipient),
    "list_topics": lambda e, t, x: e.list_topics(t),
    "next_opening": lambda e, t, x: e.next_opening(
        t, {"start": "09:00", "end": "17:00", "calendar": x.calendar}, "UTC", HOLIDAY
    ),
    "hold_sequence": lambda e, t, x: e.hold_sequence(t, x.sequence),
    "resume_sequence": lambda e, t, x: held_and_resumed(e, t, x),
    "enroll_many, each for itself": lambda e, t, x: e.enroll_many(
        t, x.sequence, [{"subscriber_id": "eve", "data": PERSON}], "skip"
    ),
    "pause_adapter": lambda e, t, x: e.pause_adapter(t, x.adapter_id),
    "pause_sending, of a sequence": lambda e, t, x: e.pause_sending(t, "sequence", x.sequence),
    "pause_sending, of a sender": lambda e, t, x: e.pause_sending(t, "adapter", x.adapter),
    "release": lambda e, t, x: e.release(t, x.held_id),
    "release, of a sequence": lambda e, t, x: e.release(t, sequence=x.sequence),
    "skip_held": lambda e, t, x: e.skip_held(t, x.held_id),
    "skip_held, of a sequence": lambda e, t, x: e.skip_held(t, sequence=x.sequence),
    "resume_adapter": lambda e, t, x: e.resume_adapter(t, x.adapter_id),
    "resume_sending": lambda e, t, x: e.resume_sending(t, "channel", "webhook"),
    "set_adapter_limits": lambda e, t, x: e.set_adapter_limits(t, x.adapter_id, daily_cap=5),
    "set_adapter_sequence_budget": lambda e, t, x: e.set_adapter_sequence_budget(
        t, x.adapter_id, x.version_id, weight=2
    ),
    "set_frequency_cap": lambda e, t, x: e.set_frequency_cap(t, x.cap, 3, timedelta(days=1)),
    "set_subscription": lambda e, t, x: e.set_subscription(
        t, "User", x.subscriber, x.topic, "subscribed", "test"
    ),
    "subscription_page": lambda e, t, x: e.subscription_page(t, x.sent_id),
    "suppress_many": lambda e, t, x: e.suppress_many(
        t, [{"channel": "email", "recipient": x.recipient}]
    ),
    "unsubscribe": lambda e, t, x: e.unsubscribe(t, x.sent_id),
    "unsuppress": lambda e, t, x: e.unsuppress(t, "email", x.recipient, "me", "a mistake"),
    "update_subscriptions": lambda e, t, x: (
        e.update_subscriptions(t, x.sent_id, {x.topic: True}) or "done"
    ),
    "create_channel_adapter": lambda e, t, x: e.create_channel_adapter(
        t, f"{x.adapter}-2", "email", "smtp", is_default=True
    ),
    "create_condition, of a step": lambda e, t, x: e.create_condition(
        t, {"predicate": "$.enrollment.score > 1"}, x.draft_step_id
    ),
    "create_condition, of a transition": lambda e, t, x: e.create_condition(
        t, {"predicate": "$.enrollment.score > 1"}, transition_id=x.transition_id
    ),
    "create_exit_rule": lambda e, t, x: e.create_exit_rule(
        t, x.sequence_id, "goal", {"event": "paid"}
    ),
    "create_hook": lambda e, t, x: e.create_hook(
        t, x.hook, "app.answer(dripdrop.enrollments, jsonb)"
    ),
    "create_http_hook": lambda e, t, x: e.create_http_hook(
        t, x.sequence_id, "another", "https://example.com"
    ),
    "create_sequence": lambda e, t, x: e.create_sequence(t, f"{x.sequence}-2", "Two"),
    "create_sequence, with a sender": lambda e, t, x: with_sender(e, t, x),
    "create_sequence_version": lambda e, t, x: e.create_sequence_version(t, x.sequence_id),
    "create_sequence_version, with a pool": lambda e, t, x: with_pool(e, t, x),
    "create_step": lambda e, t, x: e.create_step(t, x.draft_id, "more", "email", EMAIL),
    "create_step, with a sender": lambda e, t, x: e.create_step(
        t, draft(e, t).id, "more", "email", EMAIL, adapter=x.adapter
    ),
    "create_step_transition": lambda e, t, x: e.create_step_transition(
        t, x.draft_id, "later", None
    ),
    "drop_exit_rule": lambda e, t, x: e.drop_exit_rule(t, x.rule_id),
    "drop_hook": lambda e, t, x: e.drop_hook(t, x.hook),
    "enroll": lambda e, t, x: e.enroll(t, x.sequence, "User", "eve", PERSON),
    "enroll, who is": lambda e, t, x: e.enroll(t, x.sequence, "User", x.subscriber, PERSON),
    "enroll_many": lambda e, t, x: e.enroll_many(
        t, x.sequence, [{"subscriber_id": "eve", "data": PERSON}]
    ),
    "explain": lambda e, t, x: e.explain(t, x.enrollment_id),
    "forecast": lambda e, t, x: e.forecast(t, x.sequence),
    "get_active_sequence_version": lambda e, t, x: e.get_active_sequence_version(t, x.sequence_id),
    "get_default_adapter": lambda e, t, x: e.get_default_adapter(t, "email"),
    "get_enrollment": lambda e, t, x: e.get_enrollment(t, x.sequence, "User", x.subscriber),
    "get_http_hook": lambda e, t, x: e.get_http_hook(t, x.http_hook_id),
    "get_sequence": lambda e, t, x: e.get_sequence(t, x.sequence),
    "latest_step_by_key": lambda e, t, x: e.latest_step_by_key(t, x.sequence_id, "welcome"),
    "list_active_enrollments": lambda e, t, x: e.list_active_enrollments(t),
    "list_active_enrollments, of one": lambda e, t, x: e.list_active_enrollments(t, x.sequence),
    "list_enrollments": lambda e, t, x: e.list_enrollments(t, sequence=x.sequence),
    "list_enrollments, of a subscriber": lambda e, t, x: e.list_enrollments(
        t, "User", x.subscriber
    ),
    "list_messages": lambda e, t, x: e.list_messages(t, sequence=x.sequence),
    "list_messages, of a subscriber": lambda e, t, x: e.list_messages(t, "User", x.subscriber),
    "list_channel_adapters": lambda e, t, x: e.list_channel_adapters(t),
    "list_hooks": lambda e, t, x: e.list_hooks(t),
    "list_http_hooks": lambda e, t, x: e.list_http_hooks(t, x.sequence_id),
    "list_sequence_versions": lambda e, t, x: e.list_sequence_versions(t, x.sequence_id),
    "list_steps": lambda e, t, x: e.list_steps(t, x.version_id),
    "migrate_enrollments": lambda e, t, x: e.migrate_enrollments(t, x.sequence, 1, 2),
    "migrate_preview": lambda e, t, x: e.migrate_preview(t, x.sequence, 1, 2),
    "pause_enrollment": lambda e, t, x: e.pause_enrollment(t, x.enrollment_id),
    "plan": lambda e, t, x: e.plan(t, one_step(x)),
    "plan, with a sender": lambda e, t, x: e.plan(t, one_step(x, adapter=x.adapter)),
    "record_hook_test": lambda e, t, x: e.record_hook_test(t, x.http_hook_id, {"value": 1}),
    "replay": lambda e, t, x: e.replay(t, x.failed_id),
    "reseal_adapter": lambda e, t, x: e.reseal_adapter(
        t, x.adapter_id, b"\1" + bytes(40), x.adapter_credentials
    ),
    "reseal_http_hook": lambda e, t, x: e.reseal_http_hook(
        t, x.http_hook_id, b"\1" + bytes(40), x.hook_credentials
    ),
    "resolve": lambda e, t, x: e.resolve(t, x.unknown_id, "sent"),
    "resume_enrollment": lambda e, t, x: e.resume_enrollment(t, x.paused_id),
    "set_holidays": lambda e, t, x: e.set_holidays(t, x.calendar, [date(2026, 5, 1)]),
    "simulate": lambda e, t, x: e.simulate(t, x.sequence, PERSON),
    "simulate, a version": lambda e, t, x: e.simulate(t, x.sequence, PERSON, version=2),
    "suppress": lambda e, t, x: e.suppress(t, "email", x.recipient),
    "template_variables": lambda e, t, x: e.template_variables(t, x.sequence),
    "track_event, of an enrolment": lambda e, t, x: e.track_event(
        t, "opened_app", enrollment_id=x.enrollment_id
    ),
    "track_event, of a subscriber": lambda e, t, x: e.track_event(
        t, "bought", subscriber_id=x.subscriber
    ),
    "track_event, that was": lambda e, t, x: e.track_event(
        t, "opened_app", subscriber_id="eve", event_id=x.event_id
    ),
    "track_events": lambda e, t, x: e.track_events(
        t, [{"event_key": "opened_app", "enrollment_id": str(x.enrollment_id)}]
    ),
    "on_delete": lambda e, t, x: e.on_delete(t, "app.users"),
    "unenroll_subscriber": lambda e, t, x: e.unenroll_subscriber(t, "User", x.subscriber),
    "export_subscriber": lambda e, t, x: e.export_subscriber(t, "User", x.subscriber),
    "erase_subscriber": lambda e, t, x: e.erase_subscriber(t, "User", x.subscriber),
    "unenroll": lambda e, t, x: e.unenroll(t, x.enrollment_id),
    "update_step": lambda e, t, x: e.update_step(t, x.draft_step_id, name="Hi"),
    "delete_step": lambda e, t, x: e.delete_step(t, x.draft_step_id),
    "update_step_transition": lambda e, t, x: e.update_step_transition(
        t, x.transition_id, priority=9
    ),
    "delete_step_transition": lambda e, t, x: e.delete_step_transition(t, x.transition_id),
    "update_condition": lambda e, t, x: e.update_condition(
        t, x.condition_id, {"predicate": "$.enrollment.score > 1"}
    ),
    "delete_condition": lambda e, t, x: e.delete_condition(t, x.condition_id),
    "update_exit_rule": lambda e, t, x: e.update_exit_rule(t, x.rule_id, {"event": "paid"}),
    "update_topic": lambda e, t, x: e.update_topic(t, x.topic, "Another"),
    "delete_topic": lambda e, t, x: deleted(e, e.delete_topic, t, x.topic),
    "delete_http_hook": lambda e, t, x: deleted(e, e.delete_http_hook, t, x.http_hook_id),
    "delete_channel_adapter": lambda e, t, x: deleted(e, e.delete_channel_adapter, t, x.adapter_id),
    "update_enrollment": lambda e, t, x: e.update_enrollment(t, x.enrollment_id, {"name": "Eve"}),
    "update_subscriber": lambda e, t, x: e.update_subscriber(
        t, "User", x.subscriber, {"name": "Eve"}
    ),
    "update_channel_adapter": lambda e, t, x: e.update_channel_adapter(
        t, x.adapter_id, active=False
    ),
    "update_http_hook": lambda e, t, x: e.update_http_hook(t, x.http_hook_id, active=False),
    "update_step_content": lambda e, t, x: e.update_step_content(t, x.step_id, name="Hi"),
    "update_tenant_settings": lambda e, t, x: e.update_tenant_settings(t, "Asia/Tokyo"),
    "validate_sequence_version": lambda e, t, x: e.validate_sequence_version(t, x.draft_id),
}

SHARED = {
    "apply, with a sender",
    "create_sequence, with a sender",
    "create_sequence_version, with a pool",
    "create_step, with a sender",
    "get_default_adapter",
    "is_suppressed",
    "next_opening",
    "plan, with a sender",
    "template_variables",
}
"""About what tenants may use of the global scope: its senders, pools, suppressions, functions
and holidays."""

SOUND = {
    "create_sequence, with a sender",
    "create_sequence_version, with a pool",
    "validate_sequence_version",
}
"""What lists problems, of which the owner has none."""


def deleted(engine: Engine, delete: Callable[..., Any], *whose: Any) -> Any:
    """Delete something, or be told what uses it."""
    try:
        with engine.connection.transaction():
            return delete(*whose)
    except StillUsed as refusal:
        return refusal.diag.message_primary


def held_and_resumed(engine: Engine, tenant: str | None, things: Things) -> Any:
    """Hold a sequence, and let it go on."""
    engine.hold_sequence(tenant, things.sequence)
    return engine.resume_sequence(tenant, things.sequence)


def one_step(things: Things, **fields: Any) -> dict[str, Any]:
    """Return the document of a sequence with one step under the key of another's."""
    step = {"key": "welcome", "channel": "email", "template": EMAIL} | fields
    return {"key": things.sequence, "name": "Mine", "activate": False, "steps": [step]}


def draft(engine: Engine, tenant: str | None, **fields: Any) -> Any:
    """Return a draft of a new sequence."""
    sequence = engine.create_sequence(tenant, "mine", "Mine")
    return engine.create_sequence_version(tenant, sequence.id, **fields)


def with_sender(engine: Engine, tenant: str | None, things: Things) -> Any:
    """Give a sequence of one's own a sender by its id, and see what is said about it."""
    senders = {"email": str(things.adapter_id)}
    sequence = engine.create_sequence(
        tenant, "mine", "Mine", metadata={"channel_adapters": senders}
    )
    version = engine.create_sequence_version(tenant, sequence.id)
    engine.create_step(tenant, version.id, "welcome", "email", EMAIL)
    return engine.validate_sequence_version(tenant, version.id)


def with_pool(engine: Engine, tenant: str | None, things: Things) -> Any:
    """Give a version of one's own a pool by its id, and see what is said about it."""
    version = draft(engine, tenant, mode="outbound", config={"pool_id": str(things.pool_id)})
    engine.create_step(tenant, version.id, "welcome", "email", EMAIL)
    return engine.validate_sequence_version(tenant, version.id)


class World:
    """A database in which acme and the global scope have a row of everything."""

    def __init__(self, dsn: str, connection: psycopg.Connection[Any]) -> None:
        self.dsn = dsn
        self.connection = connection
        self.engine = Engine(connection)
        connection.execute("select set_config('dripdrop.now', %s, false)", [START.isoformat()])
        connection.execute("create schema app")
        connection.execute(
            "create function app.answer(enrollment dripdrop.enrollments, context jsonb)"
            " returns jsonb return jsonb '1'"
        )
        connection.execute("grant usage on schema app to public")
        connection.execute("create table app.users (id text)")
        self.things: dict[str | None, Things] = {
            None: furnish(self.engine, None, "global"),
            "acme": furnish(self.engine, "acme", "acme"),
        }

    def rows(self, tenant: str | None) -> dict[str, str]:
        """Return all rows of a tenant, by table."""
        return {
            table: "\n".join(
                row[0]
                for row in self.engine.rows(
                    f"select t::text from dripdrop.{table} as t"
                    " where t.tenant_key is not distinct from %s order by 1",
                    tenant,
                )
            )
            for table in tables(self.connection)
        }


def tables(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the tables that hold rows of tenants."""
    rows = connection.execute(
        "select c.relname from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'r'"
        " and a.attname = 'tenant_key' order by 1"
    )
    return [row[0] for row in rows]


@pytest.fixture(scope="module")
def world(databases: Databases, template: str) -> Iterator[World]:
    """One world for all: what happens in it is rolled back."""
    name = databases.create(template)
    with psycopg.connect(
        databases.dsn(name), autocommit=True, row_factory=namedtuple_row
    ) as connection:
        yield World(databases.dsn(name), connection)
    databases.drop(name)


@pytest.fixture
def engine(world: World) -> Iterator[Engine]:
    with world.connection.transaction(force_rollback=True):
        yield world.engine


def outcome(engine: Engine, call: Call, tenant: str | None, things: Things) -> str:
    """Return all that a caller gets to see, with the names they passed made alike."""
    try:
        with engine.connection.transaction():
            answer = call(engine, tenant, things)
    except DripdropError as error:
        diag = error.diag
        answer = [
            diag.sqlstate,
            diag.message_primary,
            diag.message_detail,
            diag.message_hint,
            diag.column_name,
        ]
    seen = repr(answer)
    for name, text in things.texts().items():
        seen = seen.replace(text, f"<{name}>")
    return seen


STRANGERS = [
    (name, owner, stranger)
    for name in CALLS
    for owner, stranger in (("acme", "other"), ("acme", None), (None, "other"), (None, "acme"))
    if owner is not None or name not in SHARED
]


@pytest.mark.parametrize(("name", "owner", "stranger"), STRANGERS)
def test_what_belongs_to_another_is_as_what_does_not_exist(
    world: World, engine: Engine, name: str, owner: str | None, stranger: str | None
) -> None:
    theirs = world.things[owner]
    before = world.rows(owner)
    with engine.connection.transaction(force_rollback=True):
        unknown = outcome(engine, CALLS[name], stranger, made_up(theirs))
    seen = outcome(engine, CALLS[name], stranger, theirs)
    assert without_ids(seen) == without_ids(unknown)
    assert not revealed(world, owner, stranger, seen)
    assert world.rows(owner) == before


def without_ids(text: str) -> str:
    """Return a text in which all rows that are new look alike."""
    ids = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}|call_number=\d+"
    return re.sub(ids, "<id>", text)


def revealed(world: World, owner: str | None, stranger: str | None, seen: str) -> set[str]:
    """Return what an answer holds of somebody else's rows, and not also of the caller's own."""
    ids = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\w+-confidential"
    theirs = set(re.findall(ids, repr(world.rows(owner))))
    own = set(re.findall(ids, repr(world.rows(stranger))))
    return set(re.findall(ids, seen)) & (theirs - own)


@pytest.mark.parametrize("owner", ["acme", None])
@pytest.mark.parametrize("name", CALLS)
def test_the_owner_is_answered_and_nobody_else_is_touched(
    world: World, engine: Engine, name: str, owner: str | None
) -> None:
    others = [tenant for tenant in world.things if tenant != owner]
    before = [world.rows(tenant) for tenant in others]
    answer = CALLS[name](engine, owner, world.things[owner])
    assert answer or (name in SOUND and answer == [])
    assert [world.rows(tenant) for tenant in others] == before


@pytest.mark.parametrize("name", CALLS)
def test_nobody_waits_for_the_rows_of_another(world: World, engine: Engine, name: str) -> None:
    engine.connection.execute("set local lock_timeout = '2s'")
    with psycopg.connect(world.dsn) as holder:
        for table in tables(holder):
            holder.execute(
                f"select from dripdrop.{table} where tenant_key = 'acme' for update".encode()
            )
        outcome(engine, CALLS[name], "other", world.things["acme"])


def test_every_function_is_tried(db: psycopg.Connection[Any]) -> None:
    functions = {
        row.name: row.first
        for row in db.execute(
            "select p.proname as name, case when p.pronargs > 0 then p.proargnames[1] end as first"
            " from pg_proc as p"
            " where p.pronamespace = 'dripdrop'::regnamespace and p.proname not like '\\_%'"
            " and p.prorettype <> 'trigger'::regtype"
        )
    }
    of_a_tenant = {name for name, first in functions.items() if first == "tenant_key"}
    assert {name.partition(",")[0] for name in CALLS} == of_a_tenant
    assert set(NO_TENANT) == functions.keys() - of_a_tenant


def test_no_function_has_a_default_for_the_tenant(db: psycopg.Connection[Any]) -> None:
    optional = db.execute(
        "select p.proname from pg_proc as p where p.pronamespace = 'dripdrop'::regnamespace"
        " and p.proname not like '\\_%' and p.proargnames[1] = 'tenant_key' and p.pronargs > 0"
        " and p.pronargs = p.pronargdefaults"
    )
    assert optional.fetchall() == []


@pytest.mark.parametrize("tenant", ["acme", None])
def test_there_is_a_row_of_every_kind_to_be_found(world: World, tenant: str | None) -> None:
    assert [table for table, rows in world.rows(tenant).items() if not rows] == []


def test_children_are_their_parents_tenants(world: World) -> None:
    references = world.engine.rows(
        "select k.conrelid::regclass::text as child, k.confrelid::regclass::text as parent,"
        " (select attname from pg_attribute where attrelid = k.conrelid and attnum = k.conkey[1])"
        " as key from pg_constraint as k join pg_attribute as a on a.attrelid = k.confrelid"
        " where k.contype = 'f' and k.connamespace = 'dripdrop'::regnamespace"
        " and a.attname = 'tenant_key' order by 1, 2, 3"
    )
    assert len(references) > 15
    for reference in references:
        strays = world.engine.rows(
            f"select c.id from {reference.child} as c join {reference.parent} as p"
            f" on p.id = c.{reference.key} where c.tenant_key is distinct from p.tenant_key"
        )
        assert strays == [], reference


def test_a_step_may_be_sent_by_the_global_sender(world: World, engine: Engine) -> None:
    version = draft(engine, "acme")
    step = engine.create_step(
        "acme", version.id, "welcome", "email", EMAIL, adapter=world.things[None].adapter
    )
    assert step.channel_adapter_id == world.things[None].adapter_id


def test_a_sender_of_another_tenant_sends_nothing(world: World, engine: Engine) -> None:
    """Also where its id was written past the functions."""
    sequence = engine.create_sequence("other", "mine", "Mine")
    version = engine.create_sequence_version("other", sequence.id)
    engine.create_step("other", version.id, "welcome", "email", EMAIL)
    engine.create_channel_adapter("other", "Mail", "email", "smtp", is_default=True)
    engine.activate_sequence_version("other", version.id)
    engine.connection.execute(
        "update dripdrop.sequences set metadata = %s where id = %s",
        [
            f'{{"channel_adapters": {{"email": "{world.things["acme"].adapter_id}"}}}}',
            sequence.id,
        ],
    )
    eve = engine.enroll("other", "mine", "User", "eve", PERSON)
    shut = [row.reason for row in engine.explain("other", eve.id) if not row.open]
    assert shut == ["missing_channel_adapter"]


def test_an_event_is_one_of_its_own_tenants_subscribers(world: World, engine: Engine) -> None:
    theirs = world.things["acme"]
    for tenant in ("other", None):
        engine.track_event(tenant, "bought", subscriber_id=theirs.subscriber)
    assert engine.enrollment(theirs.enrollment_id).state == "active"
    engine.track_event("acme", "bought", subscriber_id=theirs.subscriber)
    assert engine.enrollment(theirs.enrollment_id).state == "completed"


@pytest.mark.parametrize("tenant", ["", ":global"])
@pytest.mark.parametrize("name", ["apply", "create_sequence", "enroll", "suppress", "track_events"])
def test_a_tenant_key_is_a_name(world: World, engine: Engine, name: str, tenant: str) -> None:
    seen = outcome(engine, CALLS[name], tenant, world.things["acme"])
    assert seen.startswith("['ZD207'")
