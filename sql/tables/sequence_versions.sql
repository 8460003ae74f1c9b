create table dripdrop.sequence_versions (
  id uuid not null default dripdrop._uuidv7(),
  sequence_id uuid not null,
  tenant_key text,
  version int not null,
  name text,
  state text not null default 'draft',
  mode text not null default 'lifecycle',
  config jsonb not null default '{}',
  content_hash text,
  published_at timestamptz,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint sequence_versions_pkey primary key (id),
  constraint sequence_versions_of_a_sequence foreign key (sequence_id)
  references dripdrop.sequences (id) on delete cascade,
  constraint sequence_versions_one_number unique (sequence_id, version),
  constraint sequence_versions_number_is_positive check (version > 0),
  constraint sequence_versions_state_is_known check (state in ('draft', 'active', 'archived')),
  constraint sequence_versions_mode_is_known check (mode in ('lifecycle', 'outbound')),
  constraint sequence_versions_config_is_an_object check (jsonb_typeof(config) = 'object')
);

create unique index sequence_versions_one_active
on dripdrop.sequence_versions (sequence_id)
where state = 'active';

comment on table dripdrop.sequence_versions is
  'One edition of a sequence. People stay on the version they were enrolled in.';
comment on column dripdrop.sequence_versions.id is 'Time-ordered uuid.';
comment on column dripdrop.sequence_versions.sequence_id is 'The sequence.';
comment on column dripdrop.sequence_versions.tenant_key is 'The tenant of the sequence.';
comment on column dripdrop.sequence_versions.version is 'Counts from 1 within the sequence.';
comment on column dripdrop.sequence_versions.name is 'An optional label.';
comment on column dripdrop.sequence_versions.state is
  'draft, active or archived; at most one active per sequence.';
comment on column dripdrop.sequence_versions.mode is
  'lifecycle: a sender is chosen per step; outbound: one sender for the whole enrolment.';
comment on column dripdrop.sequence_versions.config is 'Settings of the version.';
comment on column dripdrop.sequence_versions.content_hash is
  'SHA-256 of the document that apply() made it from; null when built by hand.';
comment on column dripdrop.sequence_versions.published_at is 'When it was last activated.';
comment on column dripdrop.sequence_versions.inserted_at is 'When the row was made.';
comment on column dripdrop.sequence_versions.updated_at is 'When the row last changed.';
