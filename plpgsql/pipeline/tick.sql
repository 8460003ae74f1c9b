-- Looks at what is due, decides each and carries it out. What cannot be decided or carried out is
-- found by halving the batch and left out for a while; everything else goes on. Any number of
-- callers at once is safe: each takes other rows. Both rows are taken without waiting, the
-- execution and its enrolment, so a tick never takes part in a deadlock.
--
-- locks   enrolments and their due executions, skipping what is locked; then the counters of limits
-- raises  ZD120 the queues do not exist, ZD125 a daemon of another version
create or replace function dripdrop.tick(batch_size int default 500)
returns table (
  queued int,
  asked int,
  deferred int,
  held int,
  skipped int,
  ended int,
  failed int
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select t.queued, t.asked, t.deferred, t.held, t.skipped, t.ended, t.failed
  from dripdrop._tick(batch_size, null) as t;
end
$$;

comment on function dripdrop.tick(int) is
  'Decides up to batch_size due messages; returns how many were queued, wait for their hooks, were '
  'deferred, held, skipped, ended with their enrolment, or failed.';

-- tick() for a caller that renders at once. leased: what it is to render, by leased_renders(); it
-- has no pointer as long as it is leased. When the caller has not come back by then, reconcile()
-- gives it one.
--
-- locks   enrolments and their due executions, skipping what is locked; then the counters of limits
-- raises  as tick(); ZD201 malformed lease
create or replace function dripdrop.claim_due(
  batch_size int default 500,
  lease interval default '1 minute'
)
returns table (
  queued int,
  asked int,
  deferred int,
  held int,
  skipped int,
  ended int,
  failed int,
  leased uuid[]
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_interval(lease, 'lease', interval '0');
  return query select t.* from dripdrop._tick(batch_size, lease) as t;
end
$$;

comment on function dripdrop.claim_due(int, interval) is
  'Decides due messages as tick() does, but leases to the caller what is to be rendered; hand '
  'leased to leased_renders().';

-- locks   as tick()
create or replace function dripdrop._tick(batch_size int, lease interval)
returns table (
  queued int,
  asked int,
  deferred int,
  held int,
  skipped int,
  ended int,
  failed int,
  leased uuid[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_due uuid[];
  v_decisions dripdrop._decision[];
begin
  perform dripdrop._cut_off('off');
  perform dripdrop._check_driver();
  perform dripdrop._check_batch_size(batch_size);
  perform dripdrop._record_and_wake(v_now);
  if not dripdrop._is_cut_off() then
    v_due := dripdrop._take_in_line((batch_size + 1) / 2, v_now);
    v_due := dripdrop._take_due(batch_size, v_due, v_now);
    v_decisions := dripdrop._decide_due(v_due, lease, v_now);
  end if;
  perform dripdrop._attempt('_mark_lines', v_now);

  return query
  select
    count(*) filter (where d.action = 'send')::int,
    count(*) filter (where d.action = 'ask')::int,
    count(*) filter (where d.action = 'defer')::int,
    count(*) filter (where d.action = 'hold')::int,
    count(*) filter (where d.action = 'skip')::int,
    count(*) filter (where d.action in ('cancel', 'exit', 'complete'))::int,
    count(*) filter (where d.action = 'fail')::int,
    array_agg(d.execution_id) filter (where d.action = 'send' and _tick.lease is not null)
  from unnest(v_decisions) as d;
end
$$;

comment on function dripdrop._tick(int, interval) is
  'Decides due messages; says how many had which end, and which are leased if there is a lease.';

-- What a daemon sleeps by: the next message that comes due, the next limit with a line that has
-- room again, the next server that is to be tried. Everything else is said by whoever does it.
create or replace function dripdrop.next_due()
returns float8
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select greatest(
    extract(epoch from least(
      (
        select x.due_at
        from dripdrop.step_executions as x
        where x.due_at > n.now and x.waits_for is distinct from 'limit'
        order by x.due_at
        limit 1
      ),
      (
        select min(c.room_at) from dripdrop.counters as c where c.room_at > n.now
      ),
      (
        select min(s.until)
        from dripdrop.sender_states as s
        where s.ended_at is null and s.until > n.now
      ),
      n.now + interval '1 hour'
    ) - n.now),
    0.02
  )::float8
  from (select dripdrop._now() as now) as n
$$;

comment on function dripdrop.next_due() is
  'In how many seconds, from 0.02 to an hour, a tick may have something to do that nobody says.';

-- locks   faults, enrolments and their executions, all skipping what is locked
create or replace function dripdrop._record_and_wake(at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._attempt('_record_late', at);
  perform dripdrop._attempt('_wake_by_circuit', at);
end
$$;

comment on function dripdrop._record_and_wake(timestamptz) is
  'Records what was kept, and makes due what waited for servers that are back or limits with room.';

-- Calls one of our functions (timestamptz). Nothing that goes wrong there keeps a tick from what is
-- due, or a reconcile() from the rest.
create or replace function dripdrop._attempt(callee text, at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not dripdrop._is_cut_off() then
    execute format('select dripdrop.%I($1)', callee) using at;
  end if;
exception
  when others or query_canceled or assert_failure then
    perform dripdrop._cut_off() where sqlstate = '57014';
    raise warning '% failed: %', callee, left(sqlerrm, 200) using
      errcode = sqlstate, hint = 'It is tried again; all else goes on.';
end
$$;

comment on function dripdrop._attempt(text, timestamptz) is
  'Does what may fail without harm to anything else, and warns of it.';

-- locks   the counters of limits, in id order; callers hold the enrolments and their executions
-- raises  ZD120 the queues do not exist; 53xxx and 58xxx when nothing can be written
create or replace function dripdrop._decide_due(due uuid[], lease interval, at timestamptz)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(due) / 2;
  v_most int := dripdrop._most_together(due);
  v_decisions dripdrop._decision[] := array[]::dripdrop._decision[];
begin
  if cardinality(due) = 0 or dripdrop._is_cut_off() then
    return v_decisions;
  elsif cardinality(due) > v_most then
    return dripdrop._decide_due(due[:v_half], lease, at)
      || dripdrop._decide_due(due[v_half + 1:], lease, at);
  end if;
  begin
    v_decisions := dripdrop._decide_and_carry_out(due, at, true, lease);
    perform dripdrop._check_written(dripdrop._still_due(due, at));
    perform dripdrop._forget_slow(due) where v_most is not null;
    return v_decisions;
  exception
    when query_canceled then
      perform dripdrop._note_slow(due, 'decide', sqlerrm, at);
      return array[]::dripdrop._decision[];
    when others or assert_failure then
      if v_half = 0 then
        perform dripdrop._note_fault(due[1], 'decide', sqlstate, sqlerrm, at);
        return array[]::dripdrop._decision[];
      end if;
      return dripdrop._decide_due(due[:v_half], lease, at)
        || dripdrop._decide_due(due[v_half + 1:], lease, at);
  end;
end
$$;

comment on function dripdrop._decide_due(uuid[], interval, timestamptz) is
  'Decides executions and carries the decisions out; those of which it cannot are left out for a '
  'while.';

-- By key: that it is due is asked in a way that no index answers, which would be read whole.
create or replace function dripdrop._still_due(executions uuid[], at timestamptz)
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (executions)
      and coalesce(x.due_at <= _still_due.at and x.waits_for is distinct from 'limit', false)
  )
$$;

comment on function dripdrop._still_due(uuid[], timestamptz) is
  'Those of some executions that are due.';

-- The same for tick() and for simulate(), which is not for real: nobody resumes what it holds, or
-- takes up what it would enqueue.
--
-- locks   the counters of limits, in id order, and the slots of pauses, shared, without waiting;
--         callers hold the enrolments and their executions
create or replace function dripdrop._decide_and_carry_out(
  executions uuid[],
  at timestamptz,
  for_real boolean,
  lease interval default null
)
returns dripdrop._decision[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_decisions dripdrop._decision[] := array(
    select d from dripdrop._decide(executions, _decide_and_carry_out.at) as d
  );
begin
  if exists (select from unnest(v_decisions) as d where d.limited and d.action = 'send') then
    v_decisions := dripdrop._admit(v_decisions, _decide_and_carry_out.at);
  end if;
  if for_real then
    v_decisions := dripdrop._confirmed_holds(v_decisions, _decide_and_carry_out.at);
  end if;
  perform case when for_real then dripdrop._enqueue(c.queue, c.pointers) end
  from dripdrop._carry_out(v_decisions, _decide_and_carry_out.at, lease) as c;
  return v_decisions;
end
$$;

comment on function dripdrop._decide_and_carry_out(uuid[], timestamptz, boolean, interval) is
  'Decides executions and does what the decisions say, which it returns.';

-- What was rendered before goes straight to its sender: a retry sends the same bytes. Hooks are
-- asked again when no answer comes, so that a lost pointer loses nothing.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._carry_out(
  decisions dripdrop._decision[],
  at timestamptz,
  lease interval default null
)
returns table (queue text, pointers jsonb[])
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with sent as (
    update dripdrop.step_executions as x
    set state = case
          when d.action = 'ask' then 'scheduled'
          when x.payload is null then 'queued'
          else 'rendered'
        end,
        due_at = d.until,
        waits_for = d.waits_for,
        waited = dripdrop._waited(x.waited, x.waits_for, x.reason_at, _carry_out.at),
        lease_until = case
          when d.action = 'send' and x.payload is null then _carry_out.at + _carry_out.lease
        end,
        adapter_id = d.adapter_id,
        recipient = d.recipient,
        line_id = d.line_id,
        circuit_id = null,
        reason = case d.action when 'ask' then d.reason else x.reason end,
        reason_at = case d.action when 'ask' then _carry_out.at else x.reason_at end,
        updated_at = _carry_out.at
    from unnest(decisions) as d
    where x.id = d.execution_id
      and d.action in ('send', 'ask')
    returning x.id, x.fence, x.state, x.lease_until, x.channel, x.adapter_id, x.tenant_key
  )
  select
    q.name,
    array_agg(
      case
        when q.name in ('dripdrop_hooks', 'dripdrop_render')
        then jsonb_build_object('execution', q.id, 'fence', q.fence)
        else jsonb_build_object(
          'execution', q.id, 'fence', q.fence, 'sender', q.adapter_id, 'tenant', q.tenant_key
        )
      end
      order by q.id
    )
  from (
    select
      case s.state
        when 'scheduled' then 'dripdrop_hooks'
        when 'queued' then 'dripdrop_render'
        else 'dripdrop_send_' || s.channel
      end as name,
      s.id,
      s.fence,
      s.adapter_id,
      s.tenant_key
    from sent as s
    where s.lease_until is null
  ) as q
  group by q.name;

  if exists (select from unnest(decisions) as d where d.action not in ('send', 'ask')) then
    perform dripdrop._carry_out_unsent(decisions, _carry_out.at);
  end if;
end
$$;

comment on function dripdrop._carry_out(dripdrop._decision[], timestamptz, interval) is
  'Does what decisions say; returns the pointers to enqueue, none of what the caller is to render.';

-- Everything a decision can be but send and ask.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._carry_out_unsent(
  decisions dripdrop._decision[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_skipped uuid[];
  v_timed_out uuid[];
  v_failed uuid[];
  v_exits record;
begin
  perform dripdrop._defer_executions(decisions, _carry_out_unsent.at);
  perform dripdrop._reschedule(
    array(
      select row(d.execution_id, null, d.until, d.waits_for, null, null)::dripdrop._new_time
      from unnest(decisions) as d
      where d.action = 'wait'
    ),
    _carry_out_unsent.at
  );
  perform dripdrop._hold_executions(decisions, _carry_out_unsent.at);
  perform dripdrop._end_executions(decisions, _carry_out_unsent.at);
  for v_exits in
    select
      case d.action when 'complete' then 'completed' else 'cancelled' end as state,
      d.reason,
      array_agg(x.enrollment_id) as enrollments
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    where d.action in ('exit', 'complete')
    group by d.action, d.reason
  loop
    perform dripdrop._end_enrollments(
      v_exits.enrollments, v_exits.state, v_exits.reason, _carry_out_unsent.at
    );
  end loop;

  select
    array_agg(d.execution_id) filter (where d.action = 'skip'),
    coalesce(
      array_agg(d.execution_id) filter (where d.action = 'skip' and d.gate = 'event'), '{}'
    ),
    array_agg(d.execution_id) filter (where d.action = 'fail')
  into v_skipped, v_timed_out, v_failed
  from unnest(decisions) as d;
  if v_skipped is not null then
    perform dripdrop._advance(v_skipped, _carry_out_unsent.at, v_timed_out);
  end if;
  if v_failed is not null then
    perform dripdrop._advance_failed(v_failed, _carry_out_unsent.at);
  end if;
end
$$;

comment on function dripdrop._carry_out_unsent(dripdrop._decision[], timestamptz) is
  'Does what decisions other than send and ask say.';
