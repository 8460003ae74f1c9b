"""The SQL API as data: one declaration per function, with its parameters and what it returns.

The names, their order and their meaning are those of SQL, whose reference is `\\df+ dripdrop.*`. A
parameter that is left out is left out of the call, so that the default is SQL's.
"""
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from dripdrop.arguments import as_id, checked_text, written_json

Json: TypeAlias = Mapping[str, Any] | Sequence[Any]
"""A jsonb parameter: what `json.dumps` takes."""

Id: TypeAlias = str | int | UUID
"""An id of the application's, which the database keeps as text."""

One = TypeVar("One")
"""What a function that returns one row gives: the row, or None."""

Many = TypeVar("Many")
"""What a function that returns rows gives: a list."""

Value = TypeVar("Value")
"""What a function that returns one value gives."""

P = ParamSpec("P")
R = TypeVar("R")


def _statement(declaration: Callable[P, R]) -> Callable[P, R]:
    """Turn a declaration into a call of the SQL function of the same name.

    The annotations say the rest: `One`, `Many` or `Value` is returned, `Json` is sent as jsonb.
    """
    name = declaration.__name__
    signature = inspect.signature(declaration)
    shape = str(signature.return_annotation)
    annotations = {p.name: str(p.annotation) for p in signature.parameters.values()}
    documents = {name for name, annotation in annotations.items() if "Json" in annotation}
    ids = {name for name, annotation in annotations.items() if re.match(r"Id\b", annotation)}

    @wraps(declaration)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        client, *_ = args
        given = dict(signature.bind(*args, **kwargs).arguments)
        del given["self"]
        query = sql.SQL("select * from dripdrop.{}({})").format(
            sql.Identifier(name),
            sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(key), sql.Placeholder(key))
                for key in given
            ),
        )
        values = {
            key: _argument(
                key, as_id(value) if key in ids else value, key in documents, key == "results"
            )
            for key, value in given.items()
        }
        execute = getattr(client, f"_{shape.lower()}")
        return execute(query, values)  # type: ignore[no-any-return]

    return call


def _argument(name: str, value: Any, is_document: bool, is_report: bool) -> Any:
    """Return what psycopg is to send. Workers clean what they report, and write it themselves."""
    if is_document and value is not None:
        if is_report:
            return Jsonb(value)
        try:
            document = written_json(value, name)
        except TypeError:
            return Jsonb(value)  # the caller's psycopg may know how to write it
        return Jsonb(value, dumps=lambda _: document)
    return checked_text(value, name) if isinstance(value, str) else value


