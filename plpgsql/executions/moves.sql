-- State, due time and reason of an execution are written here, and by the stages that have claimed
-- it: tick, hooks, render, send, record and reconcile, each where its fence or its state is still
-- what the claim saw. Callers hold the executions, and the enrolments where more follows.

-- Whoever waits for room, for the other sequence of its group or for a sender to end its rest is
-- not late: nobody has failed to send it.
create or replace function dripdrop._waited(
  waited interval,
  waits_for text,
  since timestamptz,
  at timestamptz
)
returns interval
language sql
immutable
parallel safe
return case
  when waits_for in ('limit', 'rest', 'rival')
  then coalesce(waited, '0') + greatest(at - since, '0')
  else waited
end;

comment on function dripdrop._waited(interval, text, timestamptz, timestamptz) is
  'How long a message has waited by a time for what makes it no later; null for not at all.';

-- What waits is due; what was about to leave is decided anew. What waited for a server was not
-- late: its planned time moves with it. Who has released a message wants it as if planned for now.
create or replace function dripdrop._make_due(
  executions uuid[],
  at timestamptz,
  reason text default null
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = 'scheduled',
      due_at = _make_due.at,
      scheduled_for = case x.waits_for
        when 'circuit'
        then x.scheduled_for + greatest(_make_due.at - x.reason_at, interval '0')
        when 'release' then _make_due.at
        else x.scheduled_for
      end,
      waited = case
        when x.waits_for is distinct from 'release'
        then dripdrop._waited(x.waited, x.waits_for, x.reason_at, _make_due.at)
      end,
      line_id = case when x.waits_for = 'limit' then null else x.line_id end,
      circuit_id = null,
      waits_for = null,
      fence = x.fence + (x.state <> 'scheduled')::int,
      reason = coalesce(
        _make_due.reason,
        case
          when x.waits_for in ('pause', 'sender') then 'resumed'
          when x.waits_for in ('circuit', 'release') then 'released'
          else x.reason
        end
      ),
      reason_at = case
        when _make_due.reason is not null
          or x.waits_for in ('pause', 'sender', 'circuit', 'release')
        then _make_due.at
        else x.reason_at
      end,
      updated_at = _make_due.at
  where x.id = any (executions)
    and x.state in ('scheduled', 'queued', 'rendered')
    and (x.due_at is null or x.due_at > _make_due.at or x.waits_for = 'limit')
$$;

comment on function dripdrop._make_due(uuid[], timestamptz, text) is
  'Has tick() look at executions now: what waits, and what has not left yet.';

-- For moves whose time is not now.
create or replace function dripdrop._reschedule(moves dripdrop._new_time[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set scheduled_for = coalesce(m.scheduled_for, x.scheduled_for),
      waited = case
        when m.scheduled_for is null
        then dripdrop._waited(x.waited, x.waits_for, x.reason_at, _reschedule.at)
      end,
      due_at = m.due_at,
      waits_for = m.waits_for,
      awaited_event = case when m.event_id is null then x.awaited_event end,
      event_id = coalesce(m.event_id, x.event_id),
      circuit_id = null,
      -- Hooks that were being asked for the timeout are asked again.
      fence = x.fence + (m.event_id is not null)::int,
      reason = coalesce(m.reason, x.reason),
      reason_at = case when m.reason is null then x.reason_at else _reschedule.at end,
      updated_at = _reschedule.at
  from unnest(moves) as m
  where x.id = m.execution_id
    and x.state = 'scheduled'
$$;

comment on function dripdrop._reschedule(dripdrop._new_time[], timestamptz) is
  'Gives scheduled executions other times, or the events they waited for.';

-- locks   nothing new; writes what was put off into message_reports
create or replace function dripdrop._defer_executions(
  decisions dripdrop._decision[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = 'scheduled',
      due_at = d.until,
      waits_for = d.waits_for,
      -- The time until a window opens is no delay: staleness counts from the opening.
      scheduled_for = case d.gate when 'window' then d.until else x.scheduled_for end,
      waited = case
        when d.gate <> 'window'
        then dripdrop._waited(x.waited, x.waits_for, x.reason_at, _defer_executions.at)
      end,
      -- The application's tables may say something else by the time it is due again.
      hooks = case x.state
        when 'scheduled'
        then x.hooks - array(
          select h.key
          from dripdrop.hooks as h
          where h.tenant_key = x.tenant_key or h.tenant_key is null
        )
        else x.hooks
      end,
      defer_count = x.defer_count + 1,
      fence = x.fence + (x.state <> 'scheduled')::int,
      adapter_id = d.adapter_id,
      recipient = d.recipient,
      line_id = d.line_id,
      circuit_id = null,
      reason = d.reason,
      reason_at = _defer_executions.at,
      updated_at = _defer_executions.at
  from unnest(decisions) as d
  where x.id = d.execution_id
    and d.action = 'defer';
  select dripdrop._log_decisions(decisions, array['defer'], _defer_executions.at)
$$;

comment on function dripdrop._defer_executions(dripdrop._decision[], timestamptz) is
  'Puts executions off until the time that a gate has named.';

create or replace function dripdrop._hold_executions(
  decisions dripdrop._decision[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set due_at = null,
      waited = dripdrop._waited(x.waited, x.waits_for, x.reason_at, _hold_executions.at),
      waits_for = d.waits_for,
      adapter_id = d.adapter_id,
      recipient = d.recipient,
      line_id = d.line_id,
      circuit_id = case
        when d.waits_for = 'circuit' then coalesce(
          (
            select c.id
            from dripdrop.sender_states as c
            where c.adapter_id = d.adapter_id and c.host = '' and c.ended_at is null
          ),
          -- It has closed since it was looked at: the next tick wakes whoever waits for it.
          (
            select c.id
            from dripdrop.sender_states as c
            where c.adapter_id = d.adapter_id and c.host = ''
            order by c.ended_at desc
            limit 1
          )
        )
      end,
      reason = d.reason,
      reason_at = _hold_executions.at,
      updated_at = _hold_executions.at
  from unnest(decisions) as d
  where x.id = d.execution_id
    and d.action = 'hold'
$$;

comment on function dripdrop._hold_executions(dripdrop._decision[], timestamptz) is
  'Holds executions until what they wait for has happened.';

create or replace function dripdrop._hold_behind_circuits(
  executions uuid[],
  circuits uuid[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set due_at = null,
      waits_for = 'circuit',
      circuit_id = c.circuit_id,
      reason = 'circuit_open',
      reason_at = _hold_behind_circuits.at,
      updated_at = _hold_behind_circuits.at
  from unnest(executions, circuits) as c (execution_id, circuit_id)
  where x.id = c.execution_id
$$;

comment on function dripdrop._hold_behind_circuits(uuid[], uuid[], timestamptz) is
  'Holds executions until the circuits of their hooks'' endpoints close.';

-- What is to come of a paused enrolment. scheduled_for keeps what was still to wait; the time at
-- which an unanswered hook is asked again is no part of that.
create or replace function dripdrop._hold_for_enrollments(executions uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = 'scheduled',
      scheduled_for = case
        when x.waits_for = 'hook' then x.scheduled_for
        else coalesce(x.due_at, x.scheduled_for)
      end,
      waited = null,
      due_at = null,
      waits_for = 'enrollment',
      circuit_id = null,
      fence = x.fence + 1,
      reason = 'enrollment_paused',
      reason_at = _hold_for_enrollments.at,
      updated_at = _hold_for_enrollments.at
  where x.id = any (executions)
    and x.state in ('scheduled', 'queued', 'rendered')
$$;

comment on function dripdrop._hold_for_enrollments(uuid[], timestamptz) is
  'Holds executions until their enrolments are resumed.';

-- locks   nothing new; writes what was skipped and what failed into message_reports
create or replace function dripdrop._end_executions(
  decisions dripdrop._decision[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = case d.action
        when 'skip' then 'skipped' when 'fail' then 'failed' else 'cancelled'
      end,
      due_at = null,
      waits_for = null,
      awaited_event = null,
      ended_at = _end_executions.at,
      adapter_id = d.adapter_id,
      recipient = d.recipient,
      line_id = d.line_id,
      circuit_id = null,
      reason = d.reason,
      reason_at = _end_executions.at,
      updated_at = _end_executions.at
  from unnest(decisions) as d
  where x.id = d.execution_id
    and d.action in ('skip', 'fail', 'cancel', 'exit', 'complete');
  select dripdrop._log_decisions(decisions, array['skip', 'fail'], _end_executions.at)
$$;

comment on function dripdrop._end_executions(dripdrop._decision[], timestamptz) is
  'Skips, fails and cancels executions as gates have said.';

create or replace function dripdrop._cancel_executions(
  executions uuid[],
  reason text,
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = 'cancelled',
      due_at = null,
      waits_for = null,
      awaited_event = null,
      circuit_id = null,
      ended_at = _cancel_executions.at,
      fence = x.fence + 1,
      reason = _cancel_executions.reason,
      reason_at = _cancel_executions.at,
      updated_at = _cancel_executions.at
  where x.id = any (executions)
$$;

comment on function dripdrop._cancel_executions(uuid[], text, timestamptz) is
  'Cancels what has not left.';

-- A new message: new words, a new idempotency key, the retries from the start.
create or replace function dripdrop._reopen_execution(execution_id uuid, at timestamptz)
returns dripdrop.step_executions
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set state = 'scheduled',
      attempt_window = x.attempt_window + 1,
      scheduled_for = _reopen_execution.at,
      due_at = _reopen_execution.at,
      waited = null,
      ended_at = null,
      fence = x.fence + 1,
      retry_count = 0,
      failing_since = null,
      excused_at = null,
      payload = null,
      response = null,
      provider_message_id = null,
      out_message_id = null,
      error_message = null,
      reason = 'replayed',
      reason_at = _reopen_execution.at,
      updated_at = _reopen_execution.at
  where x.id = _reopen_execution.execution_id
  returning x.*
$$;

comment on function dripdrop._reopen_execution(uuid, timestamptz) is
  'Schedules a failed execution as a new message, due now.';

create or replace function dripdrop._log_decisions(
  decisions dripdrop._decision[],
  actions text[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.message_reports (
    tenant_key, step_execution_id, adapter_id, channel, provider, event_type, event_data,
    occurred_at
  )
  select
    x.tenant_key, x.id, d.adapter_id, x.channel, 'dripdrop',
    case d.action
      when 'defer' then 'deferred'
      when 'fail' then 'failed'
      else case d.gate when 'suppression' then 'suppressed' else 'skipped' end
    end,
    jsonb_strip_nulls(
      jsonb_build_object(
        'reason', d.reason, 'gate', d.gate, 'detail', d.detail, 'until', d.until,
        'maybe_sent_at', x.maybe_sent_at
      )
    ),
    _log_decisions.at
  from unnest(decisions) as d
  join dripdrop.step_executions as x on x.id = d.execution_id
  where d.action = any (actions)
$$;

comment on function dripdrop._log_decisions(dripdrop._decision[], text[], timestamptz) is
  'Writes down which messages decisions have put off, skipped or failed.';
