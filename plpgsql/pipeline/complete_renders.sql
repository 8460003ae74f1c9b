-- results: [{"execution", "fence", "message", "payload"}] or, for what cannot be rendered,
-- [{"execution", "fence", "message", "code", "detail"}]. A failure is for good: the same words fail
-- again, and so does what came out empty: a template of variables may say nothing in the end.
-- What was stopped meanwhile has another fence and is left alone; what somebody has locked
-- at this moment, to stop it or only to look, is rendered again a second later. message is null of
-- what claim_due() has leased.
--
-- locks   the enrolments of failures, then executions, skipping what is locked
-- raises  ZD201 results are not a list
create or replace function dripdrop.complete_renders(results jsonb)
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_results dripdrop._render_result[] := dripdrop._without_empty(
    dripdrop._read_renders(results)
  );
  v_rendered uuid[] := dripdrop._record_renders(v_results, dripdrop._now());
begin
  perform dripdrop._enqueue_rendered(v_rendered);
  perform dripdrop._delete_render_messages(v_results);
  return cardinality(v_rendered);
end
$$;

comment on function dripdrop.complete_renders(jsonb) is
  'Takes rendered messages, passes them on to their senders'' queues and returns how many.';

-- raises  ZD201
create or replace function dripdrop._read_renders(results jsonb)
returns dripdrop._render_result[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results is not a list' using
      errcode = 'ZD201', column = 'results',
      hint = 'Pass [{"execution": …, "fence": …, "message": …, "payload": {…}}, …].';
  end if;
  return array(
    select r
    from jsonb_populate_recordset(null::dripdrop._render_result, results) as r
    order by r.execution
  );
exception
  when data_exception then
    raise exception 'an element of results is malformed' using
      errcode = 'ZD201', column = 'results', detail = sqlerrm,
      hint = 'execution is a uuid, fence a whole number.';
end
$$;

comment on function dripdrop._read_renders(jsonb) is
  'The results that complete_renders() was given, in the order of their executions.';

-- What a template has to say, its channel's fields and one_of tell.
create or replace function dripdrop._without_empty(results dripdrop._render_result[])
returns dripdrop._render_result[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_empty dripdrop._render_result[] := array(
    with needed as materialized (
      select c.channel, c.one_of, array(
        select f.field
        from dripdrop.fields as f
        where f.kind = 'template.' || c.channel and f.required
        order by f.place
      ) as fields
      from dripdrop.channels as c
    )
    select row(r.execution, r.fence, r.message, null::jsonb, e.code, e.detail)
      ::dripdrop._render_result
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution and r.payload is not null
    join needed as n on n.channel = x.channel
    cross join lateral (
      select 'missing_' || f.field as code, format('the %s is empty', f.field) as detail
      from unnest(n.fields) as f (field)
      where not dripdrop._says_something(r.payload ->> f.field)
      union all
      select 'empty_message', array_to_string(n.one_of, ' and ') || ' are empty'
      where not exists (
        select
        from unnest(n.one_of) as o (field)
        where dripdrop._says_something(r.payload ->> o.field)
      )
        and n.one_of is not null
      limit 1
    ) as e
  );
begin
  -- Mostly there are none, and nothing is copied.
  if cardinality(v_empty) = 0 then
    return results;
  end if;
  return array(
    select r from unnest(v_empty) as r
    union all
    select r
    from unnest(results) as r
    where r.execution <> all (array(select e.execution from unnest(v_empty) as e))
  );
end
$$;

comment on function dripdrop._without_empty(dripdrop._render_result[]) is
  'The results, those that do not say what their channel''s messages have to made failures.';

-- A message of some length is not looked at as a whole.
create or replace function dripdrop._says_something(value text)
returns boolean
language sql
immutable
parallel safe
return coalesce(left(value, 100) ~ '[^[:space:]]' or value ~ '[^[:space:]]', false);

comment on function dripdrop._says_something(text) is 'Whether a text is more than space.';

-- Callers see to the pointers: what is rendered is in no queue yet, and may still be in the other.
--
-- locks   as complete_renders()
create or replace function dripdrop._record_renders(
  results dripdrop._render_result[],
  at timestamptz
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_taken dripdrop._render_result[];
  v_free uuid[];
  v_done uuid[];
  v_failed uuid[];
begin
  if exists (select from unnest(results) as r where r.payload is null) then
    v_free := array(
      select e.id
      from dripdrop.enrollments as e
      where e.id in (
        select x.enrollment_id
        from unnest(results) as r
        join dripdrop.step_executions as x on x.id = r.execution
        where r.payload is null
      )
      order by e.id
      for no key update skip locked
    );
  end if;
  v_taken := array(
    select r
    from unnest(results) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state = 'queued'
    where r.payload is not null or x.enrollment_id = any (v_free)
    for no key update of x skip locked
  );
  with done as (
    update dripdrop.step_executions as x
    set state = case when r.payload is null then 'failed' else 'rendered' end,
        payload = r.payload,
        ended_at = case when r.payload is null then _record_renders.at end,
        reason = case when r.payload is null then coalesce(r.code, 'render_failed') end,
        reason_at = case when r.payload is null then _record_renders.at end,
        error_message = left(r.detail, 500),
        updated_at = _record_renders.at
    from unnest(v_taken) as r
    where x.id = r.execution
      and x.fence = r.fence
      and x.state = 'queued'
    returning x.id, x.state
  )
  select
    array_agg(d.id) filter (where d.state = 'rendered'),
    array_agg(d.id) filter (where d.state = 'failed')
  into v_done, v_failed
  from done as d;
  perform dripdrop._check_written(array(
    select r.execution
    from unnest(v_taken) as r
    where r.execution <> all (coalesce(v_done, '{}') || coalesce(v_failed, '{}'))
  ));

  if v_failed is not null then
    insert into dripdrop.message_reports (
      tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data,
      occurred_at
    )
    select
      x.tenant_key, x.id, x.adapter_id, x.channel, 'dripdrop', 'failed',
      jsonb_build_object('reason', x.reason, 'detail', x.error_message), _record_renders.at
    from dripdrop.step_executions as x
    where x.id = any (v_failed);
    perform dripdrop._advance_failed(v_failed, at);
  end if;
  return coalesce(v_done, '{}');
end
$$;

comment on function dripdrop._record_renders(dripdrop._render_result[], timestamptz) is
  'Moves executions as their renderers say and returns which are rendered and in no queue yet.';

-- What is still queued was locked by somebody: its message comes again a second later. Whoever
-- locked an execution may be completing it too: no two wait for each other's messages.
--
-- locks   messages of the render queue, of some skipping what is locked
create or replace function dripdrop._delete_render_messages(results dripdrop._render_result[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  v_queued bigint[] := array(
    select r.message
    from unnest(results) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state = 'queued'
    where r.message is not null
  );
  v_messages bigint[] := array(
    select r.message from unnest(results) as r where r.message is not null
  );
begin
  perform pgmq.send_batch('dripdrop_render', l.pointers, 1)
  from (
    select array_agg(jsonb_build_object('execution', x.id, 'fence', x.fence)) as pointers
    from unnest(results) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state = 'queued'
    where r.message is null
  ) as l
  where l.pointers is not null;
  if cardinality(v_queued) > 0 then
    execute 'select array(select q.msg_id from pgmq.q_dripdrop_render as q '
      'where q.msg_id = any ($1) for update skip locked)'
    into v_messages
    using v_messages;
    perform from pgmq.set_vt(
      'dripdrop_render', array(select m from unnest(v_messages) as m where m = any (v_queued)), 1
    );
  end if;
  if cardinality(v_messages) > 0 then
    perform pgmq.delete(
      'dripdrop_render', array(select m from unnest(v_messages) as m where m <> all (v_queued))
    );
  end if;
end
$$;

comment on function dripdrop._delete_render_messages(dripdrop._render_result[]) is
  'Deletes the pointers of renders that were recorded, and puts the others back.';
