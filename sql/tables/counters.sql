create table dripdrop.counters (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  scope text not null,
  owner_id uuid,
  subject text not null default '',
  max_count int not null,
  per interval,
  taken timestamptz[] not null default '{}',
  granted timestamptz[] not null default '{}',
  line_until timestamptz,
  day date,
  used int not null default 0,
  granted_day date,
  granted_used int not null default 0,
  updated_at timestamptz not null default dripdrop._now(),
  constraint counters_pkey primary key (id),
  constraint counters_one_per_subject
  unique nulls not distinct (subject, scope, owner_id, tenant_key),
  constraint counters_scope_is_known check (scope in (
    'adapter', 'provider', 'domain', 'recipient_domain', 'recipient', 'gap', 'subscriber', 'day',
    'share', 'step_day'
  ))
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index counters_with_a_line on dripdrop.counters (line_until)
where line_until is not null and scope not in ('recipient', 'subscriber');

create index counters_with_a_persons_line on dripdrop.counters (line_until)
where line_until is not null and scope in ('recipient', 'subscriber');

comment on table dripdrop.counters is
  'What limits have used up: one row per limit and what it counts, locked by whoever uses it.';
comment on column dripdrop.counters.id is 'Time-ordered uuid; rows are locked in its order.';
comment on column dripdrop.counters.tenant_key is
  'The tenant; null for a sender all tenants share.';
comment on column dripdrop.counters.scope is 'What kind of limit it is.';
comment on column dripdrop.counters.owner_id is
  'Where the limit is written: a step, a sender, a budget, a cap; null is the tenant''s settings.';
comment on column dripdrop.counters.subject is
  'What is counted: an address, a domain, a provider, ….';
comment on column dripdrop.counters.max_count is 'The limit when it was last used.';
comment on column dripdrop.counters.per is 'The window of a rate; null for a calendar day.';
comment on column dripdrop.counters.taken is
  'When messages last left, oldest first: as many as the limit asks for. Of what is being sent: '
  'the last moment at which it may leave.';
comment on column dripdrop.counters.granted is
  'When tick() last let messages through, oldest first; some may never come to the fence.';
comment on column dripdrop.counters.line_until is 'The last slot of a message that waits.';
comment on column dripdrop.counters.day is 'Of a daily limit: the day of the sender it counts.';
comment on column dripdrop.counters.used is 'Of a daily limit: how many passed the fence that day.';
comment on column dripdrop.counters.granted_day is
  'Of a daily limit: the day on which tick() last let messages through.';
comment on column dripdrop.counters.granted_used is
  'Of a daily limit: how many it let through that day.';
comment on column dripdrop.counters.updated_at is 'When the row last changed.';
