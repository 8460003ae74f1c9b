-- The fields of a sequence, checked the same way whether they come one by one or in a document.
--
-- raises  ZD201, ZD204, with the field in the diagnostics' column field
create or replace function dripdrop._check_sequence(
  key text,
  name text,
  time_zone text,
  reentry text,
  reentry_interval text,
  priority int,
  exclusive_group text,
  metadata jsonb
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_key(key, 'key', 'sequence key');
  if coalesce(name, '') = '' then
    raise exception 'a sequence needs a name' using
      errcode = 'ZD201', column = 'name', hint = 'For example "SaaS onboarding".';
  end if;
  perform dripdrop._check_title(name, 'name');
  if coalesce(reentry not in ('never', 'after_exit', 'always'), true) then
    raise exception 'reentry % is unknown', dripdrop._quoted(reentry) using
      errcode = 'ZD201', column = 'reentry', hint = 'Use never, after_exit or always.';
  end if;
  if not dripdrop._is_interval(coalesce(reentry_interval, '1 day')) then
    raise exception 'reentry_interval % is not an interval',
      dripdrop._quoted(reentry_interval) using
      errcode = 'ZD201', column = 'reentry_interval', hint = 'Write for example "30 days".';
  end if;
  if reentry = 'never' and reentry_interval is not null then
    raise exception 'reentry_interval says when to return, reentry that nobody may' using
      errcode = 'ZD201', column = 'reentry_interval',
      hint = 'Set reentry to after_exit or always, or leave the interval out.';
  end if;
  if (priority between -999999 and 999999) is not true then
    raise exception 'priority % is out of range', priority using
      errcode = 'ZD201', column = 'priority', hint = 'Use -999999 to 999999; the higher goes first.';
  end if;
  if exclusive_group is not null then
    perform dripdrop._check_key(exclusive_group, 'exclusive_group', 'exclusive_group');
  end if;
  if jsonb_typeof(metadata) is distinct from 'object' then
    raise exception 'metadata is not an object' using
      errcode = 'ZD201', column = 'metadata', hint = 'Pass an object, for example ''{}''.';
  end if;
  -- The gates cast these to uuid: one that is none would stop every tick.
  if metadata @? 'strict $.channel_adapters ? (@.type() != "object")'
    or metadata @? 'strict $.channel_adapters.* ? (
      @.type() != "string" || !(@ like_regex "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )'
  then
    raise exception 'metadata.channel_adapters does not map channels to adapter ids' using
      errcode = 'ZD201', column = 'metadata.channel_adapters',
      hint = 'For example {"email": "0197…"}: list_channel_adapters() shows the ids.';
  end if;
  if time_zone is not null then
    perform dripdrop._check_time_zone(time_zone, 'time_zone');
  end if;
end
$$;

comment on function dripdrop._check_sequence(
  text, text, text, text, text, int, text, jsonb
) is
  'Raises on a field of a sequence that is not valid.';

-- raises  ZD107 unknown sender, ZD113 key taken, ZD201 bad field, ZD204 unknown time zone,
--         ZD207 bad tenant key
create or replace function dripdrop.create_sequence(
  tenant_key text,
  key text,
  name text,
  description text default null,
  time_zone text default null,
  reentry text default 'never',
  metadata jsonb default '{}',
  reentry_interval interval default null,
  priority int default 0,
  exclusive_group text default null
)
returns dripdrop.sequences
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequence dripdrop.sequences;
begin
  perform dripdrop._check_json(metadata, 'metadata');
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_sequence(
    key, name, time_zone, reentry, reentry_interval::text, priority, exclusive_group, metadata
  );
  perform dripdrop._check_text(description, 'description', 10000);

  insert into dripdrop.sequences (
    tenant_key, key, name, description, time_zone, reentry, reentry_interval, priority,
    exclusive_group, metadata
  )
  values (
    create_sequence.tenant_key,
    create_sequence.key,
    create_sequence.name,
    create_sequence.description,
    create_sequence.time_zone,
    create_sequence.reentry,
    create_sequence.reentry_interval,
    create_sequence.priority,
    create_sequence.exclusive_group,
    dripdrop._canonical_metadata(create_sequence.tenant_key, create_sequence.metadata)
  )
  on conflict on constraint sequences_one_key_per_tenant do nothing
  returning * into v_sequence;
  if v_sequence.id is null then
    raise exception 'sequence % exists already', dripdrop._quoted(key) using
      errcode = 'ZD113', column = 'key',
      hint = 'Choose another key, or change the sequence with apply().';
  end if;
  return v_sequence;
end
$$;

comment on function dripdrop.create_sequence(
  text, text, text, text, text, text, jsonb, interval, int, text
) is
  'Adds an empty sequence; give it a version and steps next, or use apply() for all at once.';
