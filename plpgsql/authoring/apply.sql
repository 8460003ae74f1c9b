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
  perform dripdrop._check_json(definition, '', 4194304);
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
      v_sequence.tenant_key, c.condition, c.place, sequence_id => v_sequence.id,
      outcome => o.outcome
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
