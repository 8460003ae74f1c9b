-- An append-only log without foreign keys: it outlives what it tells of, and costs a send no extra
-- look-ups. That a message was sent stands in its execution, and comes here when that is deleted.
create table dripdrop.message_reports (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  step_execution_id uuid,
  adapter_id uuid,
  channel text not null,
  provider text not null,
  provider_message_id text,
  provider_event_id text,
  event_type text not null,
  event_data jsonb not null default '{}',
  in_reply_to text,
  references_list text[],
  occurred_at timestamptz not null default dripdrop._now(),
  inserted_at timestamptz not null default dripdrop._now(),
  constraint message_reports_pkey primary key (id),
  constraint message_reports_type_is_known check (event_type in (
    'delivered', 'bounced', 'complained', 'opened', 'clicked', 'replied', 'unsubscribed',
    'sent', 'failed', 'skipped', 'deferred', 'suppressed'
  ))
)
with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

create unique index message_reports_once
on dripdrop.message_reports (tenant_key, provider, provider_event_id) nulls not distinct
where provider_event_id is not null;

create index message_reports_by_execution
on dripdrop.message_reports (step_execution_id)
where step_execution_id is not null;

create index message_reports_by_adapter
on dripdrop.message_reports (adapter_id, occurred_at)
where adapter_id is not null;

-- Few, however long the history: the thresholds look at these first.
create index message_reports_against_adapter
on dripdrop.message_reports (adapter_id, occurred_at)
where event_type in ('bounced', 'complained') and adapter_id is not null;

create index message_reports_by_reply
on dripdrop.message_reports (in_reply_to)
where in_reply_to is not null;

comment on table dripdrop.message_reports is
  'What became of messages, but that they were sent: the engine''s own records and the providers'' '
  'reports. Read message_events.';
comment on column dripdrop.message_reports.id is 'Time-ordered uuid.';
comment on column dripdrop.message_reports.tenant_key is 'The tenant.';
comment on column dripdrop.message_reports.step_execution_id is 'The execution, where it is known.';
comment on column dripdrop.message_reports.adapter_id is 'The sender, where it is known.';
comment on column dripdrop.message_reports.channel is 'The channel.';
comment on column dripdrop.message_reports.provider is
  'Who reports it; dripdrop for the engine itself.';
comment on column dripdrop.message_reports.provider_message_id is
  'The provider''s id of the message.';
comment on column dripdrop.message_reports.provider_event_id is
  'The provider''s id of the event; unique per tenant and provider.';
comment on column dripdrop.message_reports.event_type is
  'delivered, bounced, deferred, skipped, …; sent of an execution that was deleted.';
comment on column dripdrop.message_reports.event_data is
  'Details: reason, code, until; of a bounce, hard.';
comment on column dripdrop.message_reports.in_reply_to is
  'The Message-ID a reply answers, without angle brackets. Nothing writes it yet.';
comment on column dripdrop.message_reports.references_list is
  'The References of a reply. Nothing writes it yet.';
comment on column dripdrop.message_reports.occurred_at is 'When it happened.';
comment on column dripdrop.message_reports.inserted_at is 'When the row was made.';
