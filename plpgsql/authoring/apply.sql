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
    raise exception 'at "%": a sequence has no such field', v_fault using
      errcode = 'ZD206', column = v_fault,
      hint = 'The fields are key, name, description, time_zone, reentry, reentry_interval, '
        'priority, exclusive_group, metadata, mode, config, activate, hooks, goals, exit_when, entry and steps.';
  end if;
  select field into v_fault
  from unnest(array[
    'key', 'name', 'description', 'time_zone', 'reentry', 'reentry_interval', 'exclusive_group',
    'mode'
  ]) as field
  where jsonb_typeof(definition -> field) not in ('string', 'null');
  if v_fault is not null then
    raise exception 'at "%": not a text', v_fault using
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
      coalesce(definition -> 'metadata', '{}')
    );
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
        raise exception 'hook key "%" is used twice', v_hook ->> 'key' using
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
        raise exception 'step key "%" is used twice', v_step ->> 'key' using
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
      raise exception 'there is no step "%"', v_message using
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
      raise exception 'at "%": %', rtrim(v_path || v_column, '.'), v_message using
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

-- A hook that the document leaves out stays: versions that people are on may need it, and its
-- secrets stand in no document.
create or replace function dripdrop._hook_changes(sequence_id uuid, hooks jsonb)
returns table (key text, is_new boolean, field text, old jsonb, new jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    n.hook ->> 'key',
    h.id is null,
    f.key,
    to_jsonb(h) -> f.key,
    f.value
  from jsonb_array_elements(hooks) with ordinality as n (hook, place)
  left join dripdrop.http_hooks as h
    on h.sequence_id = _hook_changes.sequence_id and h.key = n.hook ->> 'key'
  cross join jsonb_each(n.hook) as f
  where case when h.id is null then f.key = 'key' else to_jsonb(h) -> f.key <> f.value end
  order by n.place, f.key
$$;

comment on function dripdrop._hook_changes(uuid, jsonb) is
  'In which fields HTTP hooks differ from their documents; one row for a new one.';

-- The difference between a document and what is there, one row per field;
-- apply() makes exactly these changes.
--
-- raises  what _canonical_definition() raises
create or replace function dripdrop.plan(tenant_key text, definition jsonb)
returns table (action text, object text, field text, old jsonb, new jsonb)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new jsonb;
  v_sequence dripdrop.sequences;
  v_active dripdrop.sequence_versions;
  v_known int;
  v_version text;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  v_new := dripdrop._canonical_definition(tenant_key, definition);
  select q.* into v_sequence
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from plan.tenant_key and q.key = v_new ->> 'key';
  select v.* into v_active
  from dripdrop.sequence_versions as v
  where v.sequence_id = v_sequence.id and v.state = 'active';

  if v_sequence.id is null then
    return query
    select
      'create', format('sequence %s', v_new ->> 'key'), null::text, null::jsonb, null::jsonb;
  else
    return query
    select 'change', format('sequence %s', v_sequence.key), f.key, f.value, v_new -> f.key
    from jsonb_each(dripdrop._sequence_document(v_sequence)) as f
    where f.value <> v_new -> f.key
    order by f.key;
  end if;
  return query
  select
    case when h.is_new then 'create' else 'change' end,
    format('hook %s', h.key),
    case when not h.is_new then h.field end,
    h.old,
    case when not h.is_new then h.new end
  from dripdrop._hook_changes(v_sequence.id, v_new -> 'hooks') as h;

  v_known := (
    select v.version
    from dripdrop.sequence_versions as v
    where v.sequence_id = v_sequence.id and v.content_hash = dripdrop._content_hash(v_new)
    order by v.state = 'active' desc, v.version desc
    limit 1
  );
  if v_known = v_active.version
    or (v_known is not null and not (v_new ->> 'activate')::boolean)
  then
    return;
  end if;

  v_version := (
    select format('version %s', coalesce(v_known, max(v.version) + 1, 1))
    from dripdrop.sequence_versions as v
    where v.sequence_id = v_sequence.id
  );
  -- A draft or a former version with this content is made active again rather than made anew.
  return query
  select
    case when v_known is null then 'create' else 'activate' end,
    v_version,
    null::text,
    to_jsonb(v_active.version),
    null::jsonb;
  return query
  select 'change', v_version, f.field, f.old, v_new -> f.field
  from (
    values
    ('mode', to_jsonb(v_active.mode)),
    ('config', v_active.config),
    ('entry', dripdrop._transition_documents(v_active.id, null))
  ) as f (field, old)
  where v_active.id is not null and f.old <> v_new -> f.field;

  return query
  with
  before as (select * from dripdrop._version_steps(v_active.id)),
  after as (select s ->> 'key' as key, s as step from jsonb_array_elements(v_new -> 'steps') as s)
  select
    case when before.key is null then 'add' when after.key is null then 'remove' else 'change' end,
    format('step %s', coalesce(after.key, before.key)),
    f.field,
    before.step -> f.field,
    after.step -> f.field
  from before
  full join after on after.key = before.key
  left join lateral jsonb_object_keys(before.step) as f (field) on after.key is not null
  where before.key is null
    or after.key is null
    or before.step -> f.field is distinct from after.step -> f.field
  order by coalesce((after.step ->> 'position')::int, (before.step ->> 'position')::int), f.field;
end
$$;

comment on function dripdrop.plan(text, jsonb) is
  'What apply() would change: action (create, activate, change, add, remove), object, field, old '
  'and new value.';

-- Applying the same document twice changes nothing:
-- a version is recognised by the hash of its content.
--
-- locks   the sequence, then its versions
-- raises  what _canonical_definition() raises; ZD112 the version has problems
create or replace function dripdrop.apply(tenant_key text, definition jsonb)
returns dripdrop.sequence_versions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new jsonb;
  v_sequence dripdrop.sequences;
  v_version dripdrop.sequence_versions;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  v_new := dripdrop._canonical_definition(tenant_key, definition);
  v_sequence := dripdrop._put_sequence(apply.tenant_key, v_new);

  select v.* into v_version
  from dripdrop.sequence_versions as v
  where v.sequence_id = v_sequence.id and v.content_hash = dripdrop._content_hash(v_new)
  order by v.state = 'active' desc, v.version desc
  limit 1;

  if v_version.id is null then
    v_version := dripdrop.create_sequence_version(
      tenant_key => apply.tenant_key,
      sequence_id => v_sequence.id,
      mode => v_new ->> 'mode',
      config => v_new -> 'config'
    );
    perform dripdrop._insert_step(v_version, step)
    from jsonb_array_elements(v_new -> 'steps') as step;
    perform dripdrop._insert_transitions(v_version, null, v_new -> 'entry');
    perform dripdrop._insert_transitions(v_version, step ->> 'key', step -> 'transitions')
    from jsonb_array_elements(v_new -> 'steps') as step;
    update dripdrop.sequence_versions as v
    set content_hash = dripdrop._content_hash(v_new)
    where v.id = v_version.id
    returning v.* into v_version;
  end if;

  if v_version.state <> 'active' and (v_new ->> 'activate')::boolean then
    v_version := dripdrop.activate_sequence_version(apply.tenant_key, v_version.id);
  end if;
  return v_version;
end
$$;

comment on function dripdrop.apply(text, jsonb) is
  'Creates or updates a whole sequence from one document and returns the version now in force; the '
  'same document twice changes nothing.';

-- What belongs to the sequence itself, changed in place and only where it differs.
create or replace function dripdrop._put_sequence(tenant_key text, canonical jsonb)
returns dripdrop.sequences
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequence dripdrop.sequences;
  v_old jsonb;
  v_new jsonb;
  v_changed boolean;
begin
  insert into dripdrop.sequences (tenant_key, key, name)
  values (_put_sequence.tenant_key, canonical ->> 'key', canonical ->> 'name')
  on conflict on constraint sequences_one_key_per_tenant do nothing;
  select q.* into v_sequence
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from _put_sequence.tenant_key
    and q.key = canonical ->> 'key'
  for no key update;
  v_old := dripdrop._sequence_document(v_sequence);
  v_new := (
    select jsonb_object_agg(field, canonical -> field) from jsonb_object_keys(v_old) as field
  );

  if v_old - array['goals', 'exit_when'] <> v_new - array['goals', 'exit_when'] then
    update dripdrop.sequences as q
    set name = canonical ->> 'name',
        description = canonical ->> 'description',
        time_zone = canonical ->> 'time_zone',
        reentry = canonical ->> 'reentry',
        reentry_interval = (canonical ->> 'reentry_interval')::interval,
        priority = (canonical ->> 'priority')::int,
        exclusive_group = canonical ->> 'exclusive_group',
        metadata = canonical -> 'metadata',
        updated_at = dripdrop._now()
    where q.id = v_sequence.id
    returning q.* into v_sequence;
  end if;

  perform dripdrop._put_http_hook(v_sequence, h.hook)
  from jsonb_array_elements(canonical -> 'hooks') as h (hook)
  where exists (
    select from dripdrop._hook_changes(v_sequence.id, jsonb_build_array(h.hook))
  );
  v_changed := found;

  if (v_old -> 'goals', v_old -> 'exit_when')
    <> (v_new -> 'goals', v_new -> 'exit_when')
  then
    delete from dripdrop.conditions as c where c.sequence_id = v_sequence.id;
    perform dripdrop._insert_condition(
      v_sequence.tenant_key, c.condition, c.place, sequence_id => v_sequence.id, outcome => o.outcome
    )
    from (values ('goal', 'goals'), ('exit', 'exit_when')) as o (outcome, field)
    cross join jsonb_array_elements(canonical -> o.field) with ordinality as c (condition, place);
    v_changed := true;
  end if;
  if v_changed then
    perform dripdrop._set_sequence_hooks(v_sequence.id);
  end if;
  return v_sequence;
end
$$;

comment on function dripdrop._put_sequence(text, jsonb) is
  'Inserts or updates a sequence, with its hooks, goals and exits, from a canonical document.';
