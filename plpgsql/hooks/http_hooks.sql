-- locks   the sequence, then the steps that begin to name it
-- raises  ZD101 unknown sequence, ZD113 key taken, ZD201 bad field
create or replace function dripdrop.create_http_hook(
  tenant_key text,
  sequence_id uuid,
  key text,
  url text,
  name text default null,
  description text default null,
  method text default 'POST',
  headers jsonb default '{}',
  body_template text default null,
  auth_type text default 'none',
  auth_config text default null,
  response_path text default null,
  response_type text default 'json',
  timeout_ms int default 5000,
  retry_count int default 2,
  active boolean default true,
  retry_for interval default '1 hour',
  max_in_flight int default 8
)
returns dripdrop.http_hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequence dripdrop.sequences;
  v_canonical jsonb;
begin
  perform dripdrop._check_json(headers, 'headers');
  v_canonical := dripdrop._canonical_http_hook(tenant_key, jsonb_build_object(
    'key', key, 'name', name, 'description', description, 'method', method, 'url', url,
    'headers', headers, 'body_template', body_template, 'auth_type', auth_type,
    'response_path', response_path, 'response_type', response_type, 'timeout_ms', timeout_ms,
    'retry_count', retry_count, 'retry_for', retry_for, 'max_in_flight', max_in_flight,
    'active', active
  ));
  if (v_canonical ->> 'auth_type' = 'none') <> (auth_config is null) then
    raise exception 'auth_type % and auth_config do not fit',
      dripdrop._quoted(v_canonical ->> 'auth_type') using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'bearer, basic and header need what "dripdrop seal hook:SEQUENCE:KEY" prints; none '
        'needs nothing.';
  end if;
  select q.* into v_sequence
  from dripdrop.sequences as q
  where q.id = create_http_hook.sequence_id
    and q.tenant_key is not distinct from create_http_hook.tenant_key
  for no key update;
  if not found then
    raise exception 'sequence "%" not found', sequence_id using
      errcode = 'ZD101', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  if exists (
    select from dripdrop.http_hooks as h
    where h.sequence_id = v_sequence.id and h.key = create_http_hook.key
  ) then
    raise exception 'hook % exists already', dripdrop._quoted(key) using
      errcode = 'ZD113', column = 'key',
      hint = 'Choose another key, or change it with update_http_hook().';
  end if;
  return dripdrop._put_http_hook(v_sequence, v_canonical, auth_config);
end
$$;

comment on function dripdrop.create_http_hook(
  text, uuid, text, text, text, text, text, jsonb, text, text, text, text, text, int, int, boolean,
  interval, int
) is
  'Adds a value that is fetched over HTTP to a sequence. auth_config: the text printed by '
  '"dripdrop seal".';

-- Null leaves a value as it is; an empty text takes it away. The key stays: it is bound into the
-- sealed credentials.
--
-- locks   the sequence, then the hook
-- raises  ZD108 unknown hook, ZD201 bad field
create or replace function dripdrop.update_http_hook(
  tenant_key text,
  http_hook_id uuid,
  url text default null,
  name text default null,
  description text default null,
  method text default null,
  headers jsonb default null,
  body_template text default null,
  auth_type text default null,
  auth_config text default null,
  response_path text default null,
  response_type text default null,
  timeout_ms int default null,
  retry_count int default null,
  active boolean default null,
  retry_for interval default null,
  max_in_flight int default null
)
returns dripdrop.http_hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hook dripdrop.http_hooks;
  v_sequence dripdrop.sequences;
  v_canonical jsonb;
