-- An HTTP hook's document in its one form: every field present, nothing unknown, no secret in it.
-- create_http_hook(), update_http_hook() and apply() all come through here.
--
-- raises  ZD201, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_http_hook(tenant_key text, hook jsonb)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault text;
  v_hook jsonb;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  if jsonb_typeof(hook) is distinct from 'object' then
    raise exception 'a hook is not an object' using
      errcode = 'ZD201', column = '', hint = 'Write {"key": …, "url": …}.';
  end if;
  if hook ? 'auth_config' then
    raise exception 'a hook''s document holds no credentials' using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'Seal them with "dripdrop seal" and pass them to update_http_hook().';
  end if;
  select field into v_fault
  from jsonb_object_keys(hook) as field
  where field not in (
    'key', 'name', 'description', 'method', 'url', 'headers', 'body_template', 'auth_type',
    'response_path', 'response_type', 'timeout_ms', 'retry_count', 'active'
  );
  if v_fault is not null then
    raise exception 'a hook has no field "%"', v_fault using
      errcode = 'ZD201', column = v_fault,
      hint = 'The fields are key, name, description, method, url, headers, body_template, '
        'auth_type, response_path, response_type, timeout_ms, retry_count and active.';
  end if;
  select field into v_fault
  from unnest(array[
    'key', 'name', 'description', 'method', 'url', 'body_template', 'auth_type', 'response_path',
    'response_type'
  ]) as field
  where jsonb_typeof(hook -> field) not in ('string', 'null');
  if v_fault is not null then
    raise exception 'field "%" is not a text', v_fault using
      errcode = 'ZD201', column = v_fault, hint = 'Write it in double quotes.';
  end if;
  perform dripdrop._check_hook_key(
    hook ->> 'key',
    '^[a-z0-9][a-z0-9_-]*$',
    'Use lower-case letters, digits, "_" and "-", and begin with a letter or digit.'
  );

  -- What is null or empty is as good as left out.
  v_hook := '{
    "method": "POST", "headers": {}, "auth_type": "none", "response_type": "json",
    "timeout_ms": 5000, "retry_count": 2, "active": true
  }'::jsonb || jsonb_build_object(
    'name', hook ->> 'key', 'description', null, 'body_template', null, 'response_path', null
  ) || coalesce(
    (
      select jsonb_object_agg(field.key, field.value)
      from jsonb_each(hook) as field
      where field.value not in ('null', '""')
    ),
    '{}'
  );
  v_hook := v_hook || jsonb_build_object(
    'method', upper(v_hook ->> 'method'),
    'response_path', regexp_replace(v_hook ->> 'response_path', '^(?!(strict |lax )?\s*\$)', '$.')
  );

  if v_hook ->> 'method' not in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE') then
    raise exception 'method "%" is unknown', v_hook ->> 'method' using
      errcode = 'ZD201', column = 'method', hint = 'Use GET, POST, PUT, PATCH or DELETE.';
  end if;
  if coalesce(v_hook ->> 'url' !~* '^https?://[^/\s]', true) then
    raise exception 'url is not an https address' using
      errcode = 'ZD201', column = 'url',
      hint = 'For example "https://api.example.com/leads/{{ subscriber_id }}".';
  end if;
  if v_hook ->> 'auth_type' not in ('none', 'bearer', 'basic', 'header') then
    raise exception 'auth_type "%" is unknown', v_hook ->> 'auth_type' using
      errcode = 'ZD201', column = 'auth_type', hint = 'Use none, bearer, basic or header.';
  end if;
  if v_hook ->> 'response_type' not in ('json', 'text', 'number', 'boolean') then
    raise exception 'response_type "%" is unknown', v_hook ->> 'response_type' using
      errcode = 'ZD201', column = 'response_type', hint = 'Use json, text, number or boolean.';
  end if;
  if v_hook ->> 'timeout_ms' !~ '^[0-9]{1,5}$'
    or (v_hook ->> 'timeout_ms')::int not between 1 and 30000
  then
    raise exception 'timeout_ms % is not possible', v_hook -> 'timeout_ms' using
      errcode = 'ZD201', column = 'timeout_ms', hint = 'Use 1 to 30000 milliseconds per attempt.';
  end if;
  if v_hook ->> 'retry_count' !~ '^[0-5]$' then
    raise exception 'retry_count % is not possible', v_hook -> 'retry_count' using
      errcode = 'ZD201', column = 'retry_count', hint = 'Use 0 to 5 attempts after the first.';
  end if;
  if jsonb_typeof(v_hook -> 'active') <> 'boolean' then
    raise exception 'active is not true or false' using
      errcode = 'ZD201', column = 'active', hint = 'Write true or false.';
  end if;
  perform dripdrop._check_hook_headers(v_hook -> 'headers');
  begin
    perform (v_hook ->> 'response_path')::jsonpath;
  exception
    when syntax_error or data_exception then
      raise exception 'response_path "%" is no SQL/JSON path', hook ->> 'response_path' using
        errcode = 'ZD201', column = 'response_path', hint = 'For example "score" or "$.data[0].id".';
  end;
  return v_hook || jsonb_build_object(
    'timeout_ms', (v_hook ->> 'timeout_ms')::int, 'retry_count', (v_hook ->> 'retry_count')::int
  );
