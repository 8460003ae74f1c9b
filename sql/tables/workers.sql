create table dripdrop.workers (
  id uuid not null,
  host text not null,
  pid int not null,
  version text not null,
  started_at timestamptz not null default dripdrop._now(),
  seen_at timestamptz not null,
  doing jsonb not null default '{}',
  constraint workers_pkey primary key (id),
  constraint workers_do_things check (jsonb_typeof(doing) = 'object')
)
with (fillfactor = 50);

comment on table dripdrop.workers is
  'The workers of the daemon that run, or were not heard of again: gone when they end in order, '
  'and a day after they were last seen.';
comment on column dripdrop.workers.id is 'What the worker has called itself.';
comment on column dripdrop.workers.host is 'The name of its machine.';
comment on column dripdrop.workers.pid is 'Its process there.';
comment on column dripdrop.workers.version is 'The version of its driver.';
comment on column dripdrop.workers.started_at is 'When it was first seen.';
comment on column dripdrop.workers.seen_at is
  'When it was last seen; it says so every few seconds.';
comment on column dripdrop.workers.doing is
  '{"in_flight": {channel: messages claimed and not recorded}, "failing": {stage: the error}}.';
