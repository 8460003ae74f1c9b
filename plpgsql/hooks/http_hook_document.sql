-- An HTTP hook's document in its one form: every field present, nothing unknown, no secret in it.
-- create_http_hook(), update_http_hook() and apply() all come through here.
--
-- raises  ZD201, ZD208, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_http_hook(tenant_key text, hook jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hook jsonb := case
    when jsonb_typeof(hook -> 'method') = 'string'
    then hook || jsonb_build_object('method', upper(hook ->> 'method'))
    else hook
  end;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  if jsonb_typeof(hook) = 'object' and hook ? 'auth_config' then
    raise exception 'a hook''s document holds no credentials' using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'Seal them with "dripdrop seal" and pass them to update_http_hook().';
  end if;
  perform dripdrop._check_document(v_hook, 'hook');
  perform dripdrop._check_hook_key(hook ->> 'key');

  -- What is null or empty is as good as left out.
  v_hook := dripdrop._presets('hook') || jsonb_build_object(
    'name', hook ->> 'key', 'description', null, 'body_template', null, 'response_path', null
  ) || coalesce(
    (
      select jsonb_object_agg(field.key, field.value)
      from jsonb_each(v_hook) as field
      where field.value not in ('null', '""')
    ),
    '{}'
  );
  v_hook := v_hook || jsonb_build_object(
    'response_path', dripdrop._rooted(v_hook ->> 'response_path')
  );
  perform dripdrop._check_hook_headers(v_hook -> 'headers');
  perform dripdrop._check_liquid(v_hook -> 'url', 'url', 'url');
  perform dripdrop._check_liquid(
    v_hook -> 'body_template',
    'body_template',
    case
      when exists (
        select from jsonb_each_text(v_hook -> 'headers') as h
        where h.key ~* '^content-type$' and h.value ~* '^application/x-www-form'
      )
      then 'form'
      else 'json'
    end
  );
  begin
    perform (v_hook ->> 'response_path')::jsonpath;
  exception
    when syntax_error or data_exception then
      raise exception 'response_path % is no SQL/JSON path',
        dripdrop._quoted(hook ->> 'response_path') using
        errcode = 'ZD201', column = 'response_path',
        hint = 'For example "score" or "$.data[0].id".';
  end;
  perform dripdrop._check_path((v_hook ->> 'response_path')::jsonpath, 'response_path');
  return v_hook || jsonb_build_object(
    'timeout_ms', (v_hook ->> 'timeout_ms')::int,
    'retry_count', (v_hook ->> 'retry_count')::int,
    'retry_for', (v_hook ->> 'retry_for')::interval,
    'max_in_flight', (v_hook ->> 'max_in_flight')::int
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
      or v_header.value !~ '^[ -~]*$'
    then
      raise exception 'header % is not one line of ASCII text',
        dripdrop._quoted(v_header.name) using
        errcode = 'ZD201', column = 'headers.' || v_header.name,
        hint = 'A name is a token of RFC 9110, a value a text without line breaks.';
    end if;
    if v_header.name ~* '^(host|connection|content-length|transfer-encoding)$' then
      raise exception 'header % is set by the request itself', dripdrop._quoted(v_header.name) using
        errcode = 'ZD201', column = 'headers.' || v_header.name, hint = 'Leave it out.';
    end if;
    if v_header.name ~* 'authorization|cookie|secret|token|password|api-?key' then
      raise exception 'header % looks like a secret', dripdrop._quoted(v_header.name) using
        errcode = 'ZD201', column = 'headers.' || v_header.name,
        hint = 'Use auth_type "header" with sealed credentials {"name": …, "value": …}.';
    end if;
    if v_header.name ~* '^content-type$'
      and v_header.value !~* '^application/(x-www-form-urlencoded|([a-z0-9.-]+[+])?json) *(;|$)'
    then
      raise exception 'no body of type % can be written', dripdrop._quoted(v_header.value) using
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
