create or replace function dripdrop._hook_values(hooks jsonb)
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(h.key, h.value -> 'value'), '{}')
  from jsonb_each(hooks) as h
  where h.value ? 'value'
$$;

comment on function dripdrop._hook_values(jsonb) is
  'The values among what the hooks of an execution answered, by key.';

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

-- Whether asking again later may help: no reply, or a server that says so (RFC 9110).
create or replace function dripdrop._may_pass(code text)
returns boolean
language sql
immutable
parallel safe
return code in (
  'hook_timeout', 'connect_error', 'connection_lost', 'http_408', 'http_425', 'http_429'
) or code ~ '^http_5[0-9][0-9]$';

comment on function dripdrop._may_pass(text) is
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
    when response_type = 'number' and btrim(value) ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[+-]?[0-9]{1,3})?$'
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

-- The first answer stays: a value is fetched once per execution. What was stopped meanwhile has
-- another fence and is left alone.
--
-- locks   nothing new: callers hold the executions and their enrolments
create or replace function dripdrop._record_answers(
  results dripdrop._hook_result[],
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_count int;
begin
  with answer as (
    select
      x.id,
      e.state = 'paused' as paused,
      a.key,
      n.answer,
      jsonb_build_object(
        'error', n.answer -> 'error',
        'count', coalesce((x.hook_failures #>> array[a.key, 'count'])::int, 0) + 1,
        'since', coalesce(x.hook_failures #> array[a.key, 'since'], to_jsonb(_record_answers.at))
      ) as failure,
      case
        when dripdrop._may_pass(n.answer ->> 'error')
        then dripdrop._ask_again_at(
          x.hook_failures -> a.key, h.retry_for,
          case
            when jsonb_typeof(a.value -> 'retry_after') = 'number'
            then (a.value ->> 'retry_after')::float8
          end,
          _record_answers.at
        )
      end as again_at
    from unnest(results) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state = 'scheduled'
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    cross join lateral jsonb_each(r.values) as a
    left join dripdrop.http_hooks as h on h.sequence_id = e.sequence_id and h.key = a.key
    cross join lateral (
      select dripdrop._hook_answer(a.value, h.response_path, h.response_type) as answer
      offset 0
    ) as n
    where not coalesce(x.hooks, '{}') ? a.key
  ),
  told as (
    select
      a.id,
      a.paused,
      jsonb_object_agg(a.key, a.answer) filter (where a.again_at is null) as hooks,
      coalesce(jsonb_object_agg(a.key, a.failure) filter (where a.again_at is not null), '{}')
        as failures,
      array_agg(a.key) as keys,
      min(a.again_at) as again_at
    from answer as a
    group by a.id, a.paused
  ),
  answered as (
    update dripdrop.step_executions as x
    set hooks = case when t.hooks is null then x.hooks else coalesce(x.hooks, '{}') || t.hooks end,
        hook_failures = nullif(coalesce(x.hook_failures - t.keys, '{}') || t.failures, '{}'),
        due_at = case when not t.paused then coalesce(t.again_at, _record_answers.at) end,
        defer_count = x.defer_count + (t.again_at is not null)::int,
        reason = case when t.again_at is not null then 'hook_unavailable' else x.reason end,
        reason_at = case when t.again_at is not null then _record_answers.at else x.reason_at end,
        updated_at = _record_answers.at
    from told as t
    where x.id = t.id
    returning x.id, x.tenant_key, x.channel, t.failures, t.again_at
  ),
  logged as (
    insert into dripdrop.message_events (
      tenant_key, step_execution_id, channel, provider, event_type, event_data, occurred_at
    )
    select
      a.tenant_key, a.id, a.channel, 'dripdrop', 'deferred',
      jsonb_build_object(
        'reason', 'hook_unavailable', 'gate', 'hooks',
        'detail', dripdrop._describe_failures(a.failures), 'until', a.again_at
      ),
      _record_answers.at
    from answered as a
    where a.again_at is not null
  )
  select count(*) into v_count
  from answered;
  return v_count;
end
$$;

comment on function dripdrop._record_answers(dripdrop._hook_result[], timestamptz) is
  'Keeps what the hooks of executions answered, and makes them due: now, or when they ask again.';

-- results: [{"execution", "fence", "message", "values": {key: answer}}], an answer being one of
-- {"value": …}, {"response": "the body"} and {"error": code}, and for goals and exit rules
-- {"enrollment", "ask_at", "values"}.
--
-- locks   enrolments, then executions, both in id order, then circuits
-- raises  ZD201 results are malformed
create or replace function dripdrop.complete_hooks(results jsonb)
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_results dripdrop._hook_result[] := dripdrop._hook_results(results);
  v_asked uuid[] := array(
    select r.enrollment from unnest(v_results) as r where r.enrollment is not null
  );
  v_count int;
begin
  perform from dripdrop.enrollments as e
  where e.id in (
    select x.enrollment_id
    from unnest(v_results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    union
    select a.id from unnest(v_asked) as a (id)
  )
  order by e.id
  for no key update;
  perform from dripdrop.step_executions as x
  where x.id in (
    select r.execution
    from unnest(v_results) as r
    union
    select n.id
    from dripdrop.step_executions as n
    where n.enrollment_id = any (v_asked) and n.state in ('scheduled', 'queued', 'rendered')
  )
  order by x.id
  for no key update;

  perform dripdrop._note_answers(v_results, v_now);
  v_count := dripdrop._record_answers(v_results, v_now);
  if v_asked <> '{}' then
    v_count := v_count + dripdrop._settle_rules(v_results, v_now);
  end if;
  perform pgmq.delete('dripdrop_hooks', array(
    select r.message from unnest(v_results) as r where r.message is not null
  ));
  return v_count;
end
$$;

comment on function dripdrop.complete_hooks(jsonb) is
  'Takes what hooks answered, makes their executions due, applies goals and exit rules, and '
  'returns how many asked.';