begin
  perform dripdrop._check_json(headers, 'headers');
  select q.* into v_sequence
  from dripdrop.http_hooks as h
  join dripdrop.sequences as q on q.id = h.sequence_id
  where h.id = update_http_hook.http_hook_id
    and h.tenant_key is not distinct from update_http_hook.tenant_key
  for no key update of q;
  select h.* into v_hook
  from dripdrop.http_hooks as h
  where h.id = update_http_hook.http_hook_id and h.sequence_id = v_sequence.id;
  if not found then
    raise exception 'hook "%" not found', http_hook_id using
      errcode = 'ZD108', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  v_canonical := dripdrop._canonical_http_hook(
    tenant_key,
    dripdrop._http_hook_document(v_hook) || jsonb_strip_nulls(jsonb_build_object(
      'url', url, 'name', name, 'description', description, 'method', method,
      'body_template', body_template, 'auth_type', auth_type, 'response_path', response_path,
      'response_type', response_type, 'timeout_ms', timeout_ms, 'retry_count', retry_count,
      'retry_for', retry_for, 'max_in_flight', max_in_flight, 'active', active
    )) || case when headers is null then '{}' else jsonb_build_object('headers', headers) end
  );
  if v_canonical ->> 'auth_type' = 'none' and auth_config is not null
    or v_canonical ->> 'auth_type' <> 'none' and coalesce(auth_config, v_hook.auth_config::text)
      is null
  then
    raise exception 'auth_type % and auth_config do not fit',
      dripdrop._quoted(v_canonical ->> 'auth_type') using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'bearer, basic and header need what "dripdrop seal hook:SEQUENCE:KEY" prints; none '
        'needs nothing.';
  end if;
  return dripdrop._put_http_hook(v_sequence, v_canonical, auth_config);
end
$$;

comment on function dripdrop.update_http_hook(
  text, uuid, text, text, text, text, jsonb, text, text, text, text, text, int, int, boolean,
  interval, int
) is
  'Changes an HTTP hook; null leaves a value as it is, an empty text takes it away.';

-- The credentials of a hook that is there stay unless others are given, or none are wanted.
--
-- locks   the hook, then the steps that begin to name it
-- raises  ZD201 auth_config is not sealed
create or replace function dripdrop._put_http_hook(
  sequence dripdrop.sequences,
  canonical jsonb,
  auth_config text default null
)
returns dripdrop.http_hooks
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hook dripdrop.http_hooks := jsonb_populate_record(null::dripdrop.http_hooks, canonical);
begin
  if canonical ->> 'auth_type' <> 'none' then
    v_hook.auth_config := dripdrop._sealed_hook(auth_config);
  end if;

  insert into dripdrop.http_hooks as h (
    sequence_id, tenant_key, key, name, description, method, url, timeout_ms, retry_count,
    auth_type, auth_config, headers, body_template, response_path, response_type, active, retry_for,
    max_in_flight
  )
  values (
    sequence.id, sequence.tenant_key, v_hook.key, v_hook.name, v_hook.description, v_hook.method,
    v_hook.url, v_hook.timeout_ms, v_hook.retry_count, v_hook.auth_type, v_hook.auth_config,
    v_hook.headers, v_hook.body_template, v_hook.response_path, v_hook.response_type, v_hook.active,
    v_hook.retry_for, v_hook.max_in_flight
  )
  on conflict on constraint http_hooks_one_key_per_sequence do update
  set name = excluded.name,
      description = excluded.description,
      method = excluded.method,
      url = excluded.url,
      timeout_ms = excluded.timeout_ms,
      retry_count = excluded.retry_count,
      auth_type = excluded.auth_type,
      auth_config = case
        when excluded.auth_type <> 'none' then coalesce(excluded.auth_config, h.auth_config)
      end,
      headers = excluded.headers,
      body_template = excluded.body_template,
      response_path = excluded.response_path,
      response_type = excluded.response_type,
      active = excluded.active,
      retry_for = excluded.retry_for,
      max_in_flight = excluded.max_in_flight,
      updated_at = dripdrop._now()
  returning * into v_hook;

  perform dripdrop._set_step_hooks(v.id)
  from dripdrop.sequence_versions as v
  where v.sequence_id = sequence.id and v.state = 'active';
  v_hook.auth_config := null;
  return v_hook;
end
$$;

