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
begin
  select e.* into v_enrollment
  from dripdrop.enrollments as e
  where e.id = explain.enrollment_id
    and e.tenant_key is not distinct from explain.tenant_key;
  if not found then
    raise exception 'enrolment "%" not found', enrollment_id using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  return query select p.* from dripdrop._explain_past(v_enrollment.id) as p;
  for v_execution in
    select x.*
    from dripdrop.step_executions as x
    where x.enrollment_id = v_enrollment.id and x.ended_at is null
    order by coalesce(x.due_at, x.scheduled_for), x.id
  loop
    return query select g.* from dripdrop._explain_gates(v_execution, v_now) as g;
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

create or replace function dripdrop._explain_past(enrollment_id uuid)
returns setof dripdrop._explanation
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
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
  where x.enrollment_id = _explain_past.enrollment_id and x.ended_at is not null
  order by x.ended_at, x.id
$$;

comment on function dripdrop._explain_past(uuid) is 'What became of the steps of an enrolment.';

-- A message that waits is judged as of the time it waits for, unless that is a timeout, or only the
-- day on which it is looked at again all the same. What is due is yet to ask its limits.
create or replace function dripdrop._explain_gates(
  execution dripdrop.step_executions,
  at timestamptz
)
returns setof dripdrop._explanation
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_as_of timestamptz := greatest(
    _explain_gates.at,
    case
      when execution.awaited_event is null and execution.waits_for is distinct from 'rival'
      then execution.due_at
    end
  );
  v_decision dripdrop._decision := dripdrop._decide(array[execution.id], v_as_of);
  v_untaken_since timestamptz := dripdrop._untaken_since(execution, _explain_gates.at);
begin
  if v_decision.action = 'defer' then
    -- Whoever defers without an end names none.
    v_decision.until := (
      select a.until
      from dripdrop._gates(array[execution.id], v_as_of, 'explain') as a
      where a.gate = v_decision.gate
    );
  end if;
  if execution.due_at <= _explain_gates.at and execution.waits_for is distinct from 'limit' then
    v_decision := dripdrop._would_admit(v_decision, _explain_gates.at);
  end if;
  return query
  select
    'now',
    s.key,
    execution.occurrence,
    v_as_of,
    g.place,
    g.gate,
    case
      when g.gate = 'daemon' then v_untaken_since is null
      when g.gate = 'exit' and g.action is null and trouble.reason is not null then null
      else g.action is null and put_off.gate is null
    end,
    case
      when g.gate = 'daemon' and v_untaken_since is not null then 'not_taken_up'
      when g.action is not null then g.reason
      when g.gate = 'exit' then trouble.reason
      else put_off.reason
    end,
    case
      when g.gate = 'daemon' and v_untaken_since is not null
      then dripdrop._describe_absence(v_untaken_since)
      when g.action is not null then g.detail
      when g.gate = 'exit' then trouble.detail
      else put_off.detail
    end,
    case
      when g.action = 'ask' and execution.due_at > _explain_gates.at then execution.due_at
      when g.action is not null then g.until
      when put_off.gate is not null then v_as_of
    end,
    next.action,
    case when v_untaken_since is null then next.at end
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
    from dripdrop._gates(array[execution.id], v_as_of, 'explain') as a
  ) as g
  join dripdrop.steps as s on s.id = execution.step_id
  cross join dripdrop._explain_next(execution, v_decision, v_as_of) as next
  left join dripdrop._rule_trouble(execution) as trouble on true
  -- The gate that put it off is why it waits, though it will be open by then.
  left join dripdrop._last_deferral(execution) as put_off
    on put_off.gate = g.gate
    and (execution.due_at > _explain_gates.at or execution.waits_for = 'limit')
  where g.gate <> 'send'
  order by g.place;
end
$$;

comment on function dripdrop._explain_gates(dripdrop.step_executions, timestamptz) is
  'How each gate stands for a message to come, and what happens next.';

-- What a daemon would have taken up long ago.
create or replace function dripdrop._untaken_since(
  execution dripdrop.step_executions,
  at timestamptz
)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when exists (
      select from dripdrop.faults as f
      where f.execution_id = (execution).id and f.until > _untaken_since.at
    )
    then null
    when (execution).state = 'scheduled'
      and (execution).waits_for is distinct from 'limit'
      and (execution).due_at <= _untaken_since.at - interval '1 minute'
    then (execution).due_at
    when (execution).state in ('queued', 'rendered')
      and (execution).updated_at <= _untaken_since.at - interval '15 minutes'
    then (execution).updated_at
  end
