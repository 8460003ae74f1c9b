-- locks   the sequence
-- raises  ZD101 unknown sequence, ZD113 number taken, ZD201 bad mode or config
create or replace function dripdrop.create_sequence_version(
  tenant_key text,
  sequence_id uuid,
  version int default null,
  name text default null,
  mode text default 'lifecycle',
  config jsonb default '{}'
)
returns dripdrop.sequence_versions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions;
begin
  perform dripdrop._check_json(config, 'config');
  perform dripdrop._check_document(
    jsonb_build_object('mode', coalesce(mode, '')), 'sequence', partial => true
  );
  perform dripdrop._check_document(config, 'sequence.config', 'config.');
  perform dripdrop._check_title(name, 'name');
  if version < 1 then
    raise exception 'version % is not positive', version using
      errcode = 'ZD201', column = 'version', hint = 'Leave it out for the next number.';
  end if;
  -- Two callers who leave the number out take the next one in turn.
  perform from dripdrop.sequences as q
  where q.id = create_sequence_version.sequence_id
    and q.tenant_key is not distinct from create_sequence_version.tenant_key
  for no key update;
  if not found then
    raise exception 'sequence "%" not found', sequence_id using
      errcode = 'ZD101', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  insert into dripdrop.sequence_versions (sequence_id, tenant_key, version, name, mode, config)
  select
    create_sequence_version.sequence_id,
    create_sequence_version.tenant_key,
    coalesce(create_sequence_version.version, max(v.version) + 1, 1),
    create_sequence_version.name,
    create_sequence_version.mode,
    create_sequence_version.config
  from dripdrop.sequence_versions as v
  where v.sequence_id = create_sequence_version.sequence_id
  on conflict on constraint sequence_versions_one_number do nothing
  returning * into v_version;
  if v_version.id is null then
    raise exception 'version % exists already', version using
      errcode = 'ZD113', column = 'version', hint = 'Leave the number out for the next one.';
  end if;
  return v_version;
end
$$;

comment on function dripdrop.create_sequence_version(text, uuid, int, text, text, jsonb) is
  'Adds a draft version, numbered next when no number is given.';

-- The sequence is locked first, so that two activations follow one another and the later one wins.
--
-- locks   the sequence, then its versions
-- raises  ZD103 unknown version, ZD112 the version has problems (all in the detail)
create or replace function dripdrop.activate_sequence_version(
  tenant_key text,
  sequence_version_id uuid
)
returns dripdrop.sequence_versions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions := dripdrop._get_version(tenant_key, sequence_version_id);
  v_problems text;
begin
  perform from dripdrop.sequences as q where q.id = v_version.sequence_id for no key update;

  select string_agg(concat_ws(' ', p.problem, p.step_key, '(' || p.detail || ')'), '; ')
  into v_problems
  from dripdrop.validate_sequence_version(activate_sequence_version.tenant_key, v_version.id) as p;
  if v_problems is not null then
    raise exception 'version % has problems', v_version.version using
      errcode = 'ZD112', detail = v_problems,
      hint = 'select * from dripdrop.validate_sequence_version(…) lists them.';
  end if;

  update dripdrop.sequence_versions as v
  set state = 'archived',
      updated_at = dripdrop._now()
  where v.sequence_id = v_version.sequence_id
    and v.state = 'active'
    and v.id <> v_version.id;

  update dripdrop.sequence_versions as v
  set state = 'active',
      content_hash = coalesce(
        v.content_hash, dripdrop._content_hash(dripdrop._version_document(v))
      ),
      published_at = dripdrop._now(),
      updated_at = dripdrop._now()
  where v.id = v_version.id
  returning v.* into v_version;
  perform dripdrop._set_step_hooks(v_version.id);
  return v_version;
end
$$;

comment on function dripdrop.activate_sequence_version(text, uuid) is
  'Makes a version the one that new enrolments get, and archives the former one; people on it stay '
  'there.';

-- The unique index would refuse a second active version too; this says so in our own words.
create or replace function dripdrop._guard_active_version()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from dripdrop.sequence_versions as v
    where v.sequence_id = new.sequence_id and v.state = 'active' and v.id <> new.id
  ) then
    raise exception 'the sequence has an active version already' using
      errcode = 'ZD114', hint = 'activate_sequence_version() archives the former one first.';
  end if;
  return new;
end
$$;

comment on function dripdrop._guard_active_version() is
  'Trigger: raises ZD114 on a second active version.';

create or replace trigger sequence_versions_one_active
before insert or update of state on dripdrop.sequence_versions
for each row
when (new.state = 'active')
execute function dripdrop._guard_active_version();
