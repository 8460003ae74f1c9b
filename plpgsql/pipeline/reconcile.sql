-- The slow pass over what is under way. It finds claims whose lease has run out, decides what
-- becomes of messages whose fate nobody knows, and puts back pointers that their queues have lost,
-- so that losing a queue loses nothing.
--
-- An unknown message is resent at once when the provider deduplicates; otherwise it waits
-- unknown_grace for a provider's report, and then the step's on_unknown decides: at_most_once
-- presumes it sent, at_least_once resends.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop.reconcile(unknown_grace interval default '15 minutes')
returns table (leases_lost int, presumed_sent int, resent int, repointed int)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
begin
  perform dripdrop._cut_off('off');
  perform dripdrop._check_interval(unknown_grace, 'unknown_grace', interval '0');
  perform dripdrop._record_and_wake(v_now);
  perform dripdrop._look_back(v_now);
  leases_lost := dripdrop._mend('_make_unknown', unknown_grace, v_now);
  presumed_sent := dripdrop._mend('_presume_sent', unknown_grace, v_now);
  resent := dripdrop._mend('_resend', unknown_grace, v_now);
  perform dripdrop._attempt('_forget', v_now);
  perform dripdrop._attempt('_prune_by_retention', v_now);
  repointed := dripdrop._mend('_repoint', unknown_grace, v_now);
  return next;
end
$$;

comment on function dripdrop.reconcile(interval) is
  'Mends what a crash or a lost queue left behind; returns how much of each it found.';

-- Nothing that goes wrong in one part keeps reconcile() from the others.
--
-- locks   enrolments and their executions, skipping what is locked
-- raises  ZD120 a queue does not exist
create or replace function dripdrop._mend(callee text, grace interval, at timestamptz)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if dripdrop._is_cut_off() then
    return 0;
  end if;
  return dripdrop._halved(
    callee,
    case callee
      when '_make_unknown' then dripdrop._take_expired_leases(at)
      when '_presume_sent' then dripdrop._take_unknown(grace, false, at)
      when '_resend' then dripdrop._take_unknown(grace, true, at)
      when '_repoint' then dripdrop._lost_pointers()
    end,
    'reconcile',
    at
  );
exception
  when others or query_canceled or assert_failure then
    if sqlstate = 'ZD120' then
      perform dripdrop._check_queues();
    end if;
    perform dripdrop._cut_off() where sqlstate = '57014';
    raise warning '% failed: %', callee, left(sqlerrm, 200) using
      errcode = sqlstate, hint = 'It is tried again; all else goes on.';
    return 0;
end
$$;

comment on function dripdrop._mend(text, interval, timestamptz) is
  'Does one part of what reconcile() does; returns to how many executions.';

-- Of what has a result that could not be recorded yet, the fate is known.
create or replace function dripdrop._take_expired_leases(at timestamptz)
returns uuid[]
language sql
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.due_at is null and x.ended_at is null and x.waits_for is null
      and x.state = 'sending'
      and x.lease_until <= _take_expired_leases.at
      and not exists (
        select from dripdrop.faults as f
        where f.execution_id = x.id and (f.result is not null or f.until > _take_expired_leases.at)
      )
    for no key update of e, x skip locked
  )
$$;

comment on function dripdrop._take_expired_leases(timestamptz) is
  'The executions whose lease has run out, locked.';

create or replace function dripdrop._make_unknown(executions uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = 'unknown',
      lease_until = null,
      place_of = null,
      reason = 'lease_lost',
      reason_at = _make_unknown.at,
      updated_at = _make_unknown.at
  where x.id = any (executions)
$$;

comment on function dripdrop._make_unknown(uuid[], timestamptz) is
  'Makes executions unknown whose sender never came back.';

-- Those that are to be sent again, or those that are to be presumed sent, after their time.
create or replace function dripdrop._take_unknown(grace interval, resend boolean, at timestamptz)
returns uuid[]
language sql
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.steps as s on s.id = x.step_id
    cross join lateral (
      select exists (
        select from dripdrop.channel_adapters as a
        join dripdrop.providers as p on p.channel = a.channel and p.provider = a.provider
        where a.id = x.adapter_id and p.idempotent
      ) as idempotent
      offset 0
    ) as provider
    where x.due_at is null and x.ended_at is null and x.waits_for is null
      and x.state = 'unknown'
      and (provider.idempotent or x.reason_at <= _take_unknown.at - _take_unknown.grace)
      and _take_unknown.resend = (
        provider.idempotent or s.config ->> 'on_unknown' is not distinct from 'at_least_once'
      )
      and not exists (
        select from dripdrop.faults as f
        where f.execution_id = x.id and (f.result is not null or f.until > _take_unknown.at)
      )
    for no key update of e, x skip locked
  )
