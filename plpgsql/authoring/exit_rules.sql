-- Goals and exits belong to the sequence: they hold for everybody in it, on whatever version.
--
-- locks   the sequence
-- raises  ZD101 unknown sequence, ZD201 bad outcome, ZD208 too many, and what
--         _canonical_condition() raises
create or replace function dripdrop.create_exit_rule(
  tenant_key text,
  sequence_id uuid,
  outcome text,
  condition jsonb
)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_canonical jsonb;
  v_condition dripdrop.conditions;
begin
  perform dripdrop._check_json(condition, 'condition');
  v_canonical := dripdrop._canonical_condition(create_exit_rule.condition);
  if coalesce(outcome not in ('goal', 'exit'), true) then
    raise exception 'outcome % is unknown', dripdrop._quoted(outcome) using
      errcode = 'ZD201', column = 'outcome',
      hint = 'Use goal, which completes an enrolment, or exit, which cancels it.';
  end if;
  perform from dripdrop.sequences as q
  where q.id = create_exit_rule.sequence_id
    and q.tenant_key is not distinct from create_exit_rule.tenant_key
  for no key update;
  if not found then
    raise exception 'sequence "%" not found', sequence_id using
      errcode = 'ZD101', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  perform dripdrop._check_most(
    (
      select count(*) + 1
      from dripdrop.conditions as c
      where c.sequence_id = create_exit_rule.sequence_id
        and c.outcome = create_exit_rule.outcome
    ),
    'conditions', 'condition'
  );
  v_condition := dripdrop._insert_condition(
    create_exit_rule.tenant_key,
    v_canonical,
    (
      select coalesce(max(c.position) + 1, 1)
      from dripdrop.conditions as c
      where c.sequence_id = create_exit_rule.sequence_id
        and c.outcome = create_exit_rule.outcome
    ),
    sequence_id => create_exit_rule.sequence_id,
    outcome => create_exit_rule.outcome
  );
  perform dripdrop._set_sequence_hooks(v_condition.sequence_id);
  return v_condition;
end
$$;

comment on function dripdrop.create_exit_rule(text, uuid, text, jsonb) is
  'Adds a condition that ends the enrolments of a sequence: as a goal, which completes them, or as '
  'an exit, which cancels them.';

-- locks   the sequence
-- raises  ZD109 unknown exit rule
create or replace function dripdrop.drop_exit_rule(tenant_key text, condition_id uuid)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_condition dripdrop.conditions;
begin
  perform from dripdrop.sequences as q
  where q.id = (
    select c.sequence_id
    from dripdrop.conditions as c
    where c.id = drop_exit_rule.condition_id
      and c.tenant_key is not distinct from drop_exit_rule.tenant_key
  )
  for no key update;
  delete from dripdrop.conditions as c
  where c.id = drop_exit_rule.condition_id
    and c.tenant_key is not distinct from drop_exit_rule.tenant_key
    and c.sequence_id is not null
  returning c.* into v_condition;
  if not found then
    raise exception 'exit rule "%" not found', condition_id using
      errcode = 'ZD109', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform dripdrop._set_sequence_hooks(v_condition.sequence_id);
  return v_condition;
end
$$;

comment on function dripdrop.drop_exit_rule(text, uuid) is
  'Removes a goal or an exit from a sequence and returns what it was.';

-- A hook that a goal names is a hook of every step that somebody may be on.
create or replace function dripdrop._set_sequence_hooks(sequence_id uuid)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._set_step_hooks(v.id)
  from dripdrop.sequence_versions as v
  where v.sequence_id = _set_sequence_hooks.sequence_id
    and v.state <> 'draft'
$$;

comment on function dripdrop._set_sequence_hooks(uuid) is
  'Finds out again which hooks the steps need, in every version that people can be on.';
