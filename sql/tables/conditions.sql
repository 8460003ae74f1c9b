create table dripdrop.conditions (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  step_id uuid,
  transition_id uuid,
  condition_type text not null,
  operator text not null default '==',
  hook_function text,
  http_hook_id uuid,
  field_path text,
  expected_value text,
  config jsonb not null default '{}',
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint conditions_pkey primary key (id),
  constraint conditions_of_a_step foreign key (step_id)
  references dripdrop.steps (id) on delete cascade,
  constraint conditions_of_a_transition foreign key (transition_id)
  references dripdrop.step_transitions (id) on delete cascade,
  constraint conditions_of_an_http_hook foreign key (http_hook_id)
  references dripdrop.http_hooks (id) on delete restrict,
  constraint conditions_have_one_owner check (num_nonnulls(step_id, transition_id) = 1),
  constraint conditions_type_is_known
  check (condition_type in ('hook', 'enrollment_data', 'event', 'predicate', 'time_window')),
  constraint conditions_operator_is_known
  check (operator in ('==', '!=', '>', '<', '>=', '<=', 'in', 'contains'))
);

create index conditions_by_step on dripdrop.conditions (step_id) where step_id is not null;
create index conditions_by_transition
on dripdrop.conditions (transition_id)
where transition_id is not null;

comment on table dripdrop.conditions is 'A test that gates a step or routes a transition.';
comment on column dripdrop.conditions.id is 'Time-ordered uuid.';
comment on column dripdrop.conditions.tenant_key is 'The tenant of the step or transition.';
comment on column dripdrop.conditions.step_id is 'The step it gates.';
comment on column dripdrop.conditions.transition_id is 'The transition it routes.';
comment on column dripdrop.conditions.condition_type is
  'hook, enrollment_data, event, predicate or time_window.';
comment on column dripdrop.conditions.operator is 'How the value is compared.';
comment on column dripdrop.conditions.hook_function is 'The SQL function whose value is compared.';
comment on column dripdrop.conditions.http_hook_id is 'The HTTP hook whose value is compared.';
comment on column dripdrop.conditions.field_path is 'jsonpath into the enrolment''s data.';
comment on column dripdrop.conditions.expected_value is 'What it is compared with.';
comment on column dripdrop.conditions.config is 'What the type needs besides.';
comment on column dripdrop.conditions.inserted_at is 'When the row was made.';
comment on column dripdrop.conditions.updated_at is 'When the row last changed.';