$$;

comment on function dripdrop._take_unknown(interval, boolean, timestamptz) is
  'The executions of unknown fate that are to be sent again, or presumed sent, locked.';

create or replace function dripdrop._presume_sent(executions uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._resolve(executions, 'sent', 'presumed_sent', at)
$$;

comment on function dripdrop._presume_sent(uuid[], timestamptz) is
  'Takes executions of unknown fate for sent.';

create or replace function dripdrop._resend(executions uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._resolve(executions, 'scheduled', 'resent', at)
$$;

comment on function dripdrop._resend(uuid[], timestamptz) is
  'Schedules executions of unknown fate again.';

-- What is of no use any more: spells that ended a month ago, hosts that nobody has tried for a day,
-- faults of what is over.
create or replace function dripdrop._forget(at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  delete from dripdrop.sender_states as c
  where c.ended_at < _forget.at - interval '30 days'
    or (
      c.ended_at is null
      and coalesce(c.until, c.changed_at) < _forget.at - interval '1 day'
      and (c.host <> '' or c.state = 'closed')
    );
  delete from dripdrop.faults as f
  where f.until < _forget.at - interval '1 day'
    or (
      f.until < _forget.at
      and not exists (
        select from dripdrop.step_executions as x
        where x.id = f.execution_id and x.ended_at is null
      )
    )
$$;

comment on function dripdrop._forget(timestamptz) is
  'Forgets old circuits, and faults of executions that are over.';

-- A row and its pointer change in the same transaction, so one snapshot of both shows exactly what
-- is lost. What a caller of claim_due() renders has a lease instead. Queue tables are read
-- directly: pgmq has no look-up by content. They are compared whole, so here the planner may hash,
-- whatever the caller has forbidden it.
create or replace function dripdrop._without_pointer()
returns table (execution_id uuid)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return query execute (
    select format(
      'select x.id from dripdrop.step_executions as x
       where x.due_at is null and x.ended_at is null and x.waits_for is null
         and x.state in (''queued'', ''rendered'')
         and (x.state = ''queued'' and x.lease_until > $1) is not true
         and not exists (
           select from dripdrop.faults as f where f.execution_id = x.id and f.until > $1
         )
         and not exists (
           select from (%s) as m (message, for_state)
           where m.for_state = x.state
             and m.message ->> ''execution'' = x.id::text
             and m.message ->> ''fence'' = x.fence::text
         )',
      string_agg(
        format('select message, %L from pgmq.%I', q.for_state, 'q_' || q.queue), ' union all '
      )
    )
    from dripdrop._queues() as q
  )
  using dripdrop._now();
exception
  when undefined_table or invalid_schema_name then
    -- No queue, no pointer.
    return query
    select x.id
    from dripdrop.step_executions as x
    where x.due_at is null
      and x.ended_at is null
      and x.waits_for is null
      and x.state in ('queued', 'rendered')
      and (x.state = 'queued' and x.lease_until > dripdrop._now()) is not true;
end
$$;

comment on function dripdrop._without_pointer() is 'Executions under way that no queue points to.';

-- Locked, so that two passes at once do not both put the same pointer back.
create or replace function dripdrop._lost_pointers()
returns uuid[]
language sql
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (array(select w.execution_id from dripdrop._without_pointer() as w))
      and x.state in ('queued', 'rendered')
    for no key update skip locked
  )
$$;

comment on function dripdrop._lost_pointers() is
  'The executions under way that no queue points to, locked.';

create or replace function dripdrop._repoint(executions uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._enqueue_rendered(array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (executions) and x.state = 'rendered'
  ));
  select dripdrop._enqueue('dripdrop_render', array(
    select jsonb_build_object('execution', x.id, 'fence', x.fence)
    from dripdrop.step_executions as x
    where x.id = any (executions) and x.state = 'queued'
  ))
$$;

comment on function dripdrop._repoint(uuid[], timestamptz) is
  'Puts back the pointers of executions that queues have lost.';
