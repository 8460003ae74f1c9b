-- What a draft is made of can be changed and taken away, by the id it was created with. A version
-- that is or was active stays what people were enrolled into.

-- raises  ZD104 unknown step, ZD111 version not a draft
create or replace function dripdrop._draft_step(tenant_key text, step_id uuid)
returns dripdrop.steps
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step dripdrop.steps;
begin
  select s.* into v_step
  from dripdrop.steps as s
  where s.id = _draft_step.step_id
    and s.tenant_key is not distinct from _draft_step.tenant_key;
  if not found then
    raise exception 'step "%" not found', step_id using
      errcode = 'ZD104', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform dripdrop._check_draft(array[v_step.sequence_version_id]);
  return v_step;
end
$$;

comment on function dripdrop._draft_step(text, uuid) is 'A step of a draft of the tenant.';

-- raises  ZD104 unknown step, ZD111 version not a draft, ZD113 position taken, and what
--         _canonical_step() raises
create or replace function dripdrop.update_step(
  tenant_key text,
  step_id uuid,
  name text default null,
  "position" int default null,
  timing jsonb default null,
  template jsonb default null,
  adapter text default null,
  config jsonb default null,
  active boolean default null
)
returns dripdrop.steps
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step dripdrop.steps;
  v_document jsonb;
begin
  perform dripdrop._check_json(template, 'template', 262144);
  perform dripdrop._check_json(timing, 'timing');
  perform dripdrop._check_json(config, 'config');
  v_step := dripdrop._draft_step(tenant_key, step_id);
  v_document := dripdrop._canonical_step(
    tenant_key,
    jsonb_build_object(
      'key', v_step.key,
      'channel', v_step.channel,
      'name', coalesce(update_step.name, v_step.name),
      'position', coalesce(update_step."position", v_step.position),
      'timing', coalesce(update_step.timing, v_step.timing),
      'template', coalesce(update_step.template, v_step.template_content),
      'adapter', nullif(update_step.adapter, ''),
      'config', coalesce(update_step.config, v_step.config),
      'active', coalesce(update_step.active, v_step.active)
    )
  );
  if exists (
    select from dripdrop.steps as s
    where s.sequence_version_id = v_step.sequence_version_id
      and s.position = (v_document ->> 'position')::int
      and s.id <> v_step.id
  ) then
    raise exception 'the version has a step at position % already', "position" using
      errcode = 'ZD113', column = 'position', hint = 'Positions are unique within a version.';
  end if;
  update dripdrop.steps as s
  set name = v_document ->> 'name',
      position = (v_document ->> 'position')::int,
      timing = v_document -> 'timing',
      template_content = v_document -> 'template',
      channel_adapter_id = case
        when update_step.adapter is null then s.channel_adapter_id
        when update_step.adapter <> ''
        then dripdrop._named_adapter(
          v_step.tenant_key, v_step.channel, update_step.adapter, null, 'adapter'
        )
      end,
      config = v_document -> 'config',
      active = (v_document ->> 'active')::boolean,
      updated_at = dripdrop._now()
  where s.id = v_step.id
  returning s.* into v_step;
  return v_step;
end
$$;

comment on function dripdrop.update_step(
  text, uuid, text, int, jsonb, jsonb, text, jsonb, boolean
) is
  'Changes a step of a draft; null leaves a value as it is, an empty adapter leaves the choice to '
  'the defaults. Of an active version update_step_content() changes the words.';

-- raises  ZD104 unknown step, ZD111 version not a draft, ZD124 another step leads to it
create or replace function dripdrop.delete_step(tenant_key text, step_id uuid)
returns dripdrop.steps
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step dripdrop.steps := dripdrop._draft_step(tenant_key, step_id);
  v_user text;
begin
  select u.name into v_user
  from (
    select coalesce('step ' || dripdrop._quoted(s.key), 'the entry') as name
    from dripdrop.step_transitions as t
    left join dripdrop.steps as s on s.id = t.from_step_id
    where t.to_step_id = v_step.id and t.from_step_id is distinct from v_step.id
    union all
    select 'the timeout of step ' || dripdrop._quoted(s.key)
    from dripdrop.steps as s
    where s.sequence_version_id = v_step.sequence_version_id
      and s.timing ->> 'on_timeout' = v_step.key
      and s.id <> v_step.id
  ) as u
  order by u.name
  limit 1;
  if v_user is not null then
    raise exception '% leads to step %', v_user, dripdrop._quoted(v_step.key) using
      errcode = 'ZD124', column = 'step_id',
      hint = 'Delete or change that first: delete_step_transition(), update_step().';
  end if;
  delete from dripdrop.steps as s where s.id = v_step.id;
  return v_step;
end
$$;

comment on function dripdrop.delete_step(text, uuid) is
  'Deletes a step of a draft with its conditions and the transitions from it, and returns it. One '
  'that another step leads to is refused.';

-- raises  ZD109 unknown transition, ZD111 version not a draft
create or replace function dripdrop._draft_transition(tenant_key text, transition_id uuid)
returns dripdrop.step_transitions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_transition dripdrop.step_transitions;
begin
  select t.* into v_transition
  from dripdrop.step_transitions as t
  where t.id = _draft_transition.transition_id
    and t.tenant_key is not distinct from _draft_transition.tenant_key;
  if not found then
    raise exception 'transition "%" not found', transition_id using
      errcode = 'ZD109', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform dripdrop._check_draft(array[v_transition.sequence_version_id]);
  return v_transition;
end
$$;

comment on function dripdrop._draft_transition(text, uuid) is
  'A transition of a draft of the tenant.';

