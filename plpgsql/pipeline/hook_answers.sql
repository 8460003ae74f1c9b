-- The first answer stays: a value is fetched once per execution. What was stopped meanwhile has
-- another fence and is left alone. again_at: an error that may pass is asked again then.
create or replace function dripdrop._first_answers(
  results dripdrop._hook_result[],
  at timestamptz
)
returns table (
  id uuid, paused boolean, key text, answer jsonb, failure jsonb, again_at timestamptz
)
language sql
stable
begin atomic
  select
    x.id,
    e.state = 'paused' as paused,
    a.key,
    n.answer,
    jsonb_build_object(
      'error', n.answer -> 'error',
      'count', coalesce((x.hook_failures #>> array[a.key, 'count'])::int, 0) + 1,
      'since', coalesce(x.hook_failures #> array[a.key, 'since'], to_jsonb(_first_answers.at))
    ) as failure,
    case
      when dripdrop._is_temporary_error(n.answer ->> 'error')
      then dripdrop._ask_again_at(
        x.hook_failures -> a.key, h.retry_for,
        case
          when jsonb_typeof(a.value -> 'retry_after') = 'number'
          then (a.value ->> 'retry_after')::float8
        end,
        _first_answers.at
      )
    end as again_at
  from unnest(_first_answers.results) as r
  join dripdrop.step_executions as x
    on x.id = r.execution and x.fence = r.fence and x.state = 'scheduled'
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  cross join lateral jsonb_each(r.values) as a
  left join dripdrop.http_hooks as h on h.sequence_id = e.sequence_id and h.key = a.key
  cross join lateral dripdrop._hook_answer(a.value, h.response_path, h.response_type) as n (answer)
  where not coalesce(x.hooks, '{}') ? a.key;
end;

comment on function dripdrop._first_answers(dripdrop._hook_result[], timestamptz) is
  'What executions are told that have no answer yet, by key, and what a failure is remembered as.';

--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._record_answers(
  results dripdrop._hook_result[],
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count int;
begin
  with told as (
    select
      a.id,
      a.paused,
      jsonb_object_agg(a.key, a.answer) filter (where a.again_at is null) as hooks,
      coalesce(jsonb_object_agg(a.key, a.failure) filter (where a.again_at is not null), '{}')
        as failures,
      array_agg(a.key) as keys,
      min(a.again_at) as again_at
    from dripdrop._first_answers(results, _record_answers.at) as a
    group by a.id, a.paused
  ),
  answered as (
    update dripdrop.step_executions as x
    set hooks = case when t.hooks is null then x.hooks else coalesce(x.hooks, '{}') || t.hooks end,
        hook_failures = nullif(coalesce(x.hook_failures - t.keys, '{}') || t.failures, '{}'),
        due_at = case when not t.paused then coalesce(t.again_at, _record_answers.at) end,
        waits_for = case
          when t.paused then 'enrollment'
          when t.again_at is not null then 'hook'
        end,
        defer_count = x.defer_count + (t.again_at is not null)::int,
        reason = case when t.again_at is not null then 'hook_unavailable' else x.reason end,
        reason_at = case when t.again_at is not null then _record_answers.at else x.reason_at end,
        updated_at = _record_answers.at
    from told as t
    where x.id = t.id
    returning x.id, x.tenant_key, x.channel, t.failures, t.again_at
  ),
  logged as (
    insert into dripdrop.message_reports (
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
-- It waits for nobody: who is locked is asked again a few seconds later, and about goals and exit
-- rules when the claim has run out.
--
-- locks   enrolments and their executions, skipping what is locked, then circuits
-- raises  ZD201 results are malformed
create or replace function dripdrop.complete_hooks(results jsonb)
returns int
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._record_hook_results(dripdrop._hook_results(results), dripdrop._now())
$$;

comment on function dripdrop.complete_hooks(jsonb) is
  'Takes what hooks answered, makes their executions due, applies goals and exit rules, and '
  'returns how many asked.';

-- locks   as complete_hooks()
create or replace function dripdrop._record_hook_results(
  results dripdrop._hook_result[],
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_free dripdrop._hook_result[] := dripdrop._lock_hook_results(results);
  v_count int;
begin
  if cardinality(v_free) < cardinality(results) then
    perform dripdrop._ask_hooks_again(results, v_free, at);
  end if;
  perform dripdrop._note_answers(v_free, at);
  v_count := dripdrop._record_answers(v_free, at);
  if exists (select from unnest(v_free) as r where r.enrollment is not null) then
    v_count := v_count + dripdrop._apply_rules(v_free, at);
  end if;
  perform pgmq.delete('dripdrop_hooks', array(
    select r.message from unnest(v_free) as r where r.message is not null
  ));
  return v_count;
end
$$;

comment on function dripdrop._record_hook_results(dripdrop._hook_result[], timestamptz) is
  'Notes, keeps and applies what hooks answered; returns how many asked.';

-- What is of no execution or enrolment any more is in nobody's way.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._lock_hook_results(results dripdrop._hook_result[])
returns dripdrop._hook_result[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_asked uuid[] := array(
    select r.enrollment from unnest(results) as r where r.enrollment is not null
  );
  v_executions uuid[];
  v_enrollments uuid[];
  v_free uuid[];
begin
  v_enrollments := array(
    select e.id
    from dripdrop.enrollments as e
    where e.id in (
      select x.enrollment_id
      from unnest(results) as r
      join dripdrop.step_executions as x on x.id = r.execution
      union
      select a.id from unnest(v_asked) as a (id)
    )
    order by e.id
    for no key update skip locked
  );
  v_executions := array(
    select x.id
    from dripdrop.step_executions as x
    where x.enrollment_id = any (v_enrollments)
      and (
        x.id in (select r.execution from unnest(results) as r)
        or (
          x.enrollment_id = any (v_asked) and x.state in ('scheduled', 'queued', 'rendered')
        )
      )
    order by x.id
    for no key update skip locked
  );
  -- Of those whose rules have answered, all that may end must be held.
  v_free := array(
    select e.id
    from unnest(v_enrollments) as e (id)
    where not exists (
      select from dripdrop.step_executions as x
      where x.enrollment_id = e.id
        and e.id = any (v_asked)
        and x.state in ('scheduled', 'queued', 'rendered')
        and x.id <> all (v_executions)
    )
  );
  return array(
    select r
    from unnest(results) as r
    left join dripdrop.step_executions as x on x.id = r.execution
    where (r.enrollment is null or r.enrollment = any (v_free))
      and (x.id is null or x.id = any (v_executions))
  );
end
$$;

comment on function dripdrop._lock_hook_results(dripdrop._hook_result[]) is
  'The results whose enrolments and executions nobody else has locked, these locked.';

-- Whoever locked an enrolment may be answering for it too: no two wait for each other. Each time is
-- a call of somebody's server: it is not every second.
--
-- locks   messages of the queue, skipping what is locked
create or replace function dripdrop._ask_hooks_again(
  results dripdrop._hook_result[],
  recorded dripdrop._hook_result[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_done bigint[] := array(select r.message from unnest(recorded) as r where r.message is not null);
  v_left bigint[] := array(
    select m.msg_id
    from pgmq.q_dripdrop_hooks as m
    where m.msg_id in (select r.message from unnest(results) as r where r.message <> all (v_done))
    for update skip locked
  );
begin
  update pgmq.q_dripdrop_hooks as m
  set vt = _ask_hooks_again.at + interval '5 seconds'
  where m.msg_id = any (v_left);
end
$$;

comment on function dripdrop._ask_hooks_again(
  dripdrop._hook_result[], dripdrop._hook_result[], timestamptz
) is 'Has hooks asked again soon whose answers could not be kept now.';
