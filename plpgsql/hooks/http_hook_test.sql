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
  perform dripdrop._check_json(result, 'result');
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