-- raises  ZD104 no such step, ZD109 unknown transition, ZD111 version not a draft, ZD113 priority
--         taken, ZD201 bad field
create or replace function dripdrop.update_step_transition(
  tenant_key text,
  transition_id uuid,
  to_step text default null,
  condition_mode text default null,
  priority int default null
)
returns dripdrop.step_transitions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_transition dripdrop.step_transitions := dripdrop._draft_transition(tenant_key, transition_id);
begin
  if condition_mode not in ('all', 'any', 'always') then
    raise exception 'condition_mode % is unknown', dripdrop._quoted(condition_mode) using
      errcode = 'ZD201', column = 'condition_mode', hint = 'Use all, any or always.';
  end if;
  update dripdrop.step_transitions as t
  set to_step_id = case
        when update_step_transition.to_step is null then t.to_step_id
        else dripdrop._step_id(t.sequence_version_id, nullif(to_step, ''), 'to_step')
      end,
      condition_mode = coalesce(update_step_transition.condition_mode, t.condition_mode),
      priority = coalesce(update_step_transition.priority, t.priority),
      updated_at = dripdrop._now()
  where t.id = v_transition.id
  returning t.* into v_transition;
  return v_transition;
exception
  when unique_violation then
    raise exception 'there is a transition with priority % from there already', priority using
      errcode = 'ZD113', column = 'priority', hint = 'Priorities are unique among those of a step.';
end
$$;

comment on function dripdrop.update_step_transition(text, uuid, text, text, int) is
  'Changes a transition of a draft; null leaves a value as it is, an empty to_step completes.';

-- raises  ZD109 unknown transition, ZD111 version not a draft
create or replace function dripdrop.delete_step_transition(tenant_key text, transition_id uuid)
returns dripdrop.step_transitions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_transition dripdrop.step_transitions := dripdrop._draft_transition(tenant_key, transition_id);
begin
  delete from dripdrop.step_transitions as t where t.id = v_transition.id;
  return v_transition;
end
$$;

comment on function dripdrop.delete_step_transition(text, uuid) is
  'Deletes a transition of a draft with its conditions, and returns it.';

-- raises  ZD109 unknown condition
create or replace function dripdrop._own_condition(
  tenant_key text,
  condition_id uuid,
  is_rule boolean
)
returns dripdrop.conditions
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_condition dripdrop.conditions;
begin
  select c.* into v_condition
  from dripdrop.conditions as c
  where c.id = _own_condition.condition_id
    and c.tenant_key is not distinct from _own_condition.tenant_key
    and (c.sequence_id is not null) = is_rule;
  if not found then
    raise exception '% "%" not found', case when is_rule then 'exit rule' else 'condition' end,
      condition_id using
      errcode = 'ZD109', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_condition;
end
$$;

comment on function dripdrop._own_condition(text, uuid, boolean) is
  'A condition of a step or a transition, or an exit rule, of the tenant, or ZD109.';

-- In its place, under its id.
create or replace function dripdrop._replace_condition(condition_id uuid, condition jsonb)
returns dripdrop.conditions
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.conditions as c
  set name = condition ->> 'name',
      condition_type = condition ->> 'type',
      operator = condition ->> 'operator',
      expected_value = condition -> 'expected_value',
      field_path = (condition ->> 'field_path')::jsonpath,
      predicate = (condition ->> 'predicate')::jsonpath,
      hook = condition ->> 'hook',
      config = condition - array[
        'type', 'name', 'operator', 'expected_value', 'field_path', 'predicate', 'hook'
      ],
      updated_at = dripdrop._now()
  where c.id = _replace_condition.condition_id
  returning c.*
$$;

comment on function dripdrop._replace_condition(uuid, jsonb) is
  'Changes a condition to what a canonical document says.';

-- raises  ZD109 unknown condition, and what _canonical_condition() raises; the trigger raises ZD111
--         when the version is not a draft
create or replace function dripdrop.update_condition(
  tenant_key text,
  condition_id uuid,
  condition jsonb
)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(condition, 'condition');
  perform dripdrop._own_condition(tenant_key, condition_id, false);
  return dripdrop._replace_condition(condition_id, dripdrop._canonical_condition(condition));
end
$$;

comment on function dripdrop.update_condition(text, uuid, jsonb) is
  'Replaces a condition of a step or a transition of a draft by another one, in its place.';

-- raises  ZD109 unknown condition; the trigger raises ZD111 when the version is not a draft
create or replace function dripdrop.delete_condition(tenant_key text, condition_id uuid)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_condition dripdrop.conditions := dripdrop._own_condition(tenant_key, condition_id, false);
begin
  delete from dripdrop.conditions as c where c.id = v_condition.id;
  return v_condition;
end
$$;

comment on function dripdrop.delete_condition(text, uuid) is
  'Deletes a condition of a step or a transition of a draft, and returns it.';

-- Whoever is under way is asked the new rule from now on.
--
-- locks   the sequence
-- raises  ZD109 unknown exit rule, and what _canonical_condition() raises
create or replace function dripdrop.update_exit_rule(
  tenant_key text,
  condition_id uuid,
  condition jsonb
)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rule dripdrop.conditions;
begin
  perform dripdrop._check_json(condition, 'condition');
  v_rule := dripdrop._own_condition(tenant_key, condition_id, true);
  perform from dripdrop.sequences as q where q.id = v_rule.sequence_id for no key update;
  v_rule := dripdrop._replace_condition(v_rule.id, dripdrop._canonical_condition(condition));
  perform dripdrop._set_sequence_hooks(v_rule.sequence_id);
  return v_rule;
end
$$;

comment on function dripdrop.update_exit_rule(text, uuid, jsonb) is
  'Replaces a goal or an exit of a sequence by another condition.';
