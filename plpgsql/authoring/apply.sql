-- A whole sequence as one document, in its one form:
-- {key, name, description, time_zone, reentry, metadata, mode, config, activate, steps: [step, …]}.
-- Every fault is reported with the path to it.
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
    'key', 'name', 'description', 'time_zone', 'reentry', 'metadata', 'mode', 'config', 'activate',
    'steps'
  );
  if v_fault is not null then
    raise exception 'at "%": a sequence has no such field', v_fault using
      errcode = 'ZD206', column = v_fault,
      hint = 'The fields are key, name, description, time_zone, reentry, metadata, mode, config, '
        'activate and steps.';
  end if;
  select field into v_fault
  from unnest(array['key', 'name', 'description', 'time_zone', 'reentry', 'mode']) as field
  where jsonb_typeof(definition -> field) not in ('string', 'null');
  if v_fault is not null then
    raise exception 'at "%": not a text', v_fault using
      errcode = 'ZD206', column = v_fault, hint = 'Write it in double quotes.';
  end if;
  if jsonb_typeof(definition -> 'steps') is distinct from 'array'
    or definition -> 'steps' = '[]'
  then
    raise exception 'at "steps": not a list of steps' using
      errcode = 'ZD206', column = 'steps', hint = 'A sequence has at least one step.';
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
      coalesce(definition -> 'metadata', '{}')
    );
    perform dripdrop._check_version(
      coalesce(definition ->> 'mode', 'lifecycle'),
      coalesce(definition -> 'config', '{}')
    );
    for i in 0 .. jsonb_array_length(definition -> 'steps') - 1 loop
      v_path := format('steps[%s].', i);
      if definition -> 'steps' -> i ? 'position' then
        raise exception 'a step of a document has no position' using
          errcode = 'ZD206', column = 'position', hint = 'Steps follow one another as they stand.';
      end if;
      v_step := dripdrop._canonical_step(tenant_key, definition -> 'steps' -> i);
      if exists (
        select from jsonb_array_elements(v_steps) as earlier
        where earlier ->> 'key' = v_step ->> 'key'
      ) then
        raise exception 'step key "%" is used twice', v_step ->> 'key' using
          errcode = 'ZD206', column = 'key', hint = 'Keys are unique within a sequence.';
      end if;
      v_steps := v_steps || jsonb_set(v_step, '{position}', to_jsonb(i + 1));
    end loop;
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
    'metadata', coalesce(definition -> 'metadata', '{}'),
    'mode', coalesce(definition ->> 'mode', 'lifecycle'),
    'config', coalesce(definition -> 'config', '{}'),
    'activate', coalesce((definition ->> 'activate')::boolean, true),
    'steps', v_steps
  );
end
$$;

comment on function dripdrop._canonical_definition(text, jsonb) is
  'A sequence document, checked, with every field present.';

-- What identifies a version's content: its steps and its mode, in canonical form.
create or replace function dripdrop._content_hash(canonical jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._digest(
    (
      canonical
      - array['key', 'name', 'description', 'time_zone', 'reentry', 'metadata', 'activate']
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
      'active', s.active
    )
  from dripdrop.steps as s
  left join dripdrop.channel_adapters as a on a.id = s.channel_adapter_id
  where s.sequence_version_id = _version_steps.sequence_version_id
$$;

comment on function dripdrop._version_steps(uuid) is 'The steps of a version as documents.';

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
  end if;
  return query
  select
    'change',
    format('sequence %s', v_sequence.key),
    f.field,
    to_jsonb(v_sequence) -> f.field,
    v_new -> f.field
  from unnest(array['name', 'description', 'time_zone', 'reentry', 'metadata']) as f (field)
  where v_sequence.id is not null
    and to_jsonb(v_sequence) -> f.field is distinct from v_new -> f.field;

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

  -- A draft or a former version with this content is made active again rather than made anew.
  return query
  select
    case when v_known is null then 'create' else 'activate' end,
    format('version %s', coalesce(v_known, max(v.version) + 1, 1)),
    null::text,
    to_jsonb(v_active.version),
    null::jsonb
  from dripdrop.sequence_versions as v
  where v.sequence_id = v_sequence.id;

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

  insert into dripdrop.sequences as q (
    tenant_key, key, name, description, time_zone, reentry, metadata
  )
  values (
    apply.tenant_key,
    v_new ->> 'key',
    v_new ->> 'name',
    v_new ->> 'description',
    v_new ->> 'time_zone',
    v_new ->> 'reentry',
    v_new -> 'metadata'
  )
  on conflict on constraint sequences_one_key_per_tenant do update
  set name = excluded.name,
      description = excluded.description,
      time_zone = excluded.time_zone,
      reentry = excluded.reentry,
      metadata = excluded.metadata,
      updated_at = case
        when (q.name, q.description, q.time_zone, q.reentry, q.metadata)
          is distinct from (
            excluded.name, excluded.description, excluded.time_zone, excluded.reentry,
            excluded.metadata
          )
        then dripdrop._now()
        else q.updated_at
      end
  returning q.* into v_sequence;

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
