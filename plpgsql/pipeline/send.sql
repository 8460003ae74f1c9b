-- The fence. From here on a message may have left, so the stop conditions are asked once more, and
-- the claim is committed before anything goes out. The pointer is gone with the commit: the lease
-- on the row takes its place. What was stopped, or would now get another sender, goes back to
-- tick(), which decides about it as about anything due. The sender stands only in the first row of
-- each adapter_id in a batch.
--
-- locks   executions, skipping what is locked, and the slots of stops, shared: a stop that is under
--         way keeps its message from being sent
-- raises  ZD120 the queue does not exist, ZD202 unknown channel
create or replace function dripdrop.claim_sends(
  channel text,
  batch_size int default 100,
  lease interval default '2 minutes'
)
returns table (
  execution_id uuid,
  fence int,
  tenant_key text,
  idempotency_key text,
  recipient text,
  payload jsonb,
  adapter_id uuid,
  adapter jsonb,
  claimed_at timestamptz
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_queue text := 'dripdrop_send_' || channel;
  v_pointers jsonb[];
  v_taken uuid[];
  v_busy jsonb[];
  v_stopped uuid[];
begin
  perform dripdrop._check_channel(channel);
  perform dripdrop._check_batch_size(batch_size);
  v_pointers := array(select m.message from dripdrop._pop_queue(v_queue, batch_size) as m);
  if cardinality(v_pointers) = 0 then
    return;
  end if;

  v_taken := array(
    select x.id
    from unnest(v_pointers) as p
    join dripdrop.step_executions as x
      on x.id = (p ->> 'execution')::uuid
      and x.fence = (p ->> 'fence')::int
      and x.state = 'rendered'
    for update of x skip locked
  );
  v_taken := dripdrop._unstopped(v_taken);
  -- Somebody is stopping these, or their recipients, at this moment:
  -- they are looked at again shortly.
  if cardinality(v_taken) < cardinality(v_pointers) then
    select array_agg(p) into v_busy
    from unnest(v_pointers) as p
    join dripdrop.step_executions as x
      on x.id = (p ->> 'execution')::uuid
      and x.fence = (p ->> 'fence')::int
      and x.state = 'rendered'
    where x.id <> all (v_taken);
    perform dripdrop._enqueue(v_queue, v_busy);
  end if;

  v_stopped := dripdrop._stop_at_fence(v_taken, v_now);
  return query
  with claimed as (
    update dripdrop.step_executions as x
    set state = 'sending',
        fence = x.fence + 1,
        lease_until = v_now + claim_sends.lease,
        claimed_at = v_now,
        updated_at = v_now
    where x.id = any (v_taken)
      and x.id <> all (v_stopped)
    returning x.id, x.fence, x.tenant_key, x.idempotency_key, x.recipient, x.payload, x.adapter_id
  )
  select
    c.id,
    c.fence,
    c.tenant_key,
    c.idempotency_key,
    c.recipient,
    c.payload,
    c.adapter_id,
    case when row_number() over (partition by c.adapter_id) = 1 then jsonb_build_object(
      'id', a.id,
      'tenant_key', a.tenant_key,
      'name', a.name,
      'channel', a.channel,
      'provider', a.provider,
      'config', a.config,
      'credentials', translate(encode(a.credentials, 'base64'), E'\n', '')
    ) end,
    v_now
  from claimed as c
  left join dripdrop.channel_adapters as a on a.id = c.adapter_id;
end
$$;

comment on function dripdrop.claim_sends(text, int, interval) is
  'Messages that may leave now over a channel, fenced and leased; hand the outcomes to '
  'complete_sends().';

-- locks   the counters of limits; claim_sends() holds the executions
create or replace function dripdrop._stop_at_fence(executions uuid[], at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_stopped uuid[] := array(
    select distinct g.execution_id
    from dripdrop._gates(executions, _stop_at_fence.at, 'fence') as g
  );
begin
  if cardinality(v_stopped) > 0 then
    update dripdrop.step_executions as x
    set state = 'scheduled',
        due_at = _stop_at_fence.at,
        fence = x.fence + 1,
        updated_at = _stop_at_fence.at
    where x.id = any (v_stopped);
  end if;
  return v_stopped || dripdrop._limit_at_fence(
    array(select u.id from unnest(executions) as u (id) where u.id <> all (v_stopped)),
    _stop_at_fence.at
  );
end
$$;

comment on function dripdrop._stop_at_fence(uuid[], timestamptz) is
  'Gives back to tick() those that may not leave now, and returns which.';

-- Limits that were set after tick() count as well.
--
-- locks   the counters of limits; callers hold the executions
create or replace function dripdrop._limit_at_fence(executions uuid[], at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_limited dripdrop._decision[] := array(
    with
    limited as materialized (
      select s.id, a.id
      from (
        select distinct x.step_id, x.adapter_id
        from dripdrop.step_executions as x
        where x.id = any (executions) and x.counter_id is null
      ) as p
      join dripdrop.steps as s on s.id = p.step_id
      join dripdrop.channel_adapters as a on a.id = p.adapter_id
      where dripdrop._has_limits(s, a)
    )
    select row(
      x.id, 'send', 'send', null, null, null, x.adapter_id, x.recipient, true, x.counter_id
    )::dripdrop._decision
    from dripdrop.step_executions as x
    where x.id = any (executions)
      and (x.counter_id is not null or (x.step_id, x.adapter_id) in (select * from limited))
    order by x.id
  );
begin
  if cardinality(v_limited) > 0 then
    v_limited := dripdrop._admit(v_limited, _limit_at_fence.at, true);
    update dripdrop.step_executions as x
    set counter_id = d.counter_id
    from unnest(v_limited) as d
    where x.id = d.execution_id and x.counter_id is null and d.action = 'send';
    v_limited := array(select d from unnest(v_limited) as d where d.action = 'defer');
    update dripdrop.step_executions as x
    set state = 'scheduled',
        due_at = d.until,
        counter_id = d.counter_id,
        defer_count = x.defer_count + 1,
        fence = x.fence + 1,
        reason = d.reason,
        reason_at = _limit_at_fence.at,
        updated_at = _limit_at_fence.at
    from unnest(v_limited) as d
    where x.id = d.execution_id;
    insert into dripdrop.message_events (
      tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data,
      occurred_at
    )
    select
      x.tenant_key, x.id, x.adapter_id, x.channel, 'dripdrop', 'deferred',
      jsonb_build_object(
        'reason', d.reason, 'gate', d.gate, 'detail', d.detail, 'until', d.until
      ),
      _limit_at_fence.at
    from unnest(v_limited) as d
    join dripdrop.step_executions as x on x.id = d.execution_id;
  end if;
  return array(select d.execution_id from unnest(v_limited) as d where d.action = 'defer');
end
$$;

comment on function dripdrop._limit_at_fence(uuid[], timestamptz) is
  'Puts off those whose limits are used up by what has left, and returns which.';

create or replace function dripdrop._pop_queue(queue text, batch_size int)
returns table (message jsonb)
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
begin
  return query
  select m.message
  from pgmq.pop(_pop_queue.queue, _pop_queue.batch_size) as m;
exception
  when undefined_table or invalid_schema_name or undefined_function then
    raise exception 'queue "%" does not exist', queue using
      errcode = 'ZD120', hint = 'select * from dripdrop.start() creates the queues.';
end
$$;

comment on function dripdrop._pop_queue(text, int) is
  'pgmq.pop(), with our own error for a missing queue.';
