-- results: [{"execution", "fence", "outcome", "stage", "code", "detail", "hard", "retry_after",
-- "left_after", "provider_message_id", "out_message_id", "response"}]; outcome is sent, retry,
-- failed, bounced, auth_error, rate_limited, unreachable, refused (whose fault it is, reply_codes()
-- say by stage, code and detail), maybe_sent or released (claimed, but never handed to the
-- provider). One transaction: states, events, senders, next steps. It waits for nobody: what
-- somebody has locked, or what cannot be written, is kept and recorded by a later tick().
--
-- locks   the circuits, then the enrolments, the executions and the adapters, skipping what is
--         locked, then the counters
-- raises  ZD401 stale fence (the detail lists the executions), ZD201 malformed results;
--         nothing is recorded then
create or replace function dripdrop.complete_sends(results jsonb)
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_results dripdrop._send_result[] := dripdrop._read_results(results);
begin
  perform dripdrop._cut_off('off');
  v_results := dripdrop._classified_results(v_results, v_now);
  -- First, because claims lock circuits before counters. Mostly all is well, and was.
  if exists (select from unnest(v_results) as r where r.outcome <> 'sent')
    or exists (select from dripdrop.sender_states as c where c.ended_at is null)
  then
    perform dripdrop._note_signals(
      array(select s from dripdrop._signals(v_results, v_now) as s), v_now
    );
  end if;
  perform dripdrop._record_or_keep(dripdrop._results_for_messages(v_results), v_now);
  return cardinality(v_results);
end
$$;

comment on function dripdrop.complete_sends(jsonb) is
  'Records what providers answered, or keeps it where the row is locked, plans what comes next, '
  'and returns how many results it took. Of a longer provider_message_id or out_message_id the '
  'first 500 characters are kept.';

