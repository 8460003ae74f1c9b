create or replace function dripdrop._version_changes(sequence_id uuid, definition jsonb)
returns table (action text, object text, field text, old jsonb, new jsonb)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_active dripdrop.sequence_versions;
  v_known int;
  v_version text;
begin
  select v.* into v_active
  from dripdrop.sequence_versions as v
  where v.sequence_id = _version_changes.sequence_id and v.state = 'active';

  v_known := (
    select v.version
    from dripdrop.sequence_versions as v
    where v.sequence_id = _version_changes.sequence_id
      and v.content_hash = dripdrop._content_hash(definition)
    order by v.state = 'active' desc, v.version desc
    limit 1
  );
  if v_known = v_active.version
    or (v_known is not null and not (definition ->> 'activate')::boolean)
  then
    return;
  end if;

  v_version := (
    select format('version %s', coalesce(v_known, max(v.version) + 1, 1))
    from dripdrop.sequence_versions as v
    where v.sequence_id = _version_changes.sequence_id
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
  select 'change', v_version, f.field, f.old, definition -> f.field
  from (
    values
    ('mode', to_jsonb(v_active.mode)),
    ('config', v_active.config),
    ('entry', dripdrop._transition_documents(v_active.id, null))
  ) as f (field, old)
  where v_active.id is not null and f.old <> definition -> f.field;

  return query
  select c.* from dripdrop._step_changes(v_active.id, definition -> 'steps') as c;
end
$$;

comment on function dripdrop._version_changes(uuid, jsonb) is
  'What a canonical document changes of the active version of a sequence, one row per field.';

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
begin
  perform dripdrop._check_json(definition, '', 4194304);
  perform dripdrop._check_tenant_key(tenant_key);
  v_new := dripdrop._canonical_definition(tenant_key, definition);
  select q.* into v_sequence
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from plan.tenant_key and q.key = v_new ->> 'key';
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

  return query
  select c.* from dripdrop._version_changes(v_sequence.id, v_new) as c;
end
$$;

comment on function dripdrop.plan(text, jsonb) is
  'What apply() would change: action (create, activate, change, add, remove), object, field, old '
  'and new value.';

create or replace function dripdrop._step_changes(sequence_version_id uuid, steps jsonb)
returns table (action text, object text, field text, old jsonb, new jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  before as (select * from dripdrop._version_steps(_step_changes.sequence_version_id)),
  after as (
    select s ->> 'key' as key, s as step from jsonb_array_elements(_step_changes.steps) as s
  )
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
  order by coalesce((after.step ->> 'position')::int, (before.step ->> 'position')::int), f.field
$$;

comment on function dripdrop._step_changes(uuid, jsonb) is
  'In which steps, and in which of their fields, a version differs from canonical documents.';

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
