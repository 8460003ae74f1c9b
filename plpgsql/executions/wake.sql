-- Each thing that a message can wait for, as its column waits_for says, has one function that makes
-- due what waits for it. Nobody waits for a lock here: what somebody holds at this moment comes due
-- by itself, or is found by _look_back(); and one that cannot be written refuses nobody's call.
-- What waits until a sender or a pause is another one is decided anew: _wake_held().

-- Of one enrolment that goes on. What was still to wait when it was paused, it waits now; what was
-- overdue is due now; what has a schedule waits for its next time, and what goes by a time in the
-- data keeps to that.
--
-- locks   nothing new: callers hold the enrolment
create or replace function dripdrop._wake_by_enrollment(
  enrollment dripdrop.enrollments,
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._reschedule(
    array(
      select row(
        x.id,
        due.at,
        case when x.awaited_event is null or s.timing ? 'timeout' then due.at end,
        case when x.awaited_event is not null then 'event' end,
        'resumed',
        null
      )::dripdrop._new_time
      from dripdrop.step_executions as x
      join dripdrop.steps as s on s.id = x.step_id
      cross join lateral (
        select
          case
            when s.timing ->> 'type' in ('cron', 'interval', 'relative')
            then dripdrop._planned_for(s.timing, s.config, enrollment, _wake_by_enrollment.at)
            else _wake_by_enrollment.at + greatest(x.scheduled_for - x.reason_at, interval '0')
          end as at
      ) as due
      where x.enrollment_id = (enrollment).id and x.waits_for = 'enrollment'
    ),
    _wake_by_enrollment.at
  )
$$;

comment on function dripdrop._wake_by_enrollment(dripdrop.enrollments, timestamptz) is
  'Plans anew what a paused enrolment held.';

-- Whoever changes a time in an enrolment's data moves what goes by it and has not left yet. Other
-- data, and what is due again after a failure, is left alone; a paused enrolment finds the new time
-- when it goes on.
--
-- locks   the enrolment, which the caller holds, then its executions
create or replace function dripdrop._follow_data()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_moves dripdrop._new_time[] := array(
    select row(x.id, planned.later, planned.later, null, 'data_changed', null)::dripdrop._new_time
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id and s.timing ->> 'type' = 'relative'
    cross join lateral (
      select
        dripdrop._planned_for(s.timing, s.config, old, v_now) as earlier,
        dripdrop._planned_for(s.timing, s.config, new, v_now) as later
      offset 0
    ) as planned
    where x.enrollment_id = new.id
      and x.state in ('scheduled', 'queued')
      and x.waits_for is distinct from 'enrollment'
      and x.failing_since is null
      and planned.earlier <> planned.later
    order by x.id
    for no key update of x
  );
begin
  -- What is about to be rendered is taken back.
  perform dripdrop._make_due(
    array(
      select x.id
      from unnest(v_moves) as m
      join dripdrop.step_executions as x on x.id = m.execution_id and x.state = 'queued'
    ),
    v_now
  );
  perform dripdrop._reschedule(v_moves, v_now);
  return null;
end
$$;

comment on function dripdrop._follow_data() is
  'Plans anew what goes by a time in an enrolment''s data that has changed.';

create or replace trigger enrollments_move_what_goes_by_data
after update of data on dripdrop.enrollments
for each row when (old.data is distinct from new.data)
execute function dripdrop._follow_data();

-- Steps that wait for an event are due after their delay, unless it happened before they began to
-- wait. Someone who is paused remembers what they waited for.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._wake_by_event(
  events dripdrop.events[],
  enrollments uuid[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._reschedule(
    array(
      select row(
        w.id, w.due_at,
        case when w.is_active then w.due_at end,
        case when not w.is_active then 'enrollment' end,
        case when w.is_active then 'event' else 'enrollment_paused' end,
        w.event_id
      )::dripdrop._new_time
      from (
        select distinct on (x.id)
          x.id,
          v.id as event_id,
          e.state = 'active' as is_active,
          dripdrop._due_after_event(s, e.enrollment, v.occurred_at, _wake_by_event.at) as due_at
        from unnest(_wake_by_event.events) as v
        cross join lateral dripdrop._enrollments_of(v.subscriber_type, v.subscriber_id) as e
        join dripdrop.step_executions as x
          on x.enrollment_id = e.id and x.awaited_event = v.event_key
        join dripdrop.steps as s on s.id = x.step_id
        where e.tenant_key is not distinct from v.tenant_key
          and (e.id = v.enrollment_id or v.enrollment_id is null)
          and e.id = any (_wake_by_event.enrollments)
          and e.state in ('active', 'paused')
          and dripdrop._counts_for(
            v,
            (e.enrollment).call_number,
            case when s.timing ? 'since' then e.started_at else x.inserted_at end
          )
          and dripdrop._is_news(v, s.config)
          and dripdrop._event_matches(v.event_data, s.timing -> 'match', (e.enrollment).data)
        order by x.id, v.occurred_at
      ) as w
    ),
    _wake_by_event.at
  )
$$;

comment on function dripdrop._wake_by_event(dripdrop.events[], uuid[], timestamptz) is
  'Makes due what waits for events.';

create or replace function dripdrop._due_after_event(
  step dripdrop.steps,
  enrollment dripdrop.enrollments,
  occurred_at timestamptz,
  at timestamptz
)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select greatest(
    _due_after_event.at,
    dripdrop._next_time(
      step.timing,
      dripdrop._time_zone(
        enrollment.data,
        step.config,
        coalesce(q.time_zone, dripdrop._default_time_zone(q.tenant_key))
      ),
      _due_after_event.occurred_at,
      step.tenant_key
    )
  )
  from dripdrop.sequences as q
  where q.id = enrollment.sequence_id
$$;

comment on function dripdrop._due_after_event(
  dripdrop.steps, dripdrop.enrollments, timestamptz, timestamptz
) is
  'When a step is due whose event has happened: after its delay, and not in the past.';

-- What functions of the application were asked for enrolments, they have answered.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._wake_by_rules(enrollments uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._make_due(
    array(
      select x.id
      from dripdrop.step_executions as x
      where x.enrollment_id = any (enrollments) and x.waits_for = 'rules'
    ),
    at
  )
$$;

comment on function dripdrop._wake_by_rules(uuid[], timestamptz) is
  'Makes due what waits until goals and exit rules are answered.';

-- Enrolments of exclusive groups that have ended, or rest.
--
-- locks   the executions that wait, skipping what is locked
create or replace function dripdrop._wake_by_rival(enrollments uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_waiting uuid[] := array(
    select x.id
    from dripdrop.enrollments as e
    join dripdrop.sequences as q on q.id = e.sequence_id and q.exclusive_group is not null
    cross join lateral dripdrop._enrollments_of(e.subscriber_type, e.subscriber_id) as o
    join dripdrop.step_executions as x on x.enrollment_id = o.id and x.waits_for = 'rival'
    where e.id = any (enrollments)
      and o.state = 'active'
      and (o.tenant_key = e.tenant_key or (o.tenant_key is null and e.tenant_key is null))
    for no key update of x skip locked
  );
begin
  perform dripdrop._halved('_make_due', v_waiting, 'decide', at);
end
$$;

comment on function dripdrop._wake_by_rival(uuid[], timestamptz) is
  'Makes due what an exclusive group put off for these enrolments.';

-- What waits for one of these senders to end its rest, and is one of theirs or of these steps: in a
-- rotation a message may wait for another sender than the one that is back.
--
-- locks   the executions that wait, skipping what is locked
create or replace function dripdrop._wake_by_rest(
  adapter_id uuid,
  others uuid[],
  steps uuid[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._halved(
    '_make_due',
    array(
      select x.id
      from dripdrop.step_executions as x
      where x.waits_for = 'rest'
        and x.adapter_id = any (others || _wake_by_rest.adapter_id)
        and (x.adapter_id = _wake_by_rest.adapter_id or x.step_id = any (steps))
      order by x.id
      for no key update skip locked
    ),
    'decide',
    at
  )
$$;

comment on function dripdrop._wake_by_rest(uuid, uuid[], uuid[], timestamptz) is
  'Makes due what waits for a sender to end its rest.';

-- What waits in the lines of limits that have changed.
--
-- locks   the executions that wait, skipping what is locked
create or replace function dripdrop._wake_by_limit(lines uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._halved(
    '_make_due',
    array(
      select x.id
      from dripdrop.step_executions as x
      where x.line_id = any (lines) and x.waits_for = 'limit'
      for no key update skip locked
    ),
    'decide',
    at
  )
$$;

comment on function dripdrop._wake_by_limit(uuid[], timestamptz) is
  'Makes due what waits for limits.';

-- One of those who wait for a circuit whose rest is over is due, to try the server, each in its
-- turn; all of them are once it has closed. One that cannot be written stands in nobody's way.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._wake_by_circuit(
  at timestamptz,
  batch_size int default 2000
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_free uuid[] := array(
    select x.id
    from dripdrop.sender_states as c
    cross join lateral (
      (
        select y.id, y.enrollment_id
        from dripdrop.step_executions as y
        where y.circuit_id = c.id
          and y.id > c.tried_id
          and y.waits_for = 'circuit'
          and not exists (
            select from dripdrop.faults as f
            where f.execution_id = y.id and f.until > _wake_by_circuit.at
          )
        order by y.id
        limit case when c.ended_at is null then 1 else 0 end
      )
      union all
      (
        select y.id, y.enrollment_id
        from dripdrop.step_executions as y
        where y.circuit_id = c.id
          and y.waits_for = 'circuit'
          and not exists (
            select from dripdrop.faults as f
            where f.execution_id = y.id and f.until > _wake_by_circuit.at
          )
        order by y.id
        limit case when c.ended_at is null then 1 else _wake_by_circuit.batch_size end
      )
      limit case when c.ended_at is null then 1 else _wake_by_circuit.batch_size end
    ) as y
    join dripdrop.step_executions as x on x.id = y.id
    join dripdrop.enrollments as e on e.id = y.enrollment_id
    where c.ended_at > _wake_by_circuit.at - interval '15 minutes'
      or (c.ended_at is null and c.until <= _wake_by_circuit.at)
    limit _wake_by_circuit.batch_size
    for no key update of e, x skip locked
  );
begin
  return dripdrop._halved('_make_due', v_free, 'decide', at);
end
$$;

comment on function dripdrop._wake_by_circuit(timestamptz, int) is
  'Makes due what waited for circuits that have closed, and one message for each that is to be '
  'tried.';
