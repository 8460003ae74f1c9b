-- The slow pass over what is under way. It finds claims whose lease has run out, decides what
-- becomes of messages whose fate nobody knows, and puts back pointers that their queues have lost,
-- so that losing a queue loses nothing.
--
-- An unknown message is resent at once when the provider deduplicates; otherwise it waits
-- unknown_grace for a provider's report, and then the step's on_unknown decides: at_most_once
-- presumes it sent, at_least_once resends.
--
-- locks   executions and their enrolments, skipping what is locked
create or replace function dripdrop.reconcile(unknown_grace interval default '15 minutes')
returns table (leases_lost int, presumed_sent int, resent int, repointed int)
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
  v_lost uuid[];
  v_unknown uuid[];
  v_presumed uuid[];
begin
  perform dripdrop._let_go(v_now);
  perform dripdrop._pull(
    array(
      select c.id
      from dripdrop.counters as c
      where c.line_until > v_now and c.scope in ('recipient', 'subscriber')
    ),
    v_now
  );
  v_lost := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.due_at is null and x.ended_at is null
      and x.state = 'sending'
      and x.lease_until <= v_now
    for no key update of e, x skip locked
  );
  update dripdrop.step_executions as x
  set state = 'unknown',
      lease_until = null,
      reason = 'lease_lost',
      reason_at = v_now,
      updated_at = v_now
  where x.id = any (v_lost);

  v_unknown := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.due_at is null and x.ended_at is null
      and x.state = 'unknown'
      and (
        x.reason_at <= v_now - unknown_grace
        or exists (
          select from dripdrop.channel_adapters as a
          join dripdrop.providers() as p on p.channel = a.channel and p.provider = a.provider
          where a.id = x.adapter_id and p.idempotent
        )
      )
    for no key update of e, x skip locked
  );
  v_presumed := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id
    left join dripdrop.channel_adapters as a on a.id = x.adapter_id
    left join dripdrop.providers() as p on p.channel = a.channel and p.provider = a.provider
    where x.id = any (v_unknown)
      and p.idempotent is not true
      and s.config ->> 'on_unknown' is distinct from 'at_least_once'
  );
  perform dripdrop._resolve(v_presumed, 'sent', 'presumed_sent', v_now);
  perform dripdrop._resolve(
    array(select id from unnest(v_unknown) as u (id) where u.id <> all (v_presumed)),
    'scheduled', 'resent', v_now
  );

  perform dripdrop._wake_again(v_now);
  perform dripdrop._wake_missed(v_now);
  return query
  select
    cardinality(v_lost),
    cardinality(v_presumed),
    cardinality(v_unknown) - cardinality(v_presumed),
    dripdrop._repoint();
end
$$;

comment on function dripdrop.reconcile(interval) is
  'Mends what a crash or a lost queue left behind; returns how much of each it found.';

-- locks   nothing new: callers hold the executions and their enrolments
create or replace function dripdrop._resolve(
  executions uuid[],
  state text,
  reason text,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_sent uuid[];
  v_failed uuid[];
begin
  if cardinality(executions) = 0 then
    return;
  end if;

  -- What is to be sent again but belongs to an enrolment that has ended
  -- meanwhile is not sent again.
  with resolved as (
    update dripdrop.step_executions as x
    set state = case
          when _resolve.state = 'scheduled' and e.state in ('completed', 'cancelled')
          then 'cancelled'
          else _resolve.state
        end,
        due_at = case when _resolve.state = 'scheduled' and e.state = 'active' then _resolve.at end,
        ended_at = case
          when _resolve.state <> 'scheduled' or e.state in ('completed', 'cancelled')
          then _resolve.at
        end,
        fence = x.fence + 1,
        maybe_sent_at = case
          when _resolve.state = 'scheduled' then x.claimed_at
          else x.maybe_sent_at
        end,
        reason = case
          when _resolve.state = 'scheduled' and e.state = 'paused' then 'enrollment_paused'
          when _resolve.state = 'scheduled' and e.state <> 'active' then 'enrollment_ended'
          else _resolve.reason
        end,
        reason_at = _resolve.at,
        updated_at = _resolve.at
    from dripdrop.enrollments as e
    where x.id = any (executions)
      and x.state = 'unknown'
      and e.id = x.enrollment_id
    returning x.id, x.tenant_key, x.adapter_id, x.channel, x.state
  ),
  logged as (
    insert into dripdrop.message_events (
      tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data,
      occurred_at
    )
    select
      r.tenant_key, r.id, r.adapter_id, r.channel, 'dripdrop', r.state,
      jsonb_build_object('reason', _resolve.reason), _resolve.at
    from resolved as r
    where r.state in ('sent', 'failed')
  )
  select
    array_agg(r.id) filter (where r.state = 'sent'),
    array_agg(r.id) filter (where r.state = 'failed')
  into v_sent, v_failed
  from resolved as r;

  if v_sent is not null then
    perform dripdrop._advance(v_sent, _resolve.at);
  end if;
  if v_failed is not null then
    perform dripdrop._give_up(v_failed, _resolve.at);
  end if;
end
$$;

comment on function dripdrop._resolve(uuid[], text, text, timestamptz) is
  'Ends the uncertainty about unknown executions: sent, failed or scheduled again.';

-- A row and its pointer change in the same transaction, so one snapshot of both shows exactly what
-- is lost. Queue tables are read directly: pgmq has no look-up by content. They are compared whole,
-- so here the planner may hash, whatever the caller has forbidden it.
create or replace function dripdrop._without_pointer()
returns table (execution_id uuid)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = on
set enable_hashjoin = on
as $$
begin
  return query execute (
    select format(
      'select x.id from dripdrop.step_executions as x
       where x.due_at is null and x.ended_at is null and x.state in (''queued'', ''rendered'')
         and not exists (
           select from (%s) as m (message, for_state)
           where m.for_state = x.state
             and (m.message ->> ''execution'')::uuid = x.id
             and (m.message ->> ''fence'')::int = x.fence
         )',
      string_agg(
        format('select message, %L from pgmq.%I', q.for_state, 'q_' || q.queue), ' union all '
      )
    )
    from dripdrop._queues() as q
  );
exception
  when undefined_table or invalid_schema_name then
    -- No queue, no pointer.
    return query
    select x.id
    from dripdrop.step_executions as x
    where x.due_at is null and x.ended_at is null and x.state in ('queued', 'rendered');
end
$$;

comment on function dripdrop._without_pointer() is 'Executions under way that no queue points to.';

create or replace function dripdrop._repoint()
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
  v_rows uuid[];
  v_rendered uuid[];
begin
  -- Locked, so that two passes at once do not both put the same pointer back.
  v_rows := array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (array(select w.execution_id from dripdrop._without_pointer() as w))
      and x.state in ('queued', 'rendered')
    for no key update skip locked
  );
  v_rendered := array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (v_rows) and x.state = 'rendered'
  );
  perform dripdrop._enqueue_rendered(v_rendered);
  perform dripdrop._enqueue('dripdrop_render', array(
    select jsonb_build_object('execution', x.id, 'fence', x.fence)
    from dripdrop.step_executions as x
    where x.id = any (v_rows) and x.state = 'queued'
  ));
  return cardinality(v_rows);
end
$$;

comment on function dripdrop._repoint() is
  'Puts back the pointers that queues have lost; returns how many.';
