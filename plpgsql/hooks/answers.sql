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
  select format('%s: %s', h.key, h.value ->> 'error')
  from jsonb_each(hooks) as h
  where h.value ? 'error'
    and dripdrop._template_names(template, h.key)
  order by h.key
  limit 1
$$;

comment on function dripdrop._failed_hook(jsonb, jsonb) is
  'The first hook that a template names and that ended in an error, with its code; null if none.';

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
-- type are applied here, by the rules of SQL/JSON, whoever made the call.
create or replace function dripdrop._hook_answer(
  answer jsonb,
  response_path text,
  response_type text
)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_value jsonb;
  v_text text;
begin
  if answer ? 'error' then
    return jsonb_build_object('error', left(answer ->> 'error', 100));
  end if;
  if answer ? 'value' then
    return jsonb_build_object('value', answer -> 'value');
  end if;
  if response_type is null then
    return '{"error": "hook_missing"}'::jsonb;
  end if;
  if response_type = 'text' and response_path is null then
    return jsonb_build_object('value', answer -> 'response');
  end if;

  v_value := (answer ->> 'response')::jsonb;
  if response_path is not null then
    v_value := jsonb_path_query_first(v_value, response_path::jsonpath, '{}', true);
    if v_value is null then
      return '{"error": "hook_path_missing"}'::jsonb;
    end if;
  end if;
  if response_type = 'json' then
    return jsonb_build_object('value', v_value);
  end if;

  v_text := v_value #>> '{}';
  return case
    when v_text is null then '{"error": "hook_coercion"}'
    when response_type = 'text' then jsonb_build_object('value', v_text)
    when response_type = 'boolean' and lower(btrim(v_text)) in ('true', 'false')
    then jsonb_build_object('value', btrim(v_text)::boolean)
    when response_type = 'number'
      and btrim(v_text) ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[+-]?[0-9]{1,3})?$'
    then jsonb_build_object('value', btrim(v_text)::numeric)
    else '{"error": "hook_coercion"}'
  end;
exception
  -- No JSON, or JSON that Postgres cannot hold.
  when data_exception or program_limit_exceeded then
    return '{"error": "hook_coercion"}'::jsonb;
end
$$;

comment on function dripdrop._hook_answer(jsonb, text, text) is
  'What is kept of a hook''s answer: its value, taken from the response by path and type, or an '
  'error.';

