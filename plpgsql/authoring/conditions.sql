-- raises  ZD104 unknown step, ZD109 unknown transition, ZD201 not one owner,
--         ZD208 too many, and what _canonical_condition() raises; the trigger raises ZD111 when
--         the version is not a draft
create or replace function dripdrop.create_condition(
  tenant_key text,
  condition jsonb,
  step_id uuid default null,
  transition_id uuid default null
)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(condition, 'condition');
  if num_nonnulls(step_id, transition_id) <> 1 then
    raise exception 'a condition belongs to a step or to a transition' using
      errcode = 'ZD201', column = 'step_id',
      hint = 'Pass one of step_id and transition_id; create_exit_rule() is for sequences.';
  end if;
  perform from dripdrop.steps as s
  where s.id = create_condition.step_id
    and s.tenant_key is not distinct from create_condition.tenant_key;
  if not found and step_id is not null then
    raise exception 'step "%" not found', step_id using
      errcode = 'ZD104', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform from dripdrop.step_transitions as t
  where t.id = create_condition.transition_id
    and t.tenant_key is not distinct from create_condition.tenant_key;
  if not found and transition_id is not null then
    raise exception 'transition "%" not found', transition_id using
      errcode = 'ZD109', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  perform dripdrop._check_most(
    (
      select count(*) + 1
      from dripdrop.conditions as c
      where c.step_id = create_condition.step_id
        or c.transition_id in (
          select t.id
          from dripdrop.step_transitions as o
          join dripdrop.step_transitions as t
            on t.sequence_version_id = o.sequence_version_id
            and t.from_step_id is not distinct from o.from_step_id
          where o.id = create_condition.transition_id
        )
    ),
    'conditions', 'condition'
  );
  return dripdrop._insert_condition(
    create_condition.tenant_key,
    dripdrop._canonical_condition(create_condition.condition),
    (
      select coalesce(max(c.position) + 1, 1)
      from dripdrop.conditions as c
      where c.step_id = create_condition.step_id
        or c.transition_id = create_condition.transition_id
    ),
    step_id => create_condition.step_id,
    transition_id => create_condition.transition_id
  );
end
$$;

comment on function dripdrop.create_condition(text, jsonb, uuid, uuid) is
  'Adds a condition to a step, which it gates, or to a transition, which it routes, of a draft '
  'version.';

create or replace function dripdrop._insert_condition(
  tenant_key text,
  condition jsonb,
  "position" bigint,
  step_id uuid default null,
  transition_id uuid default null,
  sequence_id uuid default null,
  outcome text default null
)
returns dripdrop.conditions
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.conditions (
    tenant_key, step_id, transition_id, sequence_id, outcome, name, condition_type, operator,
    expected_value, field_path, predicate, hook, config, position
  )
  select
    _insert_condition.tenant_key,
    _insert_condition.step_id,
    _insert_condition.transition_id,
    _insert_condition.sequence_id,
    _insert_condition.outcome,
    condition ->> 'name',
    condition ->> 'type',
    condition ->> 'operator',
    condition -> 'expected_value',
    (condition ->> 'field_path')::jsonpath,
    (condition ->> 'predicate')::jsonpath,
    condition ->> 'hook',
    condition - array[
      'type', 'name', 'operator', 'expected_value', 'field_path', 'predicate', 'hook'
    ],
    _insert_condition."position"
  returning *
$$;

comment on function dripdrop._insert_condition(text, jsonb, bigint, uuid, uuid, uuid, text) is
  'Inserts a condition from its canonical document.';

create or replace function dripdrop._guard_conditions()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_draft(array(
    select s.sequence_version_id
    from dripdrop.steps as s
    where s.id in (new.step_id, old.step_id)
    union all
    select t.sequence_version_id
    from dripdrop.step_transitions as t
    where t.id in (new.transition_id, old.transition_id)
  ));
  return coalesce(new, old);
end
$$;

comment on function dripdrop._guard_conditions() is
  'Trigger: raises ZD111 when a version that is not a draft would change.';

create or replace trigger conditions_of_a_draft
before insert or update or delete on dripdrop.conditions
for each row
execute function dripdrop._guard_conditions();
