-- Looks at what is due, decides each and carries it out. Any number of callers at once is safe:
-- each takes other rows. Both rows are taken without waiting, the execution and its enrolment, so a
-- tick never takes part in a deadlock. The planner settings are those of all set-based functions:
-- every row is reached by its key, by one plan, however old the statistics are.
--
-- locks   due executions and their enrolments, skipping what is locked
-- raises  ZD120 the queues do not exist
create or replace function dripdrop.tick(batch_size int default 500)
returns table (queued int, deferred int, held int, skipped int, cancelled int, failed int)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_due uuid[];
  v_decisions dripdrop._decision[];
  v_queued jsonb[];
  v_rendered uuid[];
begin
  perform dripdrop._check_batch_size(batch_size);
  v_due := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.due_at <= v_now
    order by x.due_at
    limit tick.batch_size
    for no key update of e, x skip locked
  );
  if cardinality(v_due) = 0 then
    return query select 0, 0, 0, 0, 0, 0;
    return;
  end if;

  v_decisions := array(select d from dripdrop._decide(v_due, v_now) as d);

  -- What was rendered before goes straight to its sender: a retry sends the same bytes.
  with sent as (
    update dripdrop.step_executions as x
    set state = case when x.payload is null then 'queued' else 'rendered' end,
        due_at = null,
        adapter_id = d.adapter_id,
        recipient = d.recipient,
        updated_at = v_now
    from unnest(v_decisions) as d
    where x.id = d.execution_id
      and d.action = 'send'
    returning x.id, x.fence, x.state
  )
  select
    array_agg(jsonb_build_object('execution', s.id, 'fence', s.fence))
      filter (where s.state = 'queued'),
    array_agg(s.id) filter (where s.state = 'rendered')
  into v_queued, v_rendered
  from sent as s;
  perform dripdrop._enqueue('dripdrop_render', v_queued);
  if v_rendered is not null then
    perform dripdrop._enqueue_rendered(v_rendered);
  end if;

  if exists (select from unnest(v_decisions) as d where d.action <> 'send') then
    perform dripdrop._carry_out(v_decisions, v_now);
  end if;

  return query
  select
    count(*) filter (where d.action = 'send')::int,
    count(*) filter (where d.action = 'defer')::int,
    count(*) filter (where d.action = 'hold')::int,
    count(*) filter (where d.action = 'skip')::int,
    count(*) filter (where d.action in ('cancel', 'exit'))::int,
    count(*) filter (where d.action = 'fail')::int
  from unnest(v_decisions) as d;
end
$$;

comment on function dripdrop.tick(int) is
  'Decides up to batch_size due messages and queues, defers, holds, skips or ends them; returns '
  'how many of each.';

-- Everything a decision can be but send.
--
-- locks   nothing new: tick() holds the executions and their enrolments
create or replace function dripdrop._carry_out(decisions dripdrop._decision[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_skipped uuid[];
  v_failed uuid[];
  v_exits record;
begin
  update dripdrop.step_executions as x
  set state = case d.action
        when 'skip' then 'skipped'
        when 'cancel' then 'cancelled'
        when 'exit' then 'cancelled'
        when 'fail' then 'failed'
        else 'scheduled'
      end,
      due_at = case when d.action = 'defer' then d.until end,
      defer_count = x.defer_count + (d.action = 'defer')::int,
      ended_at = case when d.action in ('skip', 'cancel', 'exit', 'fail') then _carry_out.at end,
      adapter_id = d.adapter_id,
      recipient = d.recipient,
      reason = d.reason,
      reason_at = _carry_out.at,
      updated_at = _carry_out.at
  from unnest(decisions) as d
  where x.id = d.execution_id
    and d.action <> 'send';

  insert into dripdrop.message_events (
    tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data,
    occurred_at
  )
  select
    x.tenant_key, x.id, d.adapter_id, x.channel, 'dripdrop',
    case d.action
      when 'defer' then 'deferred'
      when 'fail' then 'failed'
      else case when d.reason = 'suppressed' then 'suppressed' else 'skipped' end
    end,
    jsonb_strip_nulls(jsonb_build_object('reason', d.reason, 'gate', d.gate, 'until', d.until)),
    _carry_out.at
  from unnest(decisions) as d
  join dripdrop.step_executions as x on x.id = d.execution_id
  where d.action in ('defer', 'fail', 'skip');

  for v_exits in
    select d.reason, array_agg(x.enrollment_id) as enrollments
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    where d.action = 'exit'
    group by d.reason
  loop
    perform dripdrop._end_enrollments(
      v_exits.enrollments, 'cancelled', v_exits.reason, _carry_out.at
    );
  end loop;

  select
    array_agg(d.execution_id) filter (where d.action = 'skip'),
    array_agg(d.execution_id) filter (where d.action = 'fail')
  into v_skipped, v_failed
  from unnest(decisions) as d;
  if v_skipped is not null then
    perform dripdrop._advance(v_skipped, _carry_out.at);
  end if;
  if v_failed is not null then
    perform dripdrop._give_up(v_failed, _carry_out.at);
  end if;
end
$$;

comment on function dripdrop._carry_out(dripdrop._decision[], timestamptz) is
  'Does what decisions other than send say.';
