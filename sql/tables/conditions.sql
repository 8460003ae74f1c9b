create table dripdrop.conditions (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  step_id uuid,
  transition_id uuid,
  sequence_id uuid,
  outcome text,
  name text,
  condition_type text not null,
  operator text,
  expected_value jsonb,
  field_path jsonpath,
  predicate jsonpath,
  hook text,
  config jsonb not null default '{}',
  position int not null default 0,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint conditions_pkey primary key (id),
  constraint conditions_of_a_step foreign key (step_id)
  references dripdrop.steps (id) on delete cascade,
  constraint conditions_of_a_transition foreign key (transition_id)
  references dripdrop.step_transitions (id) on delete cascade,
  constraint conditions_of_a_sequence foreign key (sequence_id)
  references dripdrop.sequences (id) on delete cascade,
  constraint conditions_have_one_owner check (
    num_nonnulls(step_id, transition_id, sequence_id) = 1
  ),
  constraint conditions_of_a_sequence_end_enrollments check (
    (sequence_id is null and outcome is null)
    or (sequence_id is not null and outcome is not null and outcome in ('goal', 'exit'))
  ),
  constraint conditions_type_is_known
  check (condition_type in ('hook', 'enrollment_data', 'event', 'predicate', 'time_window')),
  constraint conditions_operator_is_known
  check (operator in ('==', '!=', '>', '<', '>=', '<=', 'in', 'contains')),
  constraint conditions_compare_values check (
    (condition_type in ('hook', 'enrollment_data', 'event'))
    = (operator is not null and expected_value is not null)
  ),
  constraint conditions_of_data_have_a_path check (
    (condition_type = 'enrollment_data') = (field_path is not null)
  ),
  constraint conditions_of_a_predicate_have_one check (
    (condition_type = 'predicate') = (predicate is not null)
  ),
  constraint conditions_of_a_hook_name_it check ((condition_type = 'hook') = (hook is not null)),
  constraint conditions_config_is_an_object check (jsonb_typeof(config) = 'object')
);

create index conditions_by_step on dripdrop.conditions (step_id) where step_id is not null;
create index conditions_by_transition
on dripdrop.conditions (transition_id)
where transition_id is not null;
create index conditions_by_sequence
on dripdrop.conditions (sequence_id)
where sequence_id is not null;

comment on table dripdrop.conditions is
  'A test that gates a step, routes a transition, or ends the enrolments of a sequence.';
comment on column dripdrop.conditions.id is 'Time-ordered uuid.';
comment on column dripdrop.conditions.tenant_key is 'The tenant of its owner.';
comment on column dripdrop.conditions.step_id is 'The step it gates.';
comment on column dripdrop.conditions.transition_id is 'The transition it routes.';
comment on column dripdrop.conditions.sequence_id is 'The sequence whose enrolments it ends.';
comment on column dripdrop.conditions.outcome is
  'Of a sequence''s: goal completes the enrolment, exit cancels it.';
comment on column dripdrop.conditions.name is
  'What people call it; the exit reason of the enrolments it ends.';
comment on column dripdrop.conditions.condition_type is
  'enrollment_data, event, hook, predicate or time_window.';
comment on column dripdrop.conditions.operator is 'How the value is compared.';
comment on column dripdrop.conditions.expected_value is
  'What it is compared with; for an event, how often it happened.';
comment on column dripdrop.conditions.field_path is 'SQL/JSON path into the enrolment''s data.';
comment on column dripdrop.conditions.predicate is
  'SQL/JSON path predicate over {enrollment, subscriber, sequence, step, hooks, steps}.';
comment on column dripdrop.conditions.hook is 'The key of the hook whose value is compared.';
comment on column dripdrop.conditions.config is
  'Of an event: {event, match, within, since}; of a time window: {start, end, days, time_zone}.';
comment on column dripdrop.conditions.position is 'Its place among those of its owner.';
comment on column dripdrop.conditions.inserted_at is 'When the row was made.';
comment on column dripdrop.conditions.updated_at is 'When the row last changed.';
