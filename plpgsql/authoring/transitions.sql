-- The ways on from a step, or the ways in, in their one form.
--
-- raises  ZD206, ZD208, ZD204, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_transitions(transitions jsonb, path text)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_canonical jsonb := jsonb '[]';
  v_transition jsonb;
  v_path text;
  v_conditions jsonb;
  v_mode text;
begin
  for i in 0 .. coalesce(jsonb_array_length(nullif(transitions, 'null')), 0) - 1 loop
    v_transition := transitions -> i;
    v_path := format('%s[%s].', path, i);
    perform dripdrop._check_document(v_transition, 'transition', v_path);
    v_conditions := dripdrop._canonical_conditions(
      v_transition -> 'conditions', v_path || 'conditions'
    );
    v_mode := coalesce(
      v_transition ->> 'when', case when v_conditions = '[]' then 'always' else 'all' end
    );
    if (v_mode = 'always') <> (v_conditions = '[]') then
      raise exception 'when is %, and there are % conditions',
        dripdrop._quoted(v_mode), jsonb_array_length(v_conditions) using
        errcode = 'ZD206', column = v_path || 'when',
        hint = 'all and any need conditions, always has none. Leave when out: it is all with '
          'conditions and always without.';
    end if;
    v_canonical := v_canonical || jsonb_build_object(
      'to', v_transition -> 'to', 'when', v_mode, 'conditions', v_conditions
    );
  end loop;
  perform dripdrop._check_most(
    (
      select sum(jsonb_array_length(t.value -> 'conditions'))
      from jsonb_array_elements(v_canonical) as t
    ),
    'conditions', path
  );
  return v_canonical;
end
$$;

comment on function dripdrop._canonical_transitions(jsonb, text) is
  'A list of transitions, each checked and with every field present.';

-- Stored transitions in the document's form, in the order in which they are tried.
create or replace function dripdrop._transition_documents(
  sequence_version_id uuid,
  from_step_id uuid
)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'to', s.key,
        'when', t.condition_mode,
        'conditions', (
          select coalesce(
            jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id), '[]'
          )
          from dripdrop.conditions as c
          where c.transition_id = t.id
        )
      )
      order by t.priority
    ),
    '[]'
  )
  from dripdrop.step_transitions as t
  left join dripdrop.steps as s on s.id = t.to_step_id
  where t.sequence_version_id = _transition_documents.sequence_version_id
    and t.from_step_id is not distinct from _transition_documents.from_step_id
$$;

comment on function dripdrop._transition_documents(uuid, uuid) is
  'The transitions from a step, or with null the entry, as documents.';

-- Priority defaults to the place after the last transition from the same step.
--
-- raises  ZD103 unknown version, ZD104 no such step in it, ZD113 priority taken, ZD201 bad field,
--         ZD208 too many; the trigger raises ZD111 when the version is not a draft
create or replace function dripdrop.create_step_transition(
  tenant_key text,
  sequence_version_id uuid,
  from_step text default null,
  to_step text default null,
  condition_mode text default 'always',
  priority int default null,
  config jsonb default '{}'
)
returns dripdrop.step_transitions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions;
begin
  perform dripdrop._check_json(config, 'config');
  v_version := dripdrop._get_version(tenant_key, sequence_version_id);
  if coalesce(condition_mode not in ('all', 'any', 'always'), true) then
    raise exception 'condition_mode % is unknown', dripdrop._quoted(condition_mode) using
      errcode = 'ZD201', column = 'condition_mode', hint = 'Use all, any or always.';
  end if;
  if jsonb_typeof(config) is distinct from 'object' then
    raise exception 'config is not an object' using
      errcode = 'ZD201', column = 'config', hint = 'Pass an object, for example ''{}''.';
  end if;
  perform dripdrop._check_most(
    (
      select count(*) + 1
      from dripdrop.step_transitions as t
      left join dripdrop.steps as s on s.id = t.from_step_id
      where t.sequence_version_id = v_version.id
        and s.key is not distinct from create_step_transition.from_step
    ),
    'transitions', 'from_step'
  );
  return dripdrop._insert_transition(
    v_version,
    dripdrop._step_id(v_version.id, create_step_transition.from_step, 'from_step'),
    dripdrop._step_id(v_version.id, create_step_transition.to_step, 'to_step'),
    create_step_transition.condition_mode,
    create_step_transition.priority,
    create_step_transition.config
  );