-- A late result is welcome as long as nobody has acted on its absence: unknown still has the same
-- fence.
--
-- raises  ZD401
create or replace function dripdrop._check_fences(results dripdrop._send_result[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_stale uuid[] := array(
    select r.execution
    from unnest(results) as r
    left join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state in ('sending', 'unknown')
    where x.id is null
  );
begin
  if cardinality(v_stale) > 0 then
    raise exception '% of % claims are stale', cardinality(v_stale), cardinality(results) using
      errcode = 'ZD401',
      detail = to_jsonb(v_stale)::text,
      hint = 'Leave out the executions in the detail and complete the others; what became of them '
        'is in their rows.';
  end if;
end
$$;

comment on function dripdrop._check_fences(dripdrop._send_result[]) is
  'Raises ZD401 on results of claims that were lost.';

-- A row that cannot be written is found by halving. What it was to be told is kept with the error,
-- and tried again; the others are recorded. A trigger may raise ZD401 too: only claims that are
-- stale are stale.
--
-- raises  ZD401
create or replace function dripdrop._record_or_keep(results dripdrop._send_result[], at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(results) / 2;
  v_executions uuid[] := array(select r.execution from unnest(results) as r);
begin
  if dripdrop._is_cut_off() then
    perform dripdrop._keep_results(results, at);
    return array[]::uuid[];
  elsif cardinality(results) > dripdrop._most_together(v_executions) then
    return dripdrop._record_or_keep(results[:v_half], at)
      || dripdrop._record_or_keep(results[v_half + 1:], at);
  end if;
  begin
    perform dripdrop._record_batch(results, at);
    return v_executions;
  exception
    when query_canceled then
      perform dripdrop._note_slow(
        v_executions, 'record', sqlerrm, at, array(select to_jsonb(r) from unnest(results) as r)
      );
      return array[]::uuid[];
    when others or assert_failure then
      if sqlstate = 'ZD401' then
        perform dripdrop._check_fences(results);
      end if;
      if v_half = 0 then
        perform dripdrop._note_fault(
          results[1].execution, 'record', sqlstate, sqlerrm, at, to_jsonb(results[1])
        );
        return array[]::uuid[];
      end if;
      return dripdrop._record_or_keep(results[:v_half], at)
        || dripdrop._record_or_keep(results[v_half + 1:], at);
  end;
end
$$;

comment on function dripdrop._record_or_keep(dripdrop._send_result[], timestamptz) is
  'Records results, and returns of which executions; keeps those that cannot be recorded now.';

create or replace function dripdrop._keep_results(results dripdrop._send_result[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.faults as f (
    execution_id, stage, sqlstate, message, result, first_at, at, until
  )
  select
    r.execution, 'record', '57014', 'the statement was cut off before', to_jsonb(r),
    _keep_results.at, _keep_results.at, _keep_results.at
  from unnest(results) as r
  order by r.execution
  on conflict on constraint faults_pkey do update set result = excluded.result
$$;

comment on function dripdrop._keep_results(dripdrop._send_result[], timestamptz) is
  'Keeps results for the next tick().';

-- Results of rows that were locked, or could not be written, when their senders reported them.
--
-- locks   faults, skipping what is locked, then as complete_sends()
create or replace function dripdrop._record_late(at timestamptz)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kept uuid[];
  v_results dripdrop._send_result[];
  v_done uuid[];
begin
  v_kept := array(
    select f.execution_id
    from dripdrop.faults as f
    where f.result is not null and f.until <= _record_late.at
    limit 500
    for update skip locked
  );
  if cardinality(v_kept) = 0 then
    return 0;
  end if;
  v_results := array(
    select r
    from dripdrop.faults as f
    cross join lateral jsonb_populate_record(null::dripdrop._send_result, f.result) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state in ('sending', 'unknown')
    where f.execution_id = any (v_kept)
    order by r.execution
  );
  if cardinality(v_results) > 0 then
    v_done := dripdrop._record_or_keep(
      array(
        select r from unnest(v_results) as r where r.outcome <> 'refused'
        union all
        select c
        from unnest(dripdrop._classified_results(
          array(select r from unnest(v_results) as r where r.outcome = 'refused'), at
        )) as c
      ),
      at
    );
  end if;
  delete from dripdrop.faults as f
  where f.execution_id = any (v_kept)
    and f.until <= _record_late.at
    and (
      f.execution_id = any (v_done)
      or f.execution_id not in (select r.execution from unnest(v_results) as r)
    );
  return cardinality(v_results);
end
$$;

comment on function dripdrop._record_late(timestamptz) is
  'Records what could not be recorded when it was reported; returns how many it tried.';

-- Waits for counters at most, and for those not long.
create or replace function dripdrop._record_batch(
  results dripdrop._send_result[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '300ms'
as $$
declare
  v_recorded uuid[];
  v_sent uuid[];
  v_failed uuid[];
begin
  results := dripdrop._lock_results(results, at);
  if cardinality(results) = 0 then
    return;
  end if;
  select w.recorded, w.sent, w.failed
  into v_recorded, v_sent, v_failed
  from dripdrop._write_results(results, at) as w;
  if coalesce(cardinality(v_recorded), 0) < cardinality(results) then
    perform dripdrop._check_fences(array(
      select r
      from unnest(results) as r
      where v_recorded is null or r.execution <> all (v_recorded)
    ));
  end if;

  if v_sent is not null then
    perform dripdrop._advance(v_sent, at);
  end if;
  if v_failed is not null then
    perform dripdrop._advance_failed(v_failed, at);
  end if;
  -- Last, because every worker updates the same few rows:
  -- they are locked only until the commit that follows.
  perform dripdrop._note_last_sends(results, at);
  perform dripdrop._suppress_bounces(results, at);
  perform dripdrop._settle_counters(results, at);
  perform dripdrop._check_written(array(
    select r.execution
    from unnest(results) as r
    where r.execution <> all (coalesce(v_recorded, '{}'))
  ));
end
$$;

comment on function dripdrop._record_batch(dripdrop._send_result[], timestamptz) is
  'Records results in one go, or raises; keeps those whose enrolment somebody has locked.';

-- Whoever else moves a claimed execution holds its enrolment too, so that this lock is enough. What
-- somebody has locked is kept for later: nothing waits for an application's open transaction.
--
-- locks   the enrolments and their executions, skipping what is locked
-- raises  ZD401 stale fence of one that is not locked here
create or replace function dripdrop._lock_results(
  results dripdrop._send_result[],
  at timestamptz
)
returns dripdrop._send_result[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_locked uuid[];
begin
  v_locked := array(
    select x.id
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    order by e.id, x.id
    for no key update of e, x skip locked
  );
  if cardinality(v_locked) = cardinality(results) then
    return results;
  end if;
  perform dripdrop._check_fences(
    array(
      select r
      from unnest(results) as r
      where r.execution is null or r.execution <> all (v_locked)
    )
  );
  perform dripdrop._note_fault(
    r.execution, 'record', '55P03', 'somebody has locked the enrolment', at, to_jsonb(r)
  )
  from unnest(results) as r
  where r.execution <> all (v_locked);
  return array(
    select r from unnest(results) as r where r.execution = any (v_locked) order by r.execution
  );
end
$$;

comment on function dripdrop._lock_results(dripdrop._send_result[], timestamptz) is
  'The results whose executions and enrolments nobody else has locked, these locked; keeps the '
  'others for later.';

-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._write_results(
  results dripdrop._send_result[],
  at timestamptz,
  out recorded uuid[],
  out sent uuid[],
  out failed uuid[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  with recorded as (
    update dripdrop.step_executions as x
    set state = v.state,
        due_at = case when v.state = 'scheduled' and not v.paused then v.due_at end,
        waits_for = case when v.state = 'scheduled' and v.paused then 'enrollment' end,
        scheduled_for = case
          when v.state = 'scheduled' and v.paused then v.due_at
          -- The time until a server is back is no delay of the message.
          when v.outcome in ('auth_error', 'rate_limited', 'unreachable') then _write_results.at
          else x.scheduled_for
        end,
        ended_at = case
          when v.state in ('sent', 'failed', 'cancelled') then _write_results.at
        end,
        fence = x.fence + (v.state = 'scheduled')::int,
        lease_until = null,
        place_of = null,
        retry_count = x.retry_count
          + (v.outcome in ('retry', 'bounced', 'failed', 'maybe_sent'))::int,
        maybe_sent_at = case
          when v.outcome = 'maybe_sent' and v.state <> 'unknown' then x.claimed_at
          else x.maybe_sent_at
        end,
        failing_since = case
          when v.outcome in ('retry', 'bounced', 'maybe_sent')
          then coalesce(x.failing_since, _write_results.at)
          else x.failing_since
        end,
        excused_at = case
          when v.outcome in ('auth_error', 'rate_limited', 'unreachable') then _write_results.at
          else x.excused_at
        end,
        reason = case
          when v.state = 'scheduled' and v.paused then 'enrollment_paused'
          when v.state = 'cancelled' then 'enrollment_ended'
          else coalesce(v.code, v.outcome)
        end,
        reason_at = _write_results.at,
        error_message = case when v.outcome <> 'sent' then left(v.detail, 500) end,
        provider_message_id = coalesce(left(v.provider_message_id, 500), x.provider_message_id),
        out_message_id = coalesce(left(v.out_message_id, 500), x.out_message_id),
        response = coalesce(v.response, x.response),
        updated_at = _write_results.at
    from dripdrop._verdicts(results, _write_results.at) as v
    where x.id = v.execution
      and x.fence = v.fence
      and x.state in ('sending', 'unknown')
    returning
      x.id, x.tenant_key, x.state, x.adapter_id, x.channel, x.recipient, x.due_at,
      v.outcome, v.code, v.detail, left(v.provider_message_id, 500) as provider_message_id, v.hard
  ),
  logged as (
    insert into dripdrop.message_reports (
      tenant_key, step_execution_id, adapter_id, channel, provider, provider_message_id,
      event_type, event_data, occurred_at
    )
    select
      r.tenant_key, r.id, r.adapter_id, r.channel, coalesce(a.provider, 'dripdrop'),
      r.provider_message_id,
      case
        when r.outcome = 'bounced' then 'bounced'
        when r.state = 'failed' then 'failed'
        else 'deferred'
      end,
      jsonb_strip_nulls(jsonb_build_object(
        'outcome', r.outcome, 'code', r.code, 'detail', left(r.detail, 500), 'until', r.due_at,
        'hard', case when r.outcome = 'bounced' then coalesce(r.hard, false) end
      )),
      _write_results.at
    from recorded as r
    left join dripdrop.channel_adapters as a on a.id = r.adapter_id
    where r.state <> 'sent' and r.outcome <> 'released'
  )
  select
    array_agg(r.id),
    array_agg(r.id) filter (where r.state = 'sent'),
    array_agg(r.id) filter (where r.state = 'failed')
  into recorded, sent, failed
  from recorded as r;
end
$$;

comment on function dripdrop._write_results(dripdrop._send_result[], timestamptz) is
  'Moves executions as their results say, and logs it; says which had their fence, and which were '
  'sent or failed.';

-- locks   the adapters, skipping what is locked
create or replace function dripdrop._note_last_sends(
  results dripdrop._send_result[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.channel_adapters as a
  set last_send_at = _note_last_sends.at
  where a.id = any (array(
    select n.id
    from dripdrop.channel_adapters as n
    where n.id in (
      select x.adapter_id
      from unnest(results) as r
      join dripdrop.step_executions as x on x.id = r.execution
      where r.outcome = 'sent'
    )
    for no key update skip locked
  ))
$$;

comment on function dripdrop._note_last_sends(dripdrop._send_result[], timestamptz) is
  'Notes when senders last sent.';

-- locks   the slots of hard bounces' recipients, then the suppressions
create or replace function dripdrop._suppress_bounces(
  results dripdrop._send_result[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._suppress_bounce(
    x.tenant_key, x.channel, x.recipient, jsonb_build_object('execution', x.id, 'code', r.code),
    _suppress_bounces.at
  )
  from unnest(results) as r
  join dripdrop.step_executions as x on x.id = r.execution
  where r.outcome = 'bounced' and r.hard and x.recipient is not null
  order by
    dripdrop._suppression_slot(x.tenant_key, x.recipient), x.recipient, x.channel, x.tenant_key;
  -- Claims share slots first and then wait for counters: so does this.
  set constraints dripdrop.suppressions_exclude_claims immediate;
end
$$;

comment on function dripdrop._suppress_bounces(dripdrop._send_result[], timestamptz) is
  'Suppresses the recipients of hard bounces.';
