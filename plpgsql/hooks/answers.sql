create or replace function dripdrop._failed_hook(hooks jsonb, template jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select format('%s: %s', h.key, coalesce(h.value ->> 'error', 'hook_null'))
  from jsonb_each(hooks) as h
  where case
    when h.value ? 'error' then dripdrop._template_names(template, h.key)
    when h.value -> 'value' = 'null' then dripdrop._template_prints(template, h.key)
  end
  order by h.key
  limit 1
$$;

comment on function dripdrop._failed_hook(jsonb, jsonb) is
  'The first hook that a template names and that ended in an error, or that it prints and that has '
  'no value, with the code; null if none.';

-- Whether asking again later may help: no reply, a server that says so, or one that says what is no
-- status (RFC 9110 section 15).
create or replace function dripdrop._is_temporary_error(code text)
returns boolean
language sql
immutable
parallel safe
return code in (
  'hook_timeout', 'connect_error', 'connection_lost', 'http_408', 'http_425', 'http_429'
) or (code ~ '^http_' and code !~ '^http_[34][0-9][0-9]$');

comment on function dripdrop._is_temporary_error(text) is
  'Whether an error of an HTTP hook is one for the time being.';

create or replace function dripdrop._describe_failures(failures jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(format('%s: %s', f.key, f.value ->> 'error'), ', ' order by f.key)
  from jsonb_each(failures) as f
$$;

comment on function dripdrop._describe_failures(jsonb) is
  'What hooks have failed with for the time being, as people read it.';

-- raises  ZD201
create or replace function dripdrop._check_hook_answer(answer jsonb, field text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(answer) is distinct from 'object'
    or num_nonnulls(answer -> 'value', answer -> 'response', answer -> 'error') <> 1
    or jsonb_typeof(coalesce(answer -> 'response', answer -> 'error', '""')) <> 'string'
  then
    raise exception 'the answer of a hook is malformed' using
      errcode = 'ZD201', column = _check_hook_answer.field,
      hint = 'Pass one of {"value": …}, {"response": "the body"} and {"error": "code"}.';
  end if;
end
$$;

comment on function dripdrop._check_hook_answer(jsonb, text) is
  'Raises ZD201 on what is no answer of a hook.';

-- What a caller reports becomes what is kept: {"value": …} or {"error": code}. The path and the
-- type are applied here, by the rules of SQL/JSON, whoever made the call. A value goes to
-- predicates and to renderers: it is bounded as everything is that comes in.
create or replace function dripdrop._hook_answer(
  answer jsonb,
  response_path text,
  response_type text
)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_value jsonb;
begin
  if answer ? 'error' then
    return jsonb_build_object('error', left(answer ->> 'error', 100));
  elsif answer ? 'value' then
    v_value := answer -> 'value';
  elsif response_type is null then
    return '{"error": "hook_missing"}'::jsonb;
  elsif response_type = 'text' and response_path is null then
    v_value := answer -> 'response';
  else
    v_value := (answer ->> 'response')::jsonb;
    if exists (select from dripdrop._json_fault(v_value, '', 65536)) then
      return '{"error": "hook_unusable"}'::jsonb;
    end if;
    if response_path is not null then
      if dripdrop._takes_long(response_path::jsonpath, v_value) then
        return '{"error": "hook_unusable"}'::jsonb;
      end if;
      v_value := jsonb_path_query_first(v_value, response_path::jsonpath, '{}', true);
    end if;
    if v_value is null then
      return '{"error": "hook_path_missing"}'::jsonb;
    end if;
    if response_type <> 'json' then
      v_value := dripdrop._coerced(v_value #>> '{}', response_type);
    end if;
  end if;
  if v_value is null then
    return '{"error": "hook_coercion"}'::jsonb;
  end if;
  if not dripdrop._is_plain(v_value)
    and exists (select from dripdrop._json_fault(v_value, '', 65536))
  then
    return '{"error": "hook_unusable"}'::jsonb;
  end if;
  return jsonb_build_object('value', v_value);
exception
  -- No JSON, or JSON that Postgres cannot hold.
  when data_exception or program_limit_exceeded then
    return '{"error": "hook_coercion"}'::jsonb;
end
$$;

comment on function dripdrop._hook_answer(jsonb, text, text) is
  'What is kept of a hook''s answer: its value, taken from the response by path and type, or an '
  'error.';

create or replace function dripdrop._coerced(value text, response_type text)
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when response_type = 'text' then to_jsonb(value)
    when response_type = 'boolean' and lower(btrim(value)) in ('true', 'false')
    then to_jsonb(btrim(value)::boolean)
    when response_type = 'number'
      and btrim(value) ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[+-]?[0-9]{1,3})?$'
    then to_jsonb(btrim(value)::numeric)
  end
$$;

comment on function dripdrop._coerced(text, text) is
  'A text as text, number or boolean; null if it is none.';

-- raises  ZD201 results are malformed
create or replace function dripdrop._hook_results(results jsonb)
returns dripdrop._hook_result[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_results dripdrop._hook_result[];
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results is not a list' using
      errcode = 'ZD201', column = 'results',
      hint = 'Pass [{"execution": …, "fence": …, "message": …, "values": {…}}, …].';
  end if;
  v_results := array(
    select r
    from jsonb_populate_recordset(null::dripdrop._hook_result, results) as r
  );
  perform dripdrop._check_hook_answer(a.value, 'results')
  from unnest(v_results) as r
  cross join lateral jsonb_each(coalesce(r.values, '""')) as a;
  return v_results;
exception
  when data_exception then
    raise exception 'an element of results is malformed' using
      errcode = 'ZD201', column = 'results', detail = sqlerrm,
      hint = 'execution and enrollment are uuids, fence a whole number, values an object.';
end
$$;

comment on function dripdrop._hook_results(jsonb) is 'The results of complete_hooks(), checked.';

-- What may pass is asked again after a pause, which grows from a minute to an hour, or when the
-- server said; for as long as the hook is retried. The last attempt is at the very end.
create or replace function dripdrop._ask_again_at(
  failure jsonb,
  retry_for interval,
  retry_after float8,
  at timestamptz
)
returns timestamptz
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when at < f.since + retry_for
    then least(
      f.since + retry_for,
      at + greatest(
        make_interval(mins => (array[1, 5, 15, 60])[least(f.count, 4)]),
        make_interval(secs => least(coalesce(retry_after, 0), 86400))
      )
    )
  end
  from (
    select
      coalesce((failure ->> 'since')::timestamptz, at) as since,
      coalesce((failure ->> 'count')::int, 0) + 1 as count
  ) as f
$$;

comment on function dripdrop._ask_again_at(jsonb, interval, float8, timestamptz) is
  'When a hook is asked again that has failed for the time being; null when it fails for good.';
