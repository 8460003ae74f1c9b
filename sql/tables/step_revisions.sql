create table dripdrop.step_revisions (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  step_id uuid not null,
  name text not null,
  template_content jsonb not null,
  replaced_by text not null default session_user,
  replaced_at timestamptz not null default dripdrop._now(),
  constraint step_revisions_pkey primary key (id),
  constraint step_revisions_of_a_step foreign key (step_id)
  references dripdrop.steps (id) on delete cascade
);

create index step_revisions_by_step on dripdrop.step_revisions (step_id);

comment on table dripdrop.step_revisions is
  'What a step said before its words were edited in place.';
comment on column dripdrop.step_revisions.id is 'Time-ordered uuid.';
comment on column dripdrop.step_revisions.tenant_key is 'The tenant of the step.';
comment on column dripdrop.step_revisions.step_id is 'The step.';
comment on column dripdrop.step_revisions.name is 'Its name until then.';
comment on column dripdrop.step_revisions.template_content is 'Its template until then.';
comment on column dripdrop.step_revisions.replaced_by is 'The database user who edited it.';
comment on column dripdrop.step_revisions.replaced_at is 'When it was edited.';