end
$$;

comment on function dripdrop._canonical_http_hook(text, jsonb) is
  'An HTTP hook''s document, checked, with every field present.';

-- Headers are stored and shown as they are, so none may hold a secret; and the body's type says how
-- values are escaped in it, so it is one that the driver knows how to escape for.
--
-- raises  ZD201, with the path of the fault
create or replace function dripdrop._check_hook_headers(headers jsonb)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_header record;
begin
  if jsonb_typeof(headers) <> 'object' then
    raise exception 'headers is not an object' using
      errcode = 'ZD201', column = 'headers', hint = 'For example {"Accept": "application/json"}.';
  end if;
  for v_header in
    select h.key as name, h.value ->> 0 as value, jsonb_typeof(h.value) = 'string' as is_text
    from jsonb_each(headers) as h
  loop
    if v_header.name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$'
      or not v_header.is_text
      or v_header.value !~ '^[\x20-\x7e]*$'
    then
      raise exception 'header "%" is not one line of ASCII text', v_header.name using
        errcode = 'ZD201', column = 'headers.' || v_header.name,
        hint = 'A name is a token of RFC 9110, a value a text without line breaks.';
    end if;
    if v_header.name ~* '^(host|connection|content-length|transfer-encoding)$' then
      raise exception 'header "%" is set by the request itself', v_header.name using
        errcode = 'ZD201', column = 'headers.' || v_header.name, hint = 'Leave it out.';
    end if;
    if v_header.name ~* 'authorization|cookie|secret|token|password|api-?key' then
      raise exception 'header "%" looks like a secret', v_header.name using
        errcode = 'ZD201', column = 'headers.' || v_header.name,
        hint = 'Use auth_type "header" with sealed credentials {"name": …, "value": …}.';
    end if;
    if v_header.name ~* '^content-type$'
      and v_header.value !~* '^application/(x-www-form-urlencoded|([a-z0-9.-]+\+)?json)\s*(;|$)'
    then
      raise exception 'no body of type "%" can be written', v_header.value using
        errcode = 'ZD201', column = 'headers.' || v_header.name,
        hint = 'Use a JSON type or application/x-www-form-urlencoded.';
    end if;
  end loop;
end
$$;

comment on function dripdrop._check_hook_headers(jsonb) is
  'Raises on headers that cannot be sent, or that would show a secret.';

-- The row as a document: what update_http_hook() changes, and what a plan compares with.
create or replace function dripdrop._http_hook_document(hook dripdrop.http_hooks)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select to_jsonb(hook) - array[
    'id', 'sequence_id', 'tenant_key', 'auth_config', 'last_test_at', 'last_test_result',
    'inserted_at', 'updated_at'
  ]
$$;

