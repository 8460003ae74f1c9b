-- What was called first, enroll() or track_event(): numbers tell, times do not.
create sequence dripdrop.calls as bigint;

comment on sequence dripdrop.calls is
  'Numbers enrolments and events in the order in which they were called for.';

create table dripdrop.enrollments (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  sequence_id uuid not null,
  sequence_version_id uuid not null,
  subscriber_type text not null,
  subscriber_id text not null,
  entry_key text not null default '',
  alone boolean not null default false,
  state text not null default 'active',
  exit_reason text,
  failed_execution_id uuid,
  adapter_id uuid,
  effective_mode text,
  data jsonb not null default '{}',
  metadata jsonb not null default '{}',
  started_at timestamptz not null default dripdrop._now(),
  ask_at timestamptz,
  paused_at timestamptz,
  completed_at timestamptz,
  cancelled_at timestamptz,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  call_number bigint not null default nextval('dripdrop.calls'),
  event_id uuid,
  constraint enrollments_pkey primary key (id),
  constraint enrollments_in_a_sequence foreign key (sequence_id)
  references dripdrop.sequences (id) on delete cascade,
  constraint enrollments_on_a_version foreign key (sequence_version_id)
  references dripdrop.sequence_versions (id) on delete restrict,
  constraint enrollments_pin foreign key (adapter_id)
  references dripdrop.channel_adapters (id) on delete restrict,
  constraint enrollments_state_is_known check (
    state in ('active', 'paused', 'completed', 'cancelled')
  ),
  constraint enrollments_end_with_a_reason
  check ((state in ('completed', 'cancelled')) = (exit_reason is not null)),
  constraint enrollments_failed_are_cancelled check (
    failed_execution_id is null or state = 'cancelled'
  ),
  constraint enrollments_mode_is_known check (effective_mode in ('lifecycle', 'outbound')),
  constraint enrollments_only_outbound_is_pinned check (
    adapter_id is null or effective_mode = 'outbound'
  ),
  constraint enrollments_subscriber_is_named check (subscriber_type <> '' and subscriber_id <> ''),
  constraint enrollments_data_is_an_object check (jsonb_typeof(data) = 'object')
)
with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 20000,
  autovacuum_analyze_scale_factor = 0.05
);

-- Two concurrent sign-ups of one subscriber meet here.
create unique index enrollments_one_open
on dripdrop.enrollments (tenant_key, sequence_id, subscriber_type, subscriber_id, entry_key)
nulls not distinct
where state in ('active', 'paused');

-- And two concurrent entries of one, where there is to be one at a time.
create unique index enrollments_one_at_a_time
on dripdrop.enrollments (subscriber_id, subscriber_type, sequence_id)
where alone and state in ('active', 'paused');

create index enrollments_by_subscriber on dripdrop.enrollments (subscriber_id, subscriber_type);
-- With the id, so that a page of a long list is read from its place.
create index enrollments_by_sequence on dripdrop.enrollments (sequence_id, state, id);
-- Few, and looked at by whoever watches.
create index enrollments_failed on dripdrop.enrollments (cancelled_at)
where exit_reason = 'step_failed';
create index enrollments_to_ask on dripdrop.enrollments (ask_at) where ask_at is not null;
create index enrollments_by_pin on dripdrop.enrollments (adapter_id) where adapter_id is not null;

comment on table dripdrop.enrollments is
  'One subscriber on the way through one version of a sequence.';
comment on column dripdrop.enrollments.id is 'Time-ordered uuid.';
comment on column dripdrop.enrollments.tenant_key is 'The tenant of the sequence.';
comment on column dripdrop.enrollments.sequence_id is 'The sequence.';
comment on column dripdrop.enrollments.sequence_version_id is
  'The version; it stays when another one is activated.';
comment on column dripdrop.enrollments.subscriber_type is
  'What kind of subscriber: User, Lead, ….';
comment on column dripdrop.enrollments.subscriber_id is
  'The application''s id of the subscriber, as text.';
comment on column dripdrop.enrollments.entry_key is
  'Tells several enrolments of one subscriber apart: an order, an appointment.';
comment on column dripdrop.enrollments.alone is
  'No other entry of the subscriber may be open beside it: the sequence''s reentry was after_exit.';
comment on column dripdrop.enrollments.state is 'active, paused, completed or cancelled.';
comment on column dripdrop.enrollments.exit_reason is
  'Why it ended: completed, unenrolled, step_failed, sequence_inactive.';
comment on column dripdrop.enrollments.failed_execution_id is
  'The execution whose failure ended it: replay() of that one revives it.';
comment on column dripdrop.enrollments.adapter_id is
  'Outbound: the sender of every step. Nothing sets it yet.';
comment on column dripdrop.enrollments.effective_mode is
  'The mode of the version at enrolment. Nothing reads it yet.';
comment on column dripdrop.enrollments.data is
  'Template variables; the address of each channel (its recipient_key) and time_zone are read '
  'from here.';
comment on column dripdrop.enrollments.metadata is 'The application''s own.';
comment on column dripdrop.enrollments.started_at is 'When it was enrolled.';
comment on column dripdrop.enrollments.ask_at is
  'When claim_hooks() hands out the functions of its goals and exit rules, because something has '
  'happened; later while they are being asked; null when there is nothing to ask.';
comment on column dripdrop.enrollments.paused_at is 'When it was last paused.';
comment on column dripdrop.enrollments.completed_at is 'When it was completed.';
comment on column dripdrop.enrollments.cancelled_at is 'When it was cancelled.';
comment on column dripdrop.enrollments.call_number is
  'Its place in the order of calls: events with a higher one count for it.';
comment on column dripdrop.enrollments.event_id is
  'The event that set it off, as enroll() was told: an id in events.';
comment on column dripdrop.enrollments.inserted_at is 'When the row was made.';
comment on column dripdrop.enrollments.updated_at is 'When the row last changed.';
