create table dripdrop.counters (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  scope text not null,
  owner_id uuid,
  subject text not null default '',
  line_id uuid not null
  generated always as (
    case
      when scope in ('gap', 'day') then owner_id
      when scope = 'adapter' and coalesce(owner_id::text = subject, true) then subject::uuid
      else id
    end
  ) stored,
  max_count int not null,
  per interval,
  time_zone text not null,
  taken timestamptz[] not null default '{}',
  day date,
  used int not null default 0,
  under_way int not null default 0,
  ahead interval not null default '0',
  room_at timestamptz,
  turns uuid[] not null default '{}',
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

create index counters_with_a_line on dripdrop.counters (room_at) where room_at is not null;

create index counters_of_a_line on dripdrop.counters (line_id);

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
comment on column dripdrop.counters.line_id is
  'The line of those who wait for it: one for a sender''s own rate, gap and cap, else its own.';
comment on column dripdrop.counters.max_count is 'The limit when it was last used.';
comment on column dripdrop.counters.per is 'The window of a rate; null for a calendar day.';
comment on column dripdrop.counters.time_zone is 'The zone of its days.';
comment on column dripdrop.counters.taken is
  'When messages last left, oldest first: as many as the limit asks for. Of what is being sent: '
  'the last moment at which it may leave.';
comment on column dripdrop.counters.day is 'Of a daily limit: the day of the sender it counts.';
comment on column dripdrop.counters.used is 'Of a daily limit: how many passed the fence that day.';
comment on column dripdrop.counters.under_way is
  'How many messages tick() has let through that have not come to the fence yet, at most: what was '
  'stopped meanwhile is taken off when it would keep others waiting.';
comment on column dripdrop.counters.ahead is
  'How long before there is room for them messages are prepared, because those who claim them take '
  'them that early.';
comment on column dripdrop.counters.room_at is
  'When tick() looks whether there is room for those who wait; null while nobody does.';
comment on column dripdrop.counters.turns is
  'While others wait: the sequence versions in the order in which their messages last went.';
comment on column dripdrop.counters.updated_at is 'When the row last changed.';
