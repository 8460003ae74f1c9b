-- What crosses the fields of a sequence, however they come.
--
-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_sequence(
  reentry text,
  reentry_interval text,
  metadata jsonb
)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if reentry = 'never' and reentry_interval is not null then
    raise exception 'reentry_interval says when to return, reentry that nobody may' using
      errcode = 'ZD201', column = 'reentry_interval',
      hint = 'Set reentry to after_exit or always, or leave the interval out.';
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
end
$$;

comment on function dripdrop._check_sequence(text, text, jsonb) is
  'Raises on fields of a sequence that do not go together.';

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
  perform dripdrop._check_document(
    jsonb_build_object(
      'key', key, 'name', name, 'description', description, 'time_zone', time_zone,
      'reentry', coalesce(reentry, ''), 'reentry_interval', reentry_interval,
      'exclusive_group', exclusive_group, 'metadata', metadata
    ),
    'sequence', partial => true
  );
  if (priority between -999999 and 999999) is not true then
    raise exception 'priority % is out of range', priority using
      errcode = 'ZD201', column = 'priority',
      hint = 'Use -999999 to 999999; the higher goes first.';
  end if;
  perform dripdrop._check_sequence(reentry, reentry_interval::text, metadata);

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