comment on function dripdrop._put_http_hook(dripdrop.sequences, jsonb, text) is
  'Adds an HTTP hook to a sequence, or changes the one of that key.';

create or replace function dripdrop.list_http_hooks(tenant_key text, sequence_id uuid)
returns setof dripdrop.http_hooks
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select (jsonb_populate_record(h, '{"auth_config": null}')).*
  from dripdrop.http_hooks as h
  where h.sequence_id = list_http_hooks.sequence_id
    and h.tenant_key is not distinct from list_http_hooks.tenant_key
  order by h.key
$$;

comment on function dripdrop.list_http_hooks(text, uuid) is
  'The HTTP hooks of a sequence, without credentials.';

create or replace function dripdrop._user_of_http_hook(hook dripdrop.http_hooks)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select u.name
  from (
    select 3 as place, format('step %s of version %s', dripdrop._quoted(s.key), v.version) as name
    from dripdrop.sequence_versions as v
    join dripdrop.steps as s on s.sequence_version_id = v.id
    where v.sequence_id = (_user_of_http_hook.hook).sequence_id
      and (
        v.state <> 'archived'
        or exists (
          select from dripdrop.enrollments as e
          where e.sequence_id = v.sequence_id
            and e.sequence_version_id = v.id
            and e.state in ('active', 'paused')
        )
      )
      and (
        (_user_of_http_hook.hook).key = any (s.hooks)
        or dripdrop._template_names(s.template_content, (_user_of_http_hook.hook).key)
        or exists (
          select from dripdrop.conditions as c
          where c.step_id = s.id and c.hook = (_user_of_http_hook.hook).key
        )
      )
    union all
    select 2, 'a transition of version ' || v.version
    from dripdrop.sequence_versions as v
    join dripdrop.step_transitions as t on t.sequence_version_id = v.id
    join dripdrop.conditions as c on c.transition_id = t.id
    where v.sequence_id = (_user_of_http_hook.hook).sequence_id
      and v.state <> 'archived'
      and c.hook = (_user_of_http_hook.hook).key
    union all
    -- Its hooks are those of every step, too.
    select 1, 'an exit rule'
    from dripdrop.conditions as c
    where c.sequence_id = (_user_of_http_hook.hook).sequence_id
      and c.hook = (_user_of_http_hook.hook).key
  ) as u
  order by u.place, u.name
  limit 1
$$;

comment on function dripdrop._user_of_http_hook(dripdrop.http_hooks) is
  'Something of its sequence that asks a hook, or null.';

-- locks   the sequence
-- raises  ZD108 unknown hook, ZD124 it is still used
create or replace function dripdrop.delete_http_hook(tenant_key text, http_hook_id uuid)
returns dripdrop.http_hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hook dripdrop.http_hooks;
  v_user text;
begin
  perform from dripdrop.sequences as q
  where q.id = (
    select h.sequence_id
    from dripdrop.http_hooks as h
    where h.id = delete_http_hook.http_hook_id
      and h.tenant_key is not distinct from delete_http_hook.tenant_key
  )
  for no key update;
  select h.* into v_hook
  from dripdrop.http_hooks as h
  where h.id = delete_http_hook.http_hook_id
    and h.tenant_key is not distinct from delete_http_hook.tenant_key;
  if not found then
    raise exception 'hook "%" not found', http_hook_id using
      errcode = 'ZD108', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  v_user := dripdrop._user_of_http_hook(v_hook);
  if v_user is not null then
    raise exception 'hook % is used by %', dripdrop._quoted(v_hook.key), v_user using
      errcode = 'ZD124', column = 'http_hook_id',
      hint = 'Change that first, or switch the hook off: update_http_hook(…, active => false).';
  end if;
  delete from dripdrop.http_hooks as h where h.id = v_hook.id;
  v_hook.auth_config := null;
  return v_hook;
end
$$;

comment on function dripdrop.delete_http_hook(text, uuid) is
  'Deletes an HTTP hook that nothing of its sequence asks, with its credentials, and returns it '
  'without these.';
