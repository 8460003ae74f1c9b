create table dripdrop.sequences (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  key text not null,
  name text not null,
  description text,
  active boolean not null default true,
  reentry text not null default 'never',
  reentry_interval interval,
  priority int not null default 0,
  exclusive_group text,
  time_zone text,
  metadata jsonb not null default '{}',
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint sequences_pkey primary key (id),
  constraint sequences_one_key_per_tenant unique nulls not distinct (tenant_key, key),
  constraint sequences_tenant_key_is_valid check (tenant_key <> '' and tenant_key not like ':%'),
  constraint sequences_key_is_a_slug check (key ~ '^[a-z0-9][a-z0-9_-]*$'),
  constraint sequences_reentry_is_known check (reentry in ('never', 'after_exit', 'always')),
  constraint sequences_reentry_interval_is_positive check (reentry_interval > interval '0'),
  constraint sequences_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

comment on table dripdrop.sequences is 'A named series of messages; its steps live in versions.';
comment on column dripdrop.sequences.id is 'Time-ordered uuid.';
comment on column dripdrop.sequences.tenant_key is
  'The tenant; null is the global scope, a scope of its own.';
comment on column dripdrop.sequences.key is
  'What the application calls it: lower case, unique in the tenant.';
comment on column dripdrop.sequences.name is 'What people call it.';
comment on column dripdrop.sequences.description is 'What it is for.';
comment on column dripdrop.sequences.active is
  'False retires the sequence: nothing is enrolled, and due steps end their enrolment.';
comment on column dripdrop.sequences.reentry is
  'never: one enrolment per subscriber and entry key, for good; after_exit: again once all former '
  'ones have ended; always: again once the last one of the same entry key has ended.';
comment on column dripdrop.sequences.reentry_interval is
  'How long after the start of a former enrolment the next may begin, at the earliest.';
comment on column dripdrop.sequences.priority is
  'Which of two messages goes first where only one may: the higher.';
comment on column dripdrop.sequences.exclusive_group is
  'Of the sequences of a group a subscriber hears from one at a time.';
comment on column dripdrop.sequences.time_zone is
  'For subscribers whose data names none; null means UTC.';
comment on column dripdrop.sequences.metadata is
  'The application''s own, and what chooses senders.';
comment on column dripdrop.sequences.inserted_at is 'When the row was made.';
comment on column dripdrop.sequences.updated_at is 'When the row last changed.';
