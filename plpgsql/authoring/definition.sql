-- A whole sequence as one document, in its one form:
-- {key, name, description, time_zone, reentry, reentry_interval, priority, exclusive_group,
-- metadata, mode, config, activate,
-- hooks: [hook, …], goals: [condition, …], exit_when: [condition, …], entry: [transition, …],
-- steps: [step, …]}. Every fault is reported with the path to it.
--
-- raises  ZD206 malformed, or what the part itself raises, always with the path in the message
create or replace function dripdrop._canonical_definition(tenant_key text, definition jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault text;
  v_path text := '';
  v_steps jsonb := jsonb '[]';
  v_step jsonb;
  v_hooks jsonb := jsonb '[]';
  v_hook jsonb;
  v_goals jsonb;
  v_exits jsonb;
  v_entry jsonb;
  v_metadata jsonb;
  v_state text;
  v_message text;
  v_hint text;
  v_column text;
begin
  if jsonb_typeof(definition) is distinct from 'object' then
    raise exception 'the definition is not an object' using
      errcode = 'ZD206', hint = 'Pass {"key": …, "name": …, "steps": […]}.';
  end if;
  select field into v_fault
  from jsonb_object_keys(definition) as field
  where field not in (
    'key', 'name', 'description', 'time_zone', 'reentry', 'reentry_interval', 'priority',
    'exclusive_group', 'metadata', 'mode', 'config', 'activate', 'hooks', 'goals', 'exit_when', 'entry', 'steps'
  );
  if v_fault is not null then
    raise exception 'at %: a sequence has no such field', dripdrop._quoted(v_fault) using
      errcode = 'ZD206', column = v_fault,
      hint = dripdrop._instead(
        'sequence', v_fault,
        'The fields are key, name, description, time_zone, reentry, reentry_interval, '
        'priority, exclusive_group, metadata, mode, config, activate, hooks, goals, exit_when, '
        'entry and steps.'
      );
  end if;
  select field into v_fault
  from unnest(array[
    'key', 'name', 'description', 'time_zone', 'reentry', 'reentry_interval', 'exclusive_group',
    'mode'
  ]) as field
  where jsonb_typeof(definition -> field) not in ('string', 'null');
  if v_fault is not null then
    raise exception 'at %: not a text', dripdrop._quoted(v_fault) using
      errcode = 'ZD206', column = v_fault, hint = 'Write it in double quotes.';
  end if;
  if coalesce(definition ->> 'priority', '0') !~ '^-?[0-9]{1,6}$' then
    raise exception 'at "priority": not a whole number' using
      errcode = 'ZD206', column = 'priority', hint = 'Leave it out for 0; the higher goes first.';
  end if;
  if jsonb_typeof(definition -> 'steps') is distinct from 'array'
    or definition -> 'steps' = '[]'
  then
    raise exception 'at "steps": not a list of steps' using
      errcode = 'ZD206', column = 'steps', hint = 'A sequence has at least one step.';
  end if;
  if coalesce(jsonb_typeof(definition -> 'hooks'), 'null') not in ('array', 'null') then
    raise exception 'at "hooks": not a list of hooks' using
      errcode = 'ZD206', column = 'hooks', hint = 'Write [{"key": "score", "url": …}].';
  end if;
  if coalesce(jsonb_typeof(definition -> 'activate'), 'boolean') <> 'boolean' then
    raise exception 'at "activate": not true or false' using
      errcode = 'ZD206', column = 'activate',
      hint = 'Leave it out to activate the version at once.';
  end if;

  begin
    perform dripdrop._check_sequence(
      definition ->> 'key',
      definition ->> 'name',
      definition ->> 'time_zone',
      coalesce(definition ->> 'reentry', 'never'),
      definition ->> 'reentry_interval',
      coalesce((definition ->> 'priority')::int, 0),
      definition ->> 'exclusive_group',
      coalesce(definition -> 'metadata', '{}')
    );
    perform dripdrop._check_text(definition ->> 'description', 'description', 10000);
    v_metadata := dripdrop._canonical_metadata(
      tenant_key, coalesce(definition -> 'metadata', '{}')
    );
    perform dripdrop._check_version(
      coalesce(definition ->> 'mode', 'lifecycle'),
      coalesce(definition -> 'config', '{}')
    );
    v_goals := dripdrop._canonical_conditions(definition -> 'goals', 'goals');
    v_exits := dripdrop._canonical_conditions(definition -> 'exit_when', 'exit_when');
    v_entry := dripdrop._canonical_transitions(definition -> 'entry', 'entry');
    for i in 0 .. coalesce(jsonb_array_length(nullif(definition -> 'hooks', 'null')), 0) - 1 loop
      v_path := format('hooks[%s].', i);
      v_hook := dripdrop._canonical_http_hook(tenant_key, definition -> 'hooks' -> i);
      if v_hooks @> jsonb_build_array(jsonb_build_object('key', v_hook -> 'key')) then
        raise exception 'hook key % is used twice', dripdrop._quoted(v_hook ->> 'key') using
          errcode = 'ZD206', column = 'key', hint = 'Keys are unique within a sequence.';
      end if;
      v_hooks := v_hooks || v_hook;
    end loop;
    for i in 0 .. jsonb_array_length(definition -> 'steps') - 1 loop
      v_path := format('steps[%s].', i);
      if definition -> 'steps' -> i ? 'position' then
        raise exception 'a step of a document has no position' using
          errcode = 'ZD206', column = 'position', hint = 'Steps follow one another as they stand.';
      end if;
      v_step := dripdrop._canonical_step(tenant_key, definition -> 'steps' -> i);
      if v_steps @> jsonb_build_array(jsonb_build_object('key', v_step -> 'key')) then
        raise exception 'step key % is used twice', dripdrop._quoted(v_step ->> 'key') using
          errcode = 'ZD206', column = 'key', hint = 'Keys are unique within a sequence.';
      end if;
      v_steps := v_steps || jsonb_set(v_step, '{position}', to_jsonb(i + 1));
    end loop;

    v_path := '';
    select t.path, t.step into v_column, v_message
    from (
      select format('entry[%s].to', e.place - 1), e.transition ->> 'to'
      from jsonb_array_elements(v_entry) with ordinality as e (transition, place)
      union all
      select
        format('steps[%s].transitions[%s].to', s.place - 1, t.place - 1), t.transition ->> 'to'
      from jsonb_array_elements(v_steps) with ordinality as s (step, place)
      cross join jsonb_array_elements(s.step -> 'transitions')
        with ordinality as t (transition, place)
      union all
      select format('steps[%s].timing.on_timeout', s.place - 1), s.step #>> '{timing,on_timeout}'
      from jsonb_array_elements(v_steps) with ordinality as s (step, place)
      where s.step #>> '{timing,on_timeout}' not in ('continue', 'exit')
    ) as t (path, step)
    where t.step is not null
      and not v_steps @> jsonb_build_array(jsonb_build_object('key', t.step))
    limit 1;
    if v_message is not null then
      raise exception 'there is no step %', dripdrop._quoted(v_message) using
        errcode = 'ZD206', column = v_column, hint = 'Name the key of a step of this document.';
    end if;
  exception
    when others then
      get stacked diagnostics
        v_state = returned_sqlstate,
        v_message = message_text,
        v_hint = pg_exception_hint,
        v_column = column_name;
      if v_state not like 'ZD%' then
        raise;
      end if;
      raise exception 'at %: %', dripdrop._quoted(rtrim(v_path || v_column, '.')), v_message using
        errcode = v_state, column = rtrim(v_path || v_column, '.'), hint = v_hint;
  end;

  return jsonb_build_object(
    'key', definition ->> 'key',
    'name', definition ->> 'name',
    'description', definition -> 'description',
    'time_zone', definition -> 'time_zone',
    'reentry', coalesce(definition ->> 'reentry', 'never'),
    'reentry_interval', (definition ->> 'reentry_interval')::interval,
    'priority', coalesce((definition ->> 'priority')::int, 0),
    'exclusive_group', definition -> 'exclusive_group',
    'metadata', v_metadata,
    'mode', coalesce(definition ->> 'mode', 'lifecycle'),
    'config', coalesce(definition -> 'config', '{}'),
    'activate', coalesce((definition ->> 'activate')::boolean, true),
    'hooks', v_hooks,
    'goals', v_goals,
    'exit_when', v_exits,
    'entry', v_entry,
    'steps', v_steps
  );
end
$$;

comment on function dripdrop._canonical_definition(text, jsonb) is
  'A sequence document, checked, with every field present.';

-- What identifies a version's content, in canonical form. What belongs to the sequence is changed
-- in place and makes no version: its words, goals, exits, hooks and who may return.
create or replace function dripdrop._content_hash(canonical jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._digest(
    jsonb_build_object(
      'mode', canonical -> 'mode',
      'config', canonical -> 'config',
      'entry', canonical -> 'entry',
      'steps', canonical -> 'steps'
    )::text
  )
$$;

comment on function dripdrop._content_hash(jsonb) is 'SHA-256 of what a version is made of.';

-- A stored version in the document's form, so that plan() compares like with like.
create or replace function dripdrop._version_steps(sequence_version_id uuid)
returns table (key text, step jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    s.key,
    jsonb_build_object(
      'key', s.key,
      'name', s.name,
      'position', s.position,
      'channel', s.channel,
      'timing', s.timing,
      'template', s.template_content,
      'adapter', a.name,
      'config', s.config,
      'active', s.active,
      'conditions', (
        select coalesce(
          jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id), '[]'
        )
        from dripdrop.conditions as c
        where c.step_id = s.id
      ),
      'transitions', dripdrop._transition_documents(s.sequence_version_id, s.id)
    )
  from dripdrop.steps as s
  left join dripdrop.channel_adapters as a on a.id = s.channel_adapter_id
  where s.sequence_version_id = _version_steps.sequence_version_id
$$;

comment on function dripdrop._version_steps(uuid) is 'The steps of a version as documents.';

-- So that a document is known by what it says, whoever made the version: apply() or the single
-- functions.
create or replace function dripdrop._version_document(version dripdrop.sequence_versions)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'mode', version.mode,
    'config', version.config,
    'entry', dripdrop._transition_documents(version.id, null),
    'steps', jsonb_agg(s.step order by (s.step ->> 'position')::int, s.key)
  )
  from dripdrop._version_steps(version.id) as s
$$;

comment on function dripdrop._version_document(dripdrop.sequence_versions) is
  'A stored version in the form of a canonical document.';

-- A sequence in the document's form, less its versions and hooks.
create or replace function dripdrop._sequence_document(sequence dripdrop.sequences)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'name', sequence.name,
    'description', sequence.description,
    'time_zone', sequence.time_zone,
    'reentry', sequence.reentry,
    'reentry_interval', sequence.reentry_interval,
    'priority', sequence.priority,
    'exclusive_group', sequence.exclusive_group,
    'metadata', sequence.metadata,
    'goals', coalesce(
      jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id)
        filter (where c.outcome = 'goal'),
      '[]'
    ),
    'exit_when', coalesce(
      jsonb_agg(dripdrop._condition_document(c) order by c.position, c.id)
        filter (where c.outcome = 'exit'),
      '[]'
    )
  )
  from dripdrop.conditions as c
  where c.sequence_id = sequence.id
$$;

comment on function dripdrop._sequence_document(dripdrop.sequences) is
  'What a document says of a sequence itself.';
