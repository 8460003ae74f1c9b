create table dripdrop.events (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  enrollment_id uuid,
  subscriber_type text,
  subscriber_id text,
  event_type text not null default 'custom',
  event_key text not null,
  event_id text,
  event_data jsonb not null default '{}',
  occurred_at timestamptz not null default dripdrop._now(),
  inserted_at timestamptz not null default dripdrop._now(),
  call_number bigint not null default nextval('dripdrop.calls'),
  constraint events_pkey primary key (id),
  constraint events_in_an_enrollment foreign key (enrollment_id)
  references dripdrop.enrollments (id) on delete set null,
  constraint events_tenant_key_is_valid check (tenant_key <> '' and tenant_key not like ':%'),
  constraint events_key_is_not_empty check (event_key <> ''),
  constraint events_data_is_an_object check (jsonb_typeof(event_data) = 'object')
);

create index events_latest on dripdrop.events (subscriber_id, event_key, occurred_at);
create index events_by_enrollment
on dripdrop.events (enrollment_id)
where enrollment_id is not null;
create unique index events_once on dripdrop.events (tenant_key, event_id) nulls not distinct
where event_id is not null;

comment on table dripdrop.events is
  'What subscribers did, as the application or the engine reports it.';
comment on column dripdrop.events.id is 'Time-ordered uuid.';
comment on column dripdrop.events.tenant_key is 'The tenant; null is the global scope.';
comment on column dripdrop.events.enrollment_id is 'The enrolment it belongs to, if one.';
comment on column dripdrop.events.subscriber_type is 'The subscriber''s type.';
comment on column dripdrop.events.subscriber_id is 'The subscriber''s id.';
comment on column dripdrop.events.event_type is
  'custom, user_action, milestone, or enrollment_event for the engine''s own.';
comment on column dripdrop.events.event_key is 'What happened.';
comment on column dripdrop.events.event_id is
  'The caller''s id of the event; a second one with the same id is the same event.';
comment on column dripdrop.events.event_data is 'Details.';
comment on column dripdrop.events.occurred_at is 'When it happened.';
comment on column dripdrop.events.call_number is
  'Its place in the order of calls: it counts for enrolments with a lower one.';
comment on column dripdrop.events.inserted_at is 'When the row was made.';