class Statements(ABC, Generic[One, Many, Value]):
    """The functions of the schema `dripdrop`, as methods of a client."""

    @abstractmethod
    def _one(self, query: sql.Composed, values: Mapping[str, Any]) -> One: ...

    @abstractmethod
    def _many(self, query: sql.Composed, values: Mapping[str, Any]) -> Many: ...

    @abstractmethod
    def _value(self, query: sql.Composed, values: Mapping[str, Any]) -> Value: ...

    # Authoring

    @_statement
    def apply(self, tenant_key: str | None, definition: Json) -> One:
        """Create or update a whole sequence from one document; return the version in force."""

    @_statement
    def plan(self, tenant_key: str | None, definition: Json) -> Many:
        """List what `apply` would change."""

    @_statement
    def create_sequence(
        self,
        tenant_key: str | None,
        key: str,
        name: str,
        description: str | None = ...,
        time_zone: str | None = ...,
        reentry: str = ...,
        metadata: Json = ...,
        reentry_interval: timedelta | None = ...,
        priority: int = ...,
        exclusive_group: str | None = ...,
    ) -> One:
        """Add an empty sequence."""

    @_statement
    def create_sequence_version(
        self,
        tenant_key: str | None,
        sequence_id: UUID,
        version: int | None = ...,
        name: str | None = ...,
        mode: str = ...,
        config: Json = ...,
    ) -> One:
        """Add a draft version, numbered next when no number is given."""

    @_statement
    def create_step(
        self,
        tenant_key: str | None,
        sequence_version_id: UUID,
        key: str,
        channel: str,
        template: Json,
        timing: Json | str = ...,
        name: str | None = ...,
        position: int | None = ...,
        adapter: str | None = ...,
        config: Json = ...,
        active: bool = ...,
    ) -> One:
        """Add a step to a draft version."""

    @_statement
    def create_step_transition(
        self,
        tenant_key: str | None,
        sequence_version_id: UUID,
        from_step: str | None = ...,
        to_step: str | None = ...,
        condition_mode: str = ...,
        priority: int | None = ...,
        config: Json = ...,
    ) -> One:
        """Add a way from one step of a draft version to another."""

    @_statement
    def create_condition(
        self,
        tenant_key: str | None,
        condition: Json,
        step_id: UUID | None = ...,
        transition_id: UUID | None = ...,
    ) -> One:
        """Add a condition to a step or a transition of a draft version."""

    @_statement
    def create_exit_rule(
        self, tenant_key: str | None, sequence_id: UUID, outcome: str, condition: Json
    ) -> One:
        """Add a condition that ends the enrolments of a sequence: a `goal` or an `exit`."""

    @_statement
    def drop_exit_rule(self, tenant_key: str | None, condition_id: UUID) -> One:
        """Remove a goal or an exit; return what it was."""

    @_statement
    def update_step(
        self,
        tenant_key: str | None,
        step_id: UUID,
        name: str | None = ...,
        position: int | None = ...,
        timing: Json | str | None = ...,
        template: Json | None = ...,
        adapter: str | None = ...,
        config: Json | None = ...,
        active: bool | None = ...,
    ) -> One:
        """Change a step of a draft; None leaves a value as it is."""

    @_statement
    def delete_step(self, tenant_key: str | None, step_id: UUID) -> One:
        """Delete a step of a draft that no other one leads to; return it."""

    @_statement
    def update_step_transition(
        self,
        tenant_key: str | None,
        transition_id: UUID,
        to_step: str | None = ...,
        condition_mode: str | None = ...,
        priority: int | None = ...,
    ) -> One:
        """Change a transition of a draft; None leaves a value as it is."""

    @_statement
    def delete_step_transition(self, tenant_key: str | None, transition_id: UUID) -> One:
        """Delete a transition of a draft with its conditions; return it."""

    @_statement
    def update_condition(self, tenant_key: str | None, condition_id: UUID, condition: Json) -> One:
        """Replace a condition of a step or a transition of a draft."""

    @_statement
    def delete_condition(self, tenant_key: str | None, condition_id: UUID) -> One:
        """Delete a condition of a step or a transition of a draft; return it."""

    @_statement
    def update_exit_rule(self, tenant_key: str | None, condition_id: UUID, condition: Json) -> One:
        """Replace a goal or an exit of a sequence by another condition."""

    @_statement
    def update_step_content(
        self,
        tenant_key: str | None,
        step_id: UUID,
        template: Json | None = ...,
        name: str | None = ...,
    ) -> One:
        """Change the words of a step, for what is not yet rendered."""

    @_statement
    def validate_sequence_version(self, tenant_key: str | None, sequence_version_id: UUID) -> Many:
        """List what keeps a version from being activated."""

    @_statement
    def activate_sequence_version(self, tenant_key: str | None, sequence_version_id: UUID) -> One:
        """Make a version the one that new enrolments get."""

    @_statement
    def migrate_preview(
        self,
        tenant_key: str | None,
        sequence: str,
        from_version: int,
        to_version: int,
        step_map: Json = ...,
    ) -> Many:
        """Count whom `migrate_enrollments` would move, skip and leave for now, by step."""

    @_statement
    def migrate_enrollments(
        self,
        tenant_key: str | None,
        sequence: str,
        from_version: int,
        to_version: int,
        step_map: Json = ...,
    ) -> Value:
        """Move the open enrolments of a version to another one; return how many."""

    @_statement
    def get_sequence(self, tenant_key: str | None, key: str) -> One:
        """Return a sequence of exactly this tenant by its key."""

    @_statement
    def list_sequence_versions(self, tenant_key: str | None, sequence_id: UUID) -> Many:
        """List the versions of a sequence, by number."""

    @_statement
    def get_active_sequence_version(self, tenant_key: str | None, sequence_id: UUID) -> One:
        """Return the version that new enrolments get."""

    @_statement
    def list_steps(self, tenant_key: str | None, sequence_version_id: UUID) -> Many:
        """List the steps of a version, in the order of the flow."""

    @_statement
    def template_variables(self, tenant_key: str | None, sequence: str) -> Many:
        """List what the templates of a sequence may use, and where it is from."""

    @_statement
    def latest_step_by_key(self, tenant_key: str | None, sequence_id: UUID, step_key: str) -> One:
        """Return the step with this key in the newest version that has one."""

    # Timing

    @_statement
    def parse_timing(self, expression: str) -> Value:
        """Return the document of a timing in words or cron fields."""

    @_statement
    def cron_next(self, expression: str, time_zone: str, after: datetime) -> Value:
        """Return when a schedule next comes, strictly after a time."""

    @_statement
    def next_time(self, timing: Json | str, time_zone: str, from_time: datetime) -> Value:
        """Return when a step with a timing is due, counted from a time."""

    @_statement
    def set_holidays(self, tenant_key: str | None, calendar: str, days: Sequence[date]) -> Value:
        """Replace the holidays of a calendar; return how many days there are."""

    @_statement
    def update_tenant_settings(
        self,
        tenant_key: str | None,
        time_zone: str | None = ...,
        rate_limits: Json | None = ...,
        send_window: Json | bool | None = ...,
        channel_send_windows: Json | None = ...,
        thresholds: Json | bool | None = ...,
        unsubscribe_url: str | None = ...,
        unsubscribe_mailto: str | None = ...,
        retention: Json | None = ...,
    ) -> One:
        """Change what holds for a whole tenant; None leaves a setting as it is."""

    @_statement
    def next_opening(
        self, tenant_key: str | None, send_window: Json | bool, time_zone: str, after: datetime
    ) -> Value:
        """Return the first time, not before a given one, at which a send window is open."""

    # Senders

    @_statement
    def providers(self) -> Many:
        """List the channels and their providers."""

    @_statement
    def fields(self) -> Many:
        """List what documents may say, one row per field, by kind of document."""

    @_statement
    def json_schema(self, kind: str = ...) -> Value:
        """Return a JSON Schema of the documents of a kind, for editors."""

    @_statement
    def channels(self) -> Many:
        """List the channels, how they address people, what they can, and who serves them."""

    @_statement
    def register_channel(
        self,
        channel: str,
        template: Json,
        address_form: str = ...,
        recipient_key: str | None = ...,
        one_of: Sequence[str] | None = ...,
        own_headers: str | None = ...,
        retry_for: timedelta | str = ...,
        unsubscribe: bool = ...,
        topics: bool = ...,
        own_hosts: bool = ...,
    ) -> One:
        """Add a channel, or change one that was added."""

    @_statement
    def register_provider(
        self,
        channel: str,
        provider: str,
        settings: Json = ...,
        idempotent: bool = ...,
        batch_size: int = ...,
    ) -> One:
        """Add a provider to a channel, or change one that was added."""

    @_statement
    def unregister_channel(self, channel: str) -> One:
        """Remove a channel that was added and that nothing is of; return it."""

    @_statement
    def unregister_provider(self, channel: str, provider: str) -> One:
        """Remove a provider that was added and that no sender is of; return it."""

    @_statement
    def provider_settings(self) -> Many:
        """List what a sender of each kind, channel.provider, says about itself."""

    @_statement
    def reply_codes(self) -> Many:
        """List whose fault a refusal is, by channel, provider, stage, code and words."""

    @_statement
    def create_channel_adapter(
        self,
        tenant_key: str | None,
        name: str,
        channel: str,
        provider: str,
        credentials: str | None = ...,
        config: Json = ...,
        is_default: bool = ...,
        active: bool = ...,
    ) -> One:
        """Add a sender; credentials are the text that `dripdrop seal` prints."""

    @_statement
    def delete_channel_adapter(self, tenant_key: str | None, adapter_id: UUID) -> One:
        """Delete a sender that nothing uses; return it."""

    @_statement
    def update_channel_adapter(
        self,
        tenant_key: str | None,
        adapter_id: UUID,
        credentials: str | None = ...,
        config: Json | None = ...,
        is_default: bool | None = ...,
        active: bool | None = ...,
    ) -> One:
        """Change a sender; None leaves a value as it is."""

    @_statement
    def list_circuits(self, tenant_key: str | None) -> Many:
        """List which servers are away, and which were."""

    @_statement
    def list_channel_adapters(self, tenant_key: str | None) -> Many:
        """List the senders of exactly this tenant, without credentials."""

    @_statement
    def get_default_adapter(self, tenant_key: str | None, channel: str) -> One:
        """Return the active default sender of a channel: the tenant's, else the global one."""

    @_statement
    def pause_adapter(
        self,
        tenant_key: str | None,
        adapter_id: UUID,
        until: datetime | None = ...,
        reason: str = ...,
    ) -> One:
        """Let nothing more leave through a sender, until a time or until it is resumed."""

    @_statement
    def resume_adapter(self, tenant_key: str | None, adapter_id: UUID) -> One:
        """End a sender's pause or rest; what waited for it is due."""

    @_statement
    def sealed_adapters(self) -> Many:
        """List every sealed credential, of all tenants: what key rotation reads."""

    @_statement
    def reseal_adapter(
        self, tenant_key: str | None, adapter_id: UUID, credentials: bytes, previous: bytes
    ) -> Value:
        """Replace an envelope if it is still the previous one; say whether it was."""

    # Hooks

    @_statement
    def create_hook(
        self,
        tenant_key: str | None,
        key: str,
        function: str,
        timeout_ms: int = ...,
        description: str | None = ...,
    ) -> One:
        """Register a SQL function, named with its parameters' types, or replace the former one."""

    @_statement
    def drop_hook(self, tenant_key: str | None, key: str) -> One:
        """Remove a SQL function from the hooks; what still names it fails closed."""

    @_statement
    def list_hooks(self, tenant_key: str | None) -> Many:
        """List the SQL functions registered for exactly this tenant."""

    @_statement
    def create_http_hook(
        self,
        tenant_key: str | None,
        sequence_id: UUID,
        key: str,
        url: str,
        name: str | None = ...,
        description: str | None = ...,
        method: str = ...,
        headers: Json = ...,
        body_template: str | None = ...,
        auth_type: str = ...,
        auth_config: str | None = ...,
        response_path: str | None = ...,
        response_type: str = ...,
        timeout_ms: int = ...,
        retry_count: int = ...,
        active: bool = ...,
        retry_for: timedelta = ...,
        max_in_flight: int = ...,
    ) -> One:
        """Add a value that is fetched over HTTP; auth_config is what `dripdrop seal` prints."""

    @_statement
    def update_http_hook(
        self,
        tenant_key: str | None,
        http_hook_id: UUID,
        url: str | None = ...,
        name: str | None = ...,
        description: str | None = ...,
        method: str | None = ...,
        headers: Json | None = ...,
        body_template: str | None = ...,
        auth_type: str | None = ...,
        auth_config: str | None = ...,
        response_path: str | None = ...,
        response_type: str | None = ...,
        timeout_ms: int | None = ...,
        retry_count: int | None = ...,
        active: bool | None = ...,
        retry_for: timedelta | None = ...,
        max_in_flight: int | None = ...,
    ) -> One:
        """Change an HTTP hook; None leaves a value as it is, an empty text takes it away."""

    @_statement
    def list_http_hooks(self, tenant_key: str | None, sequence_id: UUID) -> Many:
        """List the HTTP hooks of a sequence, without credentials."""

    @_statement
    def get_http_hook(self, tenant_key: str | None, http_hook_id: UUID) -> Value:
        """Return an HTTP hook as `claim_hooks` hands it out, with its sealed credentials."""

    @_statement
    def record_hook_test(self, tenant_key: str | None, http_hook_id: UUID, result: Json) -> One:
        """Keep what trying an HTTP hook gave, redacted."""

    @_statement
    def sealed_http_hooks(self) -> Many:
        """List every sealed credential of an HTTP hook, of all tenants."""

    @_statement
    def delete_http_hook(self, tenant_key: str | None, http_hook_id: UUID) -> One:
        """Delete an HTTP hook that nothing asks; return it."""

    @_statement
    def reseal_http_hook(
        self, tenant_key: str | None, http_hook_id: UUID, auth_config: bytes, previous: bytes
    ) -> Value:
        """Replace a hook's envelope if it is still the previous one; say whether it was."""

    # Enrolment

    @_statement
    def enroll(
        self,
        tenant_key: str | None,
        sequence: str,
        subscriber_type: str,
        subscriber_id: Id,
        data: Json = ...,
        entry_key: Id = ...,
        metadata: Json = ...,
        starting_step: str | None = ...,
        event_id: Id | None = ...,
    ) -> One:
        """Enrol a subscriber, or return the enrolment that is open."""

    @_statement
    def enroll_many(
        self, tenant_key: str | None, sequence: str, subscribers: Json, on_error: str = ...
    ) -> Many:
        """Enrol a list of subscribers in one statement; return their enrolments.

        With `on_error`, `skip` or `fail`, one row for each place in the list: the enrolment, or why
        there is none. `skip` enrols whoever can be.
        """

    @_statement
    def get_enrollment(
        self,
        tenant_key: str | None,
        sequence: str,
        subscriber_type: str,
        subscriber_id: Id,
        entry_key: Id = ...,
    ) -> One:
        """Return a subscriber's open enrolment in a sequence, else the latest one."""

    @_statement
    def list_enrollments(
        self,
        tenant_key: str | None,
        subscriber_type: str | None = ...,
        subscriber_id: Id | None = ...,
        sequence: str | None = ...,
        state: str | None = ...,
        page_size: int = ...,
        after: UUID | None = ...,
    ) -> Many:
        """List the enrolments of a subscriber, a sequence or a tenant, the newest first."""

    @_statement
    def list_messages(
        self,
        tenant_key: str | None,
        subscriber_type: str | None = ...,
        subscriber_id: Id | None = ...,
        sequence: str | None = ...,
        state: str | None = ...,
        page_size: int = ...,
        after: UUID | None = ...,
    ) -> Many:
        """List the messages of a subscriber, a sequence or a tenant, the newest first."""

    @_statement
    def list_active_enrollments(self, tenant_key: str | None, sequence: str | None = ...) -> Many:
        """List the active enrolments of a tenant, of one sequence or of all."""

    @_statement
    def pause_enrollment(self, tenant_key: str | None, enrollment_id: UUID) -> One:
        """Hold an enrolment: nothing that has not left yet leaves."""

    @_statement
    def resume_enrollment(self, tenant_key: str | None, enrollment_id: UUID) -> One:
        """Let a paused enrolment go on."""

    @_statement
    def unenroll(self, tenant_key: str | None, enrollment_id: UUID, reason: str = ...) -> One:
        """End an enrolment for good."""

    @_statement
    def update_enrollment(self, tenant_key: str | None, enrollment_id: UUID, data: Json) -> One:
        """Change some of an enrolment's data; None takes a key away."""

    @_statement
    def update_subscriber(
        self, tenant_key: str | None, subscriber_type: str, subscriber_id: Id, data: Json
    ) -> Many:
        """Change some of the data of a subscriber's open enrolments; return them."""

    @_statement
    def unenroll_subscriber(
        self, tenant_key: str | None, subscriber_type: str, subscriber_id: Id, reason: str = ...
    ) -> Many:
        """End all open enrolments of a subscriber for good; return them."""

    @_statement
    def export_subscriber(
        self, tenant_key: str | None, subscriber_type: str, subscriber_id: Id
    ) -> Value:
        """Return all that is kept of a subscriber, as one document."""

    @_statement
    def erase_subscriber(
        self, tenant_key: str | None, subscriber_type: str, subscriber_id: Id
    ) -> Value:
        """Delete a subscriber with all that is kept of them; return how much of each it was."""

    @_statement
    def on_delete(
        self,
        tenant_key: str | None,
        of_table: str,
        id_column: str = ...,
        subscriber_type: str = ...,
        action: str = ...,
        tenant_column: str | None = ...,
    ) -> Value:
        """Erase whoever's row is deleted from a table of the application's; return the trigger."""

    @_statement
    def explain(self, tenant_key: str | None, enrollment_id: UUID) -> Many:
        """Say what became of an enrolment's steps, and why the next message waits, gate by gate."""

    @_statement
    def simulate(
        self,
        tenant_key: str | None,
        sequence: str | None = ...,
        data: Json | None = ...,
        horizon: timedelta | str = ...,
        events: Json = ...,
        hooks: Json = ...,
        version: int | None = ...,
        start_at: datetime | None = ...,
        enrollment_id: UUID | None = ...,
        subscriber_id: Id | None = ...,
        subscriber_type: str = ...,
    ) -> Many:
        """Say what would happen to somebody with this data, or to who is there already."""

    @_statement
    def forecast(
        self,
        tenant_key: str | None,
        sequence: str,
        horizon: timedelta | str = ...,
        time_zone: str = ...,
    ) -> Many:
        """Count the messages the active enrolments would be sent, by day and step."""

    # Limits

    @_statement
    def set_adapter_limits(
        self,
        tenant_key: str | None,
        adapter_id: UUID,
        daily_cap: int | None = ...,
        ramp_floor: int | None = ...,
        ramp_increment: int | None = ...,
        ramp_started_at: datetime | None = ...,
        min_gap_seconds: int | None = ...,
        concurrency: int | None = ...,
        rate_limits: Json = ...,
        time_zone: str | None = ...,
    ) -> One:
        """Set all limits of a sender; what is left out is no limit."""

    @_statement
    def set_adapter_sequence_budget(
        self,
        tenant_key: str | None,
        adapter_id: UUID,
        sequence_version_id: UUID,
        max_share_pct: int = ...,
        weight: int = ...,
        daily_volume_target: int | None = ...,
    ) -> One:
        """Say how much of a sender a version may use."""

    @_statement
    def set_frequency_cap(
        self,
        tenant_key: str | None,
        key: str,
        max_messages: int,
        per: timedelta,
        channel: str | None = ...,
        topic: str | None = ...,
        kind: str = ...,
    ) -> One:
        """Bound what one subscriber gets in any window, over all sequences."""

    @_statement
    def drop_frequency_cap(self, tenant_key: str | None, key: str) -> One:
        """Remove a frequency cap."""

    @_statement
    def list_frequency_caps(self, tenant_key: str | None) -> Many:
        """List the frequency caps of exactly this tenant."""

    # Events

    @_statement
    def track_event(
        self,
        tenant_key: str | None,
        event_key: str,
        event_data: Json = ...,
        enrollment_id: UUID | None = ...,
        subscriber_type: str | None = ...,
        subscriber_id: Id | None = ...,
        event_id: Id | None = ...,
        occurred_at: datetime | None = ...,
        event_type: str = ...,
    ) -> One:
        """Record that something happened to an enrolment or to a subscriber."""

    @_statement
    def track_events(self, tenant_key: str | None, events: Json) -> Many:
        """Record a list of events, as `track_event` does one."""

    # Pipeline: what a sender calls

    @_statement
    def tick(self, batch_size: int = ...) -> One:
        """Decide what is due; return how many were queued, deferred, held, skipped or ended."""

    @_statement
    def claim_due(self, batch_size: int = ..., lease: timedelta = ...) -> One:
        """Decide what is due as `tick` does; lease to the caller what is to be rendered."""

    @_statement
    def claim_hooks(
        self,
        batch_size: int = ...,
        visibility: timedelta = ...,
        busy: Json = ...,
        functions: int = ...,
    ) -> Many:
        """Take hooks to call, for a while nobody else's, where there is a place to call them."""

    @_statement
    def call_hook(
        self, execution_id: UUID | None, key: str, enrollment_id: UUID | None = ...
    ) -> Value:
        """Call the SQL function of a hook; return the answer for `complete_hooks`."""

    @_statement
    def complete_hooks(self, results: Json) -> Value:
        """Hand in what hooks answered; return how many executions were answered."""

    @_statement
    def claim_renders(self, batch_size: int = ..., visibility: timedelta = ...) -> Many:
        """Take messages to render, for a while nobody else's."""

    @_statement
    def leased_renders(self, executions: list[UUID]) -> Many:
        """Take the messages to render that `claim_due` has leased to this caller."""

    @_statement
    def complete_renders(self, results: Json) -> Value:
        """Hand in rendered messages; return how many were taken."""

    @_statement
    def claim_sends(
        self,
        channel: str,
        batch_size: int = ...,
        lease: timedelta = ...,
        places: Json = ...,
        claim: UUID = ...,
        ahead: timedelta = ...,
        answered: list[UUID] = ...,
    ) -> Many:
        """Take messages that may leave now over a channel, fenced and leased."""

    @_statement
    def claim_rendered(
        self,
        results: Json,
        channel: str,
        batch_size: int = ...,
        lease: timedelta = ...,
        places: Json = ...,
        claim: UUID = ...,
        ahead: timedelta = ...,
        answered: list[UUID] = ...,
    ) -> Many:
        """Hand in rendered messages, and take those that may leave now, as `claim_sends` does."""

    @_statement
    def release_claim(self, claim: UUID) -> Value:
        """Give back a claim whose answer was lost; return how many messages it was."""

    @_statement
    def next_due(self) -> Value:
        """Return in how many seconds, at most an hour, a tick may have something to do."""

    @_statement
    def complete_sends(self, results: Json) -> Value:
        """Record what providers answered; return how many results were taken."""

    @_statement
    def note_fault(
        self,
        execution_id: UUID,
        stage: str,
        sqlstate: str,
        message: str,
        result: Json = ...,
    ) -> Value:
        """Leave out for a while a message that a stage could not deal with; keep its outcome."""

    @_statement
    def check_thresholds(self) -> Many:
        """Let senders rest whose bounces or complaints are too many; return them."""

    @_statement
    def prune(self, rows: int = ...) -> Many:
        """Delete from the next rows of each table what retention no longer keeps."""

    @_statement
    def note_worker(
        self, worker: UUID, host: str, pid: int, version: str, doing: Json = ...
    ) -> Value:
        """Say that a worker is there, and what it does."""

    @_statement
    def forget_worker(self, worker: UUID) -> Value:
        """Say that a worker has ended in order."""

    @_statement
    def list_workers(self) -> Many:
        """List the workers that were seen within a day and have not ended in order."""

    @_statement
    def status(self) -> Many:
        """Show on one screen what goes on."""

    @_statement
    def open_transactions(self, older_than: timedelta = ...) -> Many:
        """List the transactions that stay open and keep messages waiting."""

    @_statement
    def reconcile(self, unknown_grace: timedelta = ...) -> One:
        """Mend what a crash or a lost queue left behind; return how much of each there was."""

    # Consent

    @_statement
    def suppress(
        self,
        tenant_key: str | None,
        channel: str,
        recipient: str,
        reason: str = ...,
        source: str | None = ...,
        metadata: Json = ...,
        topic: str | None = ...,
        expires_at: datetime | None = ...,
    ) -> One:
        """Let nothing more go to an address, or to a domain (`@example.com`), over a channel."""

    @_statement
    def suppress_many(self, tenant_key: str | None, suppressions: Json) -> Many:
        """Suppress a list of addresses, all or none; return their suppressions."""

    @_statement
    def unsuppress(
        self,
        tenant_key: str | None,
        channel: str,
        recipient: str,
        removed_by: str,
        why: str,
        topic: str | None = ...,
    ) -> One:
        """Remove a suppression; return what it was."""

    @_statement
    def is_suppressed(
        self, tenant_key: str | None, channel: str, recipient: str, topic: str | None = ...
    ) -> Value:
        """Say whether a message to an address would be stopped."""

    @_statement
    def list_suppressions(self, tenant_key: str | None, recipient: str | None = ...) -> Many:
        """List the suppressions of exactly this tenant, or those of one address."""

    @_statement
    def create_topic(
        self,
        tenant_key: str | None,
        key: str,
        name: str,
        description: str | None = ...,
        opt_in: bool = ...,
    ) -> One:
        """Add a topic that one can opt out of or, with `opt_in`, must opt in to."""

    @_statement
    def update_topic(
        self,
        tenant_key: str | None,
        key: str,
        name: str | None = ...,
        description: str | None = ...,
        opt_in: bool | None = ...,
    ) -> One:
        """Change a topic; None leaves a value as it is."""

    @_statement
    def delete_topic(self, tenant_key: str | None, key: str) -> One:
        """Delete a topic that nothing uses and nobody said anything about; return it."""

    @_statement
    def list_topics(self, tenant_key: str | None) -> Many:
        """List the topics of exactly this tenant."""

    @_statement
    def set_subscription(
        self,
        tenant_key: str | None,
        subscriber_type: str,
        subscriber_id: Id,
        topic: str,
        state: str,
        source: str,
    ) -> One:
        """Let a subscriber opt in to a topic (`subscribed`) or out of it (`unsubscribed`)."""

    @_statement
    def get_subscriptions(
        self, tenant_key: str | None, subscriber_type: str, subscriber_id: Id
    ) -> Many:
        """List the topics and whether messages about them reach a subscriber."""

    # Unsubscribing: what the web process calls

    @_statement
    def unsubscribe(
        self,
        tenant_key: str | None,
        execution_id: UUID,
        topic: str | None = ...,
        source: str = ...,
        everything: bool = ...,
        channel: str | None = ...,
        recipient: str | None = ...,
        about: str | None = ...,
    ) -> One:
        """Unsubscribe the address that a message went to."""

    @_statement
    def subscription_page(
        self,
        tenant_key: str | None,
        execution_id: UUID,
        channel: str | None = ...,
        recipient: str | None = ...,
        about: str | None = ...,
    ) -> One:
        """Return what the page behind the link of a message shows."""

    @_statement
    def update_subscriptions(
        self,
        tenant_key: str | None,
        execution_id: UUID,
        topics: Json,
        source: str = ...,
        channel: str | None = ...,
        recipient: str | None = ...,
    ) -> Value:
        """Subscribe and unsubscribe the recipient of a message, by topic."""

    # Operations

    @_statement
    def pause_sending(
        self,
        tenant_key: str | None,
        scope: str = ...,
        subject: str | None = ...,
        reason: str | None = ...,
    ) -> One:
        """Hold every message of a scope that has not left: the kill switch."""

    @_statement
    def resume_sending(
        self, tenant_key: str | None, scope: str = ..., subject: str | None = ...
    ) -> One:
        """Lift a pause of sending; None if there was none."""

    @_statement
    def hold_sequence(self, tenant_key: str | None, sequence: str, reason: str | None = ...) -> One:
        """Switch a sequence off for a while; who comes due waits."""

    @_statement
    def resume_sequence(self, tenant_key: str | None, sequence: str) -> One:
        """Let a sequence that is held go on; None if it was not held."""

    @_statement
    def list_sending_pauses(self, tenant_key: str | None) -> Many:
        """List the pauses that hold a tenant's messages."""

    @_statement
    def release(
        self,
        tenant_key: str | None,
        execution_id: UUID | None = ...,
        sequence: str | None = ...,
        step: str | None = ...,
        adapter: str | None = ...,
    ) -> Many:
        """Send what is held as stale: one, or those of a sequence, a step or a sender."""

    @_statement
    def skip_held(
        self,
        tenant_key: str | None,
        execution_id: UUID | None = ...,
        sequence: str | None = ...,
        step: str | None = ...,
        adapter: str | None = ...,
    ) -> Many:
        """Leave out what is held because it is stale, named as in `release`."""

    @_statement
    def replay(self, tenant_key: str | None, execution_id: UUID) -> One:
        """Send a failed step again, as a new message."""

    @_statement
    def resolve(self, tenant_key: str | None, execution_id: UUID, outcome: str) -> One:
        """Settle a message whose fate is unknown: `sent`, `resend` or `failed`."""

    @_statement
    def start(self) -> Many:
        """Create the queues, and the jobs where pg_cron is; list what was done."""

    @_statement
    def stop(self) -> Many:
        """Remove the queues and the jobs; list what was done."""

    @_statement
    def version(self) -> Value:
        """Return the installed version."""

    @_statement
    def errors(self) -> Many:
        """List the errors the engine raises."""

    @_statement
    def idempotency_key(
        self, enrollment_id: UUID, step_id: UUID, occurrence: int, attempt_window: int
    ) -> Value:
        """Return what a provider may deduplicate on."""

    @_statement
    def check_schema(self) -> Many:
        """List what is missing or different in the schema."""

    @_statement
    def missing_permissions(self, functions: list[str]) -> Many:
        """List those of the functions that the role may not call."""

    @_statement
    def needs_key(self) -> Many:
        """Count what a daemon without a key could not work for."""

    @_statement
    def startup_check(self) -> Many:
        """List what keeps the engine from working."""
