-- The past is what the rows say; the present is asked of the gates that decide.
--
-- raises  ZD105 unknown enrolment
create or replace function dripdrop.explain(tenant_key text, enrollment_id uuid)
returns table (
  phase text,
  step text,
  occurrence int,
  at timestamptz,
  place int,
  gate text,
  open boolean,
  reason text,
  detail text,
  until timestamptz,
  next_action text,
  next_at timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrollment dripdrop.enrollments;
  v_execution dripdrop.step_executions;
  v_decision dripdrop._decision;
  v_at timestamptz;
  v_fault_until timestamptz;
begin
  select e.* into v_enrollment
  from dripdrop.enrollments as e
  where e.id = explain.enrollment_id
    and e.tenant_key is not distinct from explain.tenant_key;
  if not found then
    raise exception 'enrolment "%" not found', enrollment_id using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  return query
  select
    'past', s.key, x.occurrence, x.ended_at, null::int, null::text, null::boolean, x.reason,
    nullif(concat_ws(
      '; ',
      coalesce(
        x.error_message,
        (
          select m.event_data ->> 'detail'
          from dripdrop.message_events as m
          where m.step_execution_id = x.id
          order by m.occurred_at desc, m.id desc
          limit 1
        )
      ),
      case
        when x.state <> 'sent'
        then 'it may have arrived, sent ' || to_char(
          x.maybe_sent_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'
        )
      end
    ), ''),
    null::timestamptz, x.state, null::timestamptz
  from dripdrop.step_executions as x
  join dripdrop.steps as s on s.id = x.step_id
  where x.enrollment_id = v_enrollment.id and x.ended_at is not null
  order by x.ended_at, x.id;

  for v_execution in
    select x.*
    from dripdrop.step_executions as x
    where x.enrollment_id = v_enrollment.id and x.ended_at is null
    order by coalesce(x.due_at, x.scheduled_for), x.id
  loop
    -- A message that waits is judged as of the time it waits for, unless that is a timeout.
    v_at := greatest(
      v_now, case when v_execution.awaited_event is null then v_execution.due_at end
    );
    v_decision := dripdrop._decide(array[v_execution.id], v_at);
    -- What waits has its slot; what is due is yet to ask its limits.
    if v_execution.due_at <= v_now then
      v_decision := dripdrop._would_admit(v_decision, v_now);
    end if;
    -- No stage looks at it before.
    v_fault_until := (
      select f.until from dripdrop.faults as f where f.execution_id = v_execution.id and f.until > v_at
    );
    return query
    select
      'now',
      s.key,
      v_execution.occurrence,
      v_at,
      g.place,
      g.gate,
      g.action is null and put_off.gate is null,
      case when g.action is not null then g.reason else put_off.reason end,
      case when g.action is not null then g.detail else put_off.detail end,
      case
        when g.action = 'ask' and v_execution.due_at > v_now then v_execution.due_at
        when g.action is not null then g.until
        when put_off.gate is not null then v_execution.due_at
      end,
      case
        when v_fault_until is not null then 'hold'
        when v_execution.state = 'scheduled' then v_decision.action
        when v_execution.state = 'queued' then 'render'
        when v_execution.state = 'rendered' then 'send'
        when v_execution.state = 'sending' then 'record'
        else 'resolve'
      end,
      case
        when v_fault_until is not null then v_fault_until
        when v_execution.state = 'sending' then v_execution.lease_until
        when v_decision.action in ('hold', 'wait') then v_decision.until
        when v_decision.action = 'ask' and v_decision.waits_for = 'circuit' then v_decision.until
        when v_decision.action = 'ask' then v_at
        else coalesce(case when v_execution.state = 'scheduled' then v_decision.until end, v_at)
      end
    from (
      select
        a.place,
        a.gate,
        case when a.gate = v_decision.gate then v_decision.action else a.action end as action,
        case when a.gate = v_decision.gate then v_decision.reason else a.reason end as reason,
        case when a.gate = v_decision.gate then v_decision.detail else a.detail end as detail,
        -- Of a gate that is shut without an end, the decision knows only when it is asked again.
        case
          when a.action is null and a.gate = v_decision.gate then v_decision.until else a.until
        end as until
      from dripdrop._gates(array[v_execution.id], v_at, 'all') as a
    ) as g
    join dripdrop.steps as s on s.id = v_execution.step_id
    -- The gate that put it off is why it waits, though it will be open by then.
    left join lateral (
      select
        m.occurred_at as at,
        coalesce(m.event_data ->> 'gate', 'retry') as gate,
        coalesce(
          m.event_data ->> 'reason', m.event_data ->> 'code', m.event_data ->> 'outcome'
        ) as reason,
        case
          when m.event_data ? 'gate' then m.event_data ->> 'detail'
          else dripdrop._describe_retries(v_execution, s.config)
        end as detail
      from dripdrop.message_events as m
      where m.step_execution_id = v_execution.id and m.event_type = 'deferred'
      order by m.occurred_at desc, m.id desc
      limit 1
    ) as put_off
      on put_off.gate = g.gate
      and put_off.at = v_execution.reason_at
      and v_execution.due_at > v_now
    where g.gate <> 'send'
    order by g.place;
  end loop;

  if v_enrollment.state in ('completed', 'cancelled') then
    return query
    select
      'end', null::text, null::int,
      coalesce(v_enrollment.completed_at, v_enrollment.cancelled_at),
      null::int, null::text, null::boolean, v_enrollment.exit_reason, v_enrollment.state,
      null::timestamptz, 'nothing', null::timestamptz;
  end if;
end
$$;

comment on function dripdrop.explain(text, uuid) is
  'What became of an enrolment''s steps (past), how each gate stands for its messages to come and '
  'what happens next, when (now), and why it ended (end). The same code decides.';

-- What is the server's affair is not counted: its circuit says the rest.
create or replace function dripdrop._describe_retries(
  execution dripdrop.step_executions,
  config jsonb
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select nullif(concat_ws(
    '; ',
    case
      when (execution).failing_since is not null then format(
        '%s failed %s; tried %suntil %s UTC',
        (execution).retry_count,
        case (execution).retry_count when 1 then 'attempt' else 'attempts' end,
        'up to ' || (config ->> 'max_retries') || ' times, ',
        to_char(
          ((execution).failing_since + dripdrop._retry_for((execution).channel, config))
          at time zone 'UTC',
          'YYYY-MM-DD HH24:MI:SS'
        )
      )
    end,
    (execution).error_message
  ), '')
$$;

comment on function dripdrop._describe_retries(dripdrop.step_executions, jsonb) is
  'How often a message has failed for the time being, until when it is tried, and the last error.';
