-- locks   the enrolment, then the execution
-- raises  ZD106 unknown execution, ZD110 not unknown, ZD201 unknown outcome
create or replace function dripdrop.resolve(tenant_key text, execution_id uuid, outcome text)
returns dripdrop.step_executions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions := dripdrop._lock_execution(tenant_key, execution_id);
begin
  if outcome is null or outcome not in ('sent', 'resend', 'failed') then
    raise exception 'outcome % is unknown', dripdrop._quoted(outcome) using
      errcode = 'ZD201', column = 'outcome', hint = 'Use sent, resend or failed.';
  end if;
  if v_execution.state <> 'unknown' then
    raise exception 'the execution is %, not unknown', dripdrop._quoted(v_execution.state) using
      errcode = 'ZD110',
      hint = 'Only what is unknown can be resolved; replay() repeats what failed.';
  end if;

  perform dripdrop._resolve(
    array[v_execution.id],
    case outcome when 'resend' then 'scheduled' else outcome end,
    'resolved_by_operator',
    dripdrop._now()
  );
  select x.* into v_execution from dripdrop.step_executions as x where x.id = v_execution.id;
  return v_execution;
end
$$;

comment on function dripdrop.resolve(text, uuid, text) is
  'An operator''s word on a message whose fate is unknown: sent, resend or failed.';

-- What is to be sent again but belongs to an enrolment that has ended meanwhile is not sent again.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._settle_unknown(
  executions uuid[],
  outcome text,
  reason text,
  at timestamptz
)
returns table (id uuid, state text)
language sql
set search_path = pg_catalog, pg_temp
as $$
  with resolved as (
    update dripdrop.step_executions as x
    set state = case
          when _settle_unknown.outcome = 'scheduled' and e.state in ('completed', 'cancelled')
          then 'cancelled'
          else _settle_unknown.outcome
        end,
        due_at = case
          when _settle_unknown.outcome = 'scheduled' and e.state = 'active' then _settle_unknown.at
        end,
        waits_for = case
          when _settle_unknown.outcome = 'scheduled' and e.state = 'paused' then 'enrollment'
        end,
        ended_at = case
          when _settle_unknown.outcome <> 'scheduled' or e.state in ('completed', 'cancelled')
          then _settle_unknown.at
        end,
        fence = x.fence + 1,
        maybe_sent_at = case
          when _settle_unknown.outcome = 'scheduled' then x.claimed_at
          else x.maybe_sent_at
        end,
        reason = case
          when _settle_unknown.outcome = 'scheduled' and e.state = 'paused' then 'enrollment_paused'
          when _settle_unknown.outcome = 'scheduled' and e.state <> 'active' then 'enrollment_ended'
          else _settle_unknown.reason
        end,
        reason_at = _settle_unknown.at,
        updated_at = _settle_unknown.at
    from dripdrop.enrollments as e
    where x.id = any (executions)
      and x.state = 'unknown'
      and e.id = x.enrollment_id
    returning x.id, x.tenant_key, x.adapter_id, x.channel, x.state
  ),
  logged as (
    insert into dripdrop.message_reports (
      tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data,
      occurred_at
    )
    select
      r.tenant_key, r.id, r.adapter_id, r.channel, 'dripdrop', 'failed',
      jsonb_build_object('reason', _settle_unknown.reason), _settle_unknown.at
    from resolved as r
    where r.state = 'failed'
  )
  select r.id, r.state
  from resolved as r
$$;

comment on function dripdrop._settle_unknown(uuid[], text, text, timestamptz) is
  'Says of unknown messages that they were sent, failed, or are to be sent again, and logs it.';

-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._resolve(
  executions uuid[],
  state text,
  reason text,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sent uuid[];
  v_failed uuid[];
begin
  if cardinality(executions) = 0 then
    return;
  end if;

  select
    array_agg(r.id) filter (where r.state = 'sent'),
    array_agg(r.id) filter (where r.state = 'failed')
  into v_sent, v_failed
  from dripdrop._settle_unknown(executions, state, reason, at) as r;
  if v_sent is not null then
    perform dripdrop._advance(v_sent, _resolve.at);
  end if;
  if v_failed is not null then
    perform dripdrop._advance_failed(v_failed, _resolve.at);
  end if;
end
$$;

comment on function dripdrop._resolve(uuid[], text, text, timestamptz) is
  'Ends the uncertainty about unknown executions: sent, failed or scheduled again.';