comment on function dripdrop._http_hook_document(dripdrop.http_hooks) is
  'A stored HTTP hook in the form _canonical_http_hook() gives.';

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
    auth_type, auth_config, headers, body_template, response_path, response_type, active
  )
  values (
    sequence.id, sequence.tenant_key, v_hook.key, v_hook.name, v_hook.description, v_hook.method,
    v_hook.url, v_hook.timeout_ms, v_hook.retry_count, v_hook.auth_type, v_hook.auth_config,
    v_hook.headers, v_hook.body_template, v_hook.response_path, v_hook.response_type, v_hook.active
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

-- raises  ZD201 when the text cannot be an envelope
create or replace function dripdrop._sealed_hook(auth_config text)
returns bytea
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return dripdrop._sealed(auth_config);
exception
  when sqlstate 'ZD201' then
    raise exception 'auth_config is not sealed' using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'Pass what "dripdrop seal hook:SEQUENCE:KEY" prints; plain credentials never enter '
        'the database.';
end
$$;

comment on function dripdrop._sealed_hook(text) is
  'The envelope in a hook''s sealed text, checked for its form.';

-- The name its credentials are sealed for. Both keys are for good, and known before the rows are.
create or replace function dripdrop._hook_seal_name(sequence_key text, key text)
returns text
language sql
immutable
parallel safe
return 'hook:' || sequence_key || ':' || key;

comment on function dripdrop._hook_seal_name(text, text) is
  'What the vault binds a hook''s credentials to, beside the tenant.';

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
  active boolean default true
)
returns dripdrop.http_hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequence dripdrop.sequences;
  v_canonical jsonb := dripdrop._canonical_http_hook(tenant_key, jsonb_build_object(
    'key', key, 'name', name, 'description', description, 'method', method, 'url', url,
    'headers', headers, 'body_template', body_template, 'auth_type', auth_type,
    'response_path', response_path, 'response_type', response_type, 'timeout_ms', timeout_ms,
    'retry_count', retry_count, 'active', active
  ));
begin
  if (v_canonical ->> 'auth_type' = 'none') <> (auth_config is null) then
    raise exception 'auth_type "%" and auth_config do not fit', v_canonical ->> 'auth_type' using
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
    raise exception 'hook "%" exists already', key using
      errcode = 'ZD113', column = 'key',
      hint = 'Choose another key, or change it with update_http_hook().';
  end if;
  return dripdrop._put_http_hook(v_sequence, v_canonical, auth_config);
end
$$;

comment on function dripdrop.create_http_hook(
  text, uuid, text, text, text, text, text, jsonb, text, text, text, text, text, int, int, boolean
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
  active boolean default null
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
      'active', active
    )) || case when headers is null then '{}' else jsonb_build_object('headers', headers) end
  );
  if v_canonical ->> 'auth_type' = 'none' and auth_config is not null
    or v_canonical ->> 'auth_type' <> 'none' and coalesce(auth_config, v_hook.auth_config::text)
      is null
  then
    raise exception 'auth_type "%" and auth_config do not fit', v_canonical ->> 'auth_type' using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'bearer, basic and header need what "dripdrop seal hook:SEQUENCE:KEY" prints; none '
        'needs nothing.';
  end if;
  return dripdrop._put_http_hook(v_sequence, v_canonical, auth_config);
end
$$;

comment on function dripdrop.update_http_hook(
  text, uuid, text, text, text, text, jsonb, text, text, text, text, text, int, int, boolean
) is
  'Changes an HTTP hook; null leaves a value as it is, an empty text takes it away.';

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

-- What whoever makes the call needs. The name is what the vault binds the credentials to.
create or replace function dripdrop._http_hook_call(hook dripdrop.http_hooks, sequence_key text)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._http_hook_document(hook) || jsonb_build_object(
    'id', hook.id,
    'tenant_key', hook.tenant_key,
    'seal_name', dripdrop._hook_seal_name(sequence_key, hook.key),
    'auth_config', translate(encode(hook.auth_config, 'base64'), E'\n', '')
  )
$$;

comment on function dripdrop._http_hook_call(dripdrop.http_hooks, text) is
  'An HTTP hook as claim_hooks() hands it out, with its sealed credentials.';

-- raises  ZD108 unknown hook
create or replace function dripdrop.get_http_hook(tenant_key text, http_hook_id uuid)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_call jsonb;
begin
  select dripdrop._http_hook_call(h, q.key) into v_call
  from dripdrop.http_hooks as h
  join dripdrop.sequences as q on q.id = h.sequence_id
  where h.id = get_http_hook.http_hook_id
    and h.tenant_key is not distinct from get_http_hook.tenant_key;
  if not found then
    raise exception 'hook "%" not found', http_hook_id using
      errcode = 'ZD108', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_call;