-- What a key of a step stands for: an HTTP hook of the sequence, else a SQL function, else nothing.
-- error: why there is nothing to call.
create or replace function dripdrop._hook_to_call(
  tenant_key text,
  sequence dripdrop.sequences,
  key text
)
returns table (kind text, hook jsonb, error text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select found.kind, found.hook, found.error
  from (
    select
      1 as place,
      'http' as kind,
      dripdrop._http_hook_call(h, sequence.key) as hook,
      case when not h.active then 'hook_inactive' end as error
    from dripdrop.http_hooks as h
    where h.sequence_id = sequence.id and h.key = _hook_to_call.key
    union all
    select 2, 'sql', jsonb_build_object('timeout_ms', h.timeout_ms), null
    from dripdrop._hook(_hook_to_call.tenant_key, _hook_to_call.key) as h
    union all
    select 3, null, null, 'hook_missing'
  ) as found
  order by found.place
  limit 1
$$;

comment on function dripdrop._hook_to_call(text, dripdrop.sequences, text) is
  'How the value of a hook is come by for a sequence, or why it cannot be.';

-- Work for whoever calls hooks. A claim is only the queue's visibility time: a caller that dies has
-- changed nothing, and the call is made again. Where there is nothing to call, the error is the
-- answer, and is given here; an execution that somebody has locked gets it when its claim has run
-- out, so that a claim waits for nobody.
--
-- locks   messages of the queue; where nothing can be called, executions and their enrolments; all
--         skipping what is locked
-- raises  ZD120 the queue does not exist
create or replace function dripdrop.claim_hooks(
  batch_size int default 100,
  visibility interval default '5 minutes'
)
returns table (
  execution_id uuid,
  fence int,
  message_id bigint,
  tenant_key text,
  key text,
  kind text,
  hook jsonb,
  variables jsonb
)
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
  v_messages bigint[];
  v_executions uuid[];
  v_fences int[];
  v_wanted dripdrop._wanted_hook[];
  v_answerable uuid[];
begin
  perform dripdrop._check_batch_size(batch_size);
  select
    array_agg(m.msg_id),
    array_agg((m.message ->> 'execution')::uuid),
    array_agg((m.message ->> 'fence')::int)
  into v_messages, v_executions, v_fences
  from dripdrop._read_queue(
    'dripdrop_hooks', extract(epoch from visibility)::int, batch_size
  ) as m;
  if v_messages is null then
    return;
  end if;

  perform pgmq.delete('dripdrop_hooks', array_agg(p.message))
  from unnest(v_messages, v_executions, v_fences) as p (message, execution, fence)
  where not exists (
    select from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id
    where x.id = p.execution
      and x.fence = p.fence
      and x.state = 'scheduled'
      and not coalesce(x.hooks, '{}') ?& s.hooks
  )
  having count(*) > 0;

  v_wanted := array(
    select (x.id, p.message, k.key, c.kind, c.hook, c.error)::dripdrop._wanted_hook
    from unnest(v_messages, v_executions, v_fences) as p (message, execution, fence)
    join dripdrop.step_executions as x
      on x.id = p.execution and x.fence = p.fence and x.state = 'scheduled'
    join dripdrop.steps as s on s.id = x.step_id
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.sequences as q on q.id = e.sequence_id
    cross join lateral unnest(s.hooks) as k (key)
    cross join lateral dripdrop._hook_to_call(x.tenant_key, q, k.key) as c
    where not coalesce(x.hooks, '{}') ? k.key
  );

  -- One that waits for other values too gets its errors after them.
  v_answerable := array(
    select w.execution_id
    from unnest(v_wanted) as w
    group by w.execution_id
    having bool_and(w.error is not null)
  );
  if cardinality(v_answerable) > 0 then
    v_answerable := array(
      select x.id
      from dripdrop.step_executions as x
      join dripdrop.enrollments as e on e.id = x.enrollment_id
      where x.id = any (v_answerable)
      for no key update of e, x skip locked
    );
    perform dripdrop.complete_hooks((
      select coalesce(jsonb_agg(a.answer), '[]')
      from (
        select jsonb_build_object(
          'execution', x.id,
          'fence', x.fence,
          'message', w.message_id,
          'values', jsonb_object_agg(w.key, jsonb_build_object('error', w.error))
        ) as answer
        from unnest(v_wanted) as w
        join dripdrop.step_executions as x on x.id = w.execution_id
        where x.id = any (v_answerable)
        group by x.id, w.message_id
      ) as a
    ));
  end if;

  return query
  select
    x.id,
    x.fence,
    w.message_id,
    x.tenant_key,
    w.key,
    w.kind,
    w.hook,
    dripdrop._variables(e, q.key, s.key, x.hooks, x.event_id, v_now)
  from unnest(v_wanted) as w
  join dripdrop.step_executions as x on x.id = w.execution_id
  join dripdrop.steps as s on s.id = x.step_id
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  join dripdrop.sequences as q on q.id = e.sequence_id
  where w.error is null;
end
$$;

comment on function dripdrop.claim_hooks(int, interval) is
  'Hooks to call, one row per execution and key, for a while nobody else''s; hand the answers to '
  'complete_hooks().';

-- results: [{"execution", "fence", "message", "values": {key: answer}}], an answer being one of
-- {"value": …}, {"response": "the body"} and {"error": code}. The first answer stays: a value is
-- fetched once per execution. What was stopped meanwhile has another fence and is left alone.
--
-- locks   enrolments, then executions, both in id order
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
  v_results dripdrop._hook_result[];
  v_count int;
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results is not a list' using
      errcode = 'ZD201', column = 'results',
      hint = 'Pass [{"execution": …, "fence": …, "message": …, "values": {…}}, …].';
  end if;
  begin
    v_results := array(
      select r
      from jsonb_populate_recordset(null::dripdrop._hook_result, results) as r
    );
    perform dripdrop._check_hook_answer(a.value, 'results')
    from unnest(v_results) as r
    cross join lateral jsonb_each(coalesce(r.values, '""')) as a;
  exception
    when data_exception then
      raise exception 'an element of results is malformed' using
        errcode = 'ZD201', column = 'results', detail = sqlerrm,
        hint = 'execution is a uuid, fence a whole number, values an object.';
  end;

  perform from dripdrop.enrollments as e
  where e.id in (
    select x.enrollment_id
    from unnest(v_results) as r
    join dripdrop.step_executions as x on x.id = r.execution
  )
  order by e.id
  for no key update;
  perform from dripdrop.step_executions as x
  where x.id in (select r.execution from unnest(v_results) as r)
  order by x.id
  for no key update;

  with answer as (
    select
      x.id,
      e.state = 'paused' as paused,
      jsonb_object_agg(
        a.key, dripdrop._hook_answer(a.value, h.response_path, h.response_type)
      ) as hooks
    from unnest(v_results) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state = 'scheduled'
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    cross join lateral jsonb_each(r.values) as a
    left join dripdrop.http_hooks as h on h.sequence_id = e.sequence_id and h.key = a.key
    where not coalesce(x.hooks, '{}') ? a.key
    group by x.id, e.id
  ),
  answered as (
    update dripdrop.step_executions as x
    set hooks = coalesce(x.hooks, '{}') || a.hooks,
        due_at = case when not a.paused then v_now end,
        updated_at = v_now
    from answer as a
    where x.id = a.id
    returning x.id
  )
  select count(*) into v_count
  from answered;
  perform pgmq.delete('dripdrop_hooks', array(select r.message from unnest(v_results) as r));
  return v_count;
end
$$;

comment on function dripdrop.complete_hooks(jsonb) is
  'Takes what hooks answered, makes their executions due and returns how many.';