$$;

comment on function dripdrop._untaken_since(dripdrop.step_executions, timestamptz) is
  'Since when a message has been due, or under way, without anybody taking it up; null if nobody '
  'is late.';

create or replace function dripdrop._describe_absence(since timestamptz)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'since %s; %s',
    to_char(_describe_absence.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
    coalesce(
      to_char(
        max(w.seen_at) at time zone 'UTC',
        '"a worker was last seen at "YYYY-MM-DD HH24:MI:SS "UTC"'
      ),
      'no worker of the daemon has been seen'
    )
  )
  from dripdrop.workers as w
$$;

comment on function dripdrop._describe_absence(timestamptz) is
  'Since when nobody has taken a message up, and when a worker was last seen.';

-- A goal or exit rule whose hook has failed ends nothing, and has not been asked either.
create or replace function dripdrop._rule_trouble(execution dripdrop.step_executions)
returns table (reason text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select (execution).hooks #>> array[c.hook, 'error'], dripdrop._describe(c)
  from dripdrop.enrollments as e
  join dripdrop.conditions as c on c.sequence_id = e.sequence_id
  where e.id = (execution).enrollment_id
    and (execution).hooks #> array[c.hook, 'error'] is not null
  order by c.outcome desc, c.position, c.id
  limit 1
$$;

comment on function dripdrop._rule_trouble(dripdrop.step_executions) is
  'The first goal or exit rule of a message''s sequence that could not be asked because its hook '
  'failed, or no row.';

-- A row that a stage could not deal with is looked at by none until its fault is over.
create or replace function dripdrop._explain_next(
  execution dripdrop.step_executions,
  decision dripdrop._decision,
  as_of timestamptz
)
returns table (action text, at timestamptz)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    case
      when fault.until is not null then 'hold'
      when (execution).state = 'scheduled' then (decision).action
      when (execution).state = 'queued' then 'render'
      when (execution).state = 'rendered' then 'send'
      when (execution).state = 'sending' then 'record'
      else 'resolve'
    end,
    case
      when fault.until is not null then fault.until
      when (execution).state = 'sending' then (execution).lease_until
      when (decision).action in ('hold', 'wait') then (decision).until
      when (decision).action = 'ask' and (decision).waits_for = 'circuit' then (decision).until
      when (decision).action = 'ask' then as_of
      when (decision).action = 'defer' then (decision).until
      else coalesce(case when (execution).state = 'scheduled' then (decision).until end, as_of)
    end
  from (values (1)) as one
  left join dripdrop.faults as fault
    on fault.execution_id = (execution).id and fault.until > as_of
$$;

comment on function dripdrop._explain_next(
  dripdrop.step_executions, dripdrop._decision, timestamptz
) is
  'What happens to a message next, and when.';

create or replace function dripdrop._last_deferral(execution dripdrop.step_executions)
returns table (gate text, reason text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    coalesce(m.event_data ->> 'gate', 'retry'),
    coalesce(m.event_data ->> 'reason', m.event_data ->> 'code', m.event_data ->> 'outcome'),
    case
      when m.event_data ? 'gate' then m.event_data ->> 'detail'
      else dripdrop._describe_retries(execution, s.config)
    end
  from (
    select m.occurred_at, m.event_data
    from dripdrop.message_reports as m
    where m.step_execution_id = (execution).id and m.event_type = 'deferred'
    order by m.occurred_at desc, m.id desc
    limit 1
  ) as m
  join dripdrop.steps as s on s.id = (execution).step_id
  where m.occurred_at = (execution).reason_at
$$;

comment on function dripdrop._last_deferral(dripdrop.step_executions) is
  'The gate that put a message off, and why, if it has not been moved since.';

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
          ((execution).failing_since + coalesce((config ->> 'retry_for')::interval, c.retry_for))
          at time zone 'UTC',
          'YYYY-MM-DD HH24:MI:SS'
        )
      )
    end,
    (execution).error_message
  ), '')
  from (values (1)) as one
  left join dripdrop.channels as c on c.channel = (execution).channel
$$;

comment on function dripdrop._describe_retries(dripdrop.step_executions, jsonb) is
  'How often a message has failed for the time being, until when it is tried, and the last error.';