end
$$;

comment on function dripdrop.get_http_hook(text, uuid) is
  'One HTTP hook as claim_hooks() hands it out, with its sealed credentials: for trying it.';

-- What looks like a secret by its name is hidden, long texts and deep nesting are cut short.
create or replace function dripdrop._redacted(value jsonb, depth int default 10)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if depth = 0 then
    return '"…"'::jsonb;
  end if;
  return case jsonb_typeof(value)
    when 'object' then (
      select coalesce(
        jsonb_object_agg(
          field.key,
          case
            when field.key ~* 'api[_-]?key|secret|token|password|authorization|bearer'
            then '"[REDACTED]"'
            else dripdrop._redacted(field.value, _redacted.depth - 1)
          end
        ),
        '{}'
      )
      from jsonb_each(value) as field
    )
    when 'array' then (
      select coalesce(
        jsonb_agg(dripdrop._redacted(item.value, _redacted.depth - 1) order by item.place), '[]'
      )
      from jsonb_array_elements(value) with ordinality as item (value, place)
      where item.place <= 20
    )
    when 'string' then to_jsonb(
      case when length(value #>> '{}') > 200 then left(value #>> '{}', 200) || '…'
      else value #>> '{}' end
    )
    else value
  end;
end
$$;

comment on function dripdrop._redacted(jsonb, int) is
  'A JSON value fit to be kept and shown: secrets by their names hidden, long parts cut.';

-- result: what complete_hooks() takes for a key. It is read as a real answer would be, and kept
-- redacted.
--
-- raises  ZD108 unknown hook, ZD201 malformed result
create or replace function dripdrop.record_hook_test(
  tenant_key text,
  http_hook_id uuid,
  result jsonb
)
returns dripdrop.http_hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hook dripdrop.http_hooks;
begin
  perform dripdrop._check_hook_answer(result, 'result');
  update dripdrop.http_hooks as h
  set last_test_at = dripdrop._now(),
      last_test_result = dripdrop._redacted(
        jsonb_strip_nulls(jsonb_build_object('status', record_hook_test.result -> 'status'))
        || dripdrop._hook_answer(record_hook_test.result, h.response_path, h.response_type)
      )
  where h.id = record_hook_test.http_hook_id
    and h.tenant_key is not distinct from record_hook_test.tenant_key
  returning h.* into v_hook;
  if not found then
    raise exception 'hook "%" not found', http_hook_id using
      errcode = 'ZD108', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  v_hook.auth_config := null;
  return v_hook;
end
$$;

comment on function dripdrop.record_hook_test(text, uuid, jsonb) is
  'Keeps what trying an HTTP hook gave, redacted, in last_test_at and last_test_result.';

create or replace function dripdrop.sealed_http_hooks()
returns table (http_hook_id uuid, tenant_key text, name text, auth_config bytea)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select h.id, h.tenant_key, dripdrop._hook_seal_name(q.key, h.key), h.auth_config
  from dripdrop.http_hooks as h
  join dripdrop.sequences as q on q.id = h.sequence_id
  where h.auth_config is not null
  order by h.id
$$;

comment on function dripdrop.sealed_http_hooks() is
  'Every sealed credential of an HTTP hook, of all tenants: what key rotation reads.';

-- Compare-and-set, as reseal_adapter().
create or replace function dripdrop.reseal_http_hook(
  tenant_key text,
  http_hook_id uuid,
  auth_config bytea,
  previous bytea
)
returns boolean
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  with resealed as (
    update dripdrop.http_hooks as h
    set auth_config = reseal_http_hook.auth_config,
        updated_at = dripdrop._now()
    where h.id = reseal_http_hook.http_hook_id
      and h.tenant_key is not distinct from reseal_http_hook.tenant_key
      and h.auth_config = reseal_http_hook.previous
    returning h.id
  )
  select exists (select from resealed)
$$;

comment on function dripdrop.reseal_http_hook(text, uuid, bytea, bytea) is
  'Replaces a hook''s envelope if it is still the previous one; says whether it did.';