end
$$;

comment on function dripdrop.create_step_transition(text, uuid, text, text, text, int, jsonb) is
  'Adds a way from one step of a draft version to another. from_step null is the entry, to_step '
  'null completes; the lowest priority is tried first.';

-- raises  ZD104
create or replace function dripdrop._step_id(sequence_version_id uuid, key text, field text)
returns uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id uuid := (
    select s.id
    from dripdrop.steps as s
    where s.sequence_version_id = _step_id.sequence_version_id and s.key = _step_id.key
  );
begin
  if key is not null and v_id is null then
    raise exception 'step % not found in the version', dripdrop._quoted(key) using
      errcode = 'ZD104', column = _step_id.field,
      hint = 'Create the steps first; a transition joins steps of one version.';
  end if;
  return v_id;
end
$$;

comment on function dripdrop._step_id(uuid, text, text) is
  'The step of a version by its key, or ZD104; null for null.';

-- raises  ZD113 priority taken
create or replace function dripdrop._insert_transition(
  version dripdrop.sequence_versions,
  from_step_id uuid,
  to_step_id uuid,
  condition_mode text,
  priority int default null,
  config jsonb default '{}'
)
returns dripdrop.step_transitions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_transition dripdrop.step_transitions;
begin
  insert into dripdrop.step_transitions (
    sequence_version_id, tenant_key, from_step_id, to_step_id, condition_mode, priority, config
  )
  values (
    version.id,
    version.tenant_key,
    _insert_transition.from_step_id,
    _insert_transition.to_step_id,
    _insert_transition.condition_mode,
    coalesce(
      _insert_transition.priority,
      (
        select max(t.priority) + 1
        from dripdrop.step_transitions as t
        where t.sequence_version_id = version.id
          and t.from_step_id is not distinct from _insert_transition.from_step_id
      ),
      1
    ),
    _insert_transition.config
  )
  on conflict on constraint step_transitions_one_per_priority do nothing
  returning * into v_transition;
  if v_transition.id is null then
    raise exception 'there is a transition with priority % from there already', priority using
      errcode = 'ZD113', column = 'priority', hint = 'Leave it out for the place after the last.';
  end if;
  return v_transition;
end
$$;

comment on function dripdrop._insert_transition(
  dripdrop.sequence_versions, uuid, uuid, text, int, jsonb
) is
  'Inserts a transition between two steps of a version.';

create or replace function dripdrop._insert_transitions(
  version dripdrop.sequence_versions,
  from_step text,
  transitions jsonb
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_document jsonb;
  v_transition dripdrop.step_transitions;
begin
  for v_document in select * from jsonb_array_elements(transitions) loop
    v_transition := dripdrop._insert_transition(
      version,
      dripdrop._step_id(version.id, from_step, 'from'),
      dripdrop._step_id(version.id, v_document ->> 'to', 'to'),
      v_document ->> 'when'
    );
    perform dripdrop._insert_condition(
      version.tenant_key, c.condition, c.place, transition_id => v_transition.id
    )
    from jsonb_array_elements(v_document -> 'conditions') with ordinality as c (condition, place);
  end loop;
end
$$;

comment on function dripdrop._insert_transitions(dripdrop.sequence_versions, text, jsonb) is
  'Inserts the transitions from a step, or with null the entry, from canonical documents.';

create or replace trigger step_transitions_of_a_draft
before insert or delete or update of
sequence_version_id, from_step_id, to_step_id, condition_mode, priority
on dripdrop.step_transitions
for each row
execute function dripdrop._guard_steps();
