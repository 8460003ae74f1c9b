create table dripdrop.step_transitions (
  id uuid not null default dripdrop._uuidv7(),
  sequence_version_id uuid not null,
  tenant_key text,
  from_step_id uuid,
  to_step_id uuid,
  condition_mode text not null default 'always',
  priority int not null default 0,
  config jsonb not null default '{}',
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint step_transitions_pkey primary key (id),
  constraint step_transitions_of_a_version foreign key (sequence_version_id)
  references dripdrop.sequence_versions (id) on delete cascade,
  constraint step_transitions_from_a_step foreign key (from_step_id)
  references dripdrop.steps (id) on delete cascade,
  constraint step_transitions_to_a_step foreign key (to_step_id)
  references dripdrop.steps (id) on delete cascade,
  constraint step_transitions_one_per_priority
  unique nulls not distinct (sequence_version_id, from_step_id, priority),
  constraint step_transitions_mode_is_known check (condition_mode in ('always', 'all', 'any'))
);

comment on table dripdrop.step_transitions is
  'A way from one step to another, with a priority and conditions.';
comment on column dripdrop.step_transitions.id is 'Time-ordered uuid.';
comment on column dripdrop.step_transitions.sequence_version_id is 'The version.';
comment on column dripdrop.step_transitions.tenant_key is 'The tenant of the version.';
comment on column dripdrop.step_transitions.from_step_id is 'Where it starts; null is the entry.';
comment on column dripdrop.step_transitions.to_step_id is
  'Where it leads; null completes the enrolment.';
comment on column dripdrop.step_transitions.condition_mode is
  'always, or all or any of its conditions.';
comment on column dripdrop.step_transitions.priority is
  'Lowest first; the first that matches is taken.';
comment on column dripdrop.step_transitions.config is 'The application''s own.';
comment on column dripdrop.step_transitions.inserted_at is 'When the row was made.';
comment on column dripdrop.step_transitions.updated_at is 'When the row last changed.';
