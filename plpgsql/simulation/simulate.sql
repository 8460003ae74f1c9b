-- Lets enrolments run ahead of time, by the code that runs them for real: what is due is decided,
-- carried out, counted at the fence and recorded as sent. Only providers and hooks are assumed.
-- Callers roll it back. The clock goes from one due message to the next; a pace rounds it up, so
-- that many messages share a step.
--
-- locks   the enrolments and their executions, skipping what is locked; no sender
create or replace function dripdrop._run_ahead(
  enrollments uuid[],
  until timestamptz,
  pace interval default null,
  events jsonb default '[]',
  hooks jsonb default '{}'
)
returns setof dripdrop._moment
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_moments int := 0;
  v_event_at timestamptz;
  v_due uuid[];
begin
  perform dripdrop._apply_assumed_rules(enrollments, _run_ahead.hooks, v_now);
  loop
    return query
    select v_now, null::text, null::text, e.state, e.exit_reason, null::text
    from dripdrop.enrollments as e
    where e.id = any (enrollments)
      and coalesce(e.completed_at, e.cancelled_at) = v_now;
    enrollments := array(
      select e.id
      from dripdrop.enrollments as e
      where e.id = any (enrollments) and e.state = 'active'
    );
    v_event_at := (events -> 0 ->> 'occurred_at')::timestamptz;
    v_now := dripdrop._next_moment(enrollments, v_event_at, pace, v_now);
    exit when cardinality(enrollments) = 0 or v_now is null or v_now > until;
    v_moments := v_moments + 1;
    if v_moments > 10000 or (v_moments > 1000 and pace is null) then
      raise exception 'more than % moments before %', v_moments - 1, until using
        errcode = 'ZD201', column = 'horizon', hint = 'Choose a shorter horizon.';
    end if;
    perform set_config('dripdrop.now', v_now::text, true);

    if v_event_at <= v_now then
      return query
      select v_now, null::text, null::text, 'event', v.event_key, null::text
      from dripdrop._track(events -> 0 ->> 'tenant_key', jsonb_build_array(events -> 0)) as v;
      events := events - 0;
      perform dripdrop._apply_assumed_rules(enrollments, _run_ahead.hooks, v_now);
    else
      v_due := array(
        select x.id
        from dripdrop.step_executions as x
        join dripdrop.enrollments as e on e.id = x.enrollment_id
        where x.enrollment_id = any (enrollments) and x.due_at <= v_now
        order by x.due_at, x.id
        for no key update of e, x skip locked
      );
      exit when cardinality(v_due) = 0;
      return query select m.* from dripdrop._deliver_ahead(v_due, _run_ahead.hooks, v_now) as m;
    end if;
  end loop;
end
$$;

comment on function dripdrop._run_ahead(uuid[], timestamptz, interval, jsonb, jsonb) is
  'What would become of enrolments until a time; the caller must roll back what it does.';

create or replace function dripdrop._next_moment(
  enrollments uuid[],
  event_at timestamptz,
  pace interval,
  at timestamptz
)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when pace is null then n.moment
    else date_bin(
      pace, n.moment - interval '1 microsecond', timestamptz '2000-01-01 00:00:00+00'
    ) + pace
  end
  from (
    select greatest(_next_moment.at, least(min(x.due_at), event_at)) as moment
    from dripdrop.step_executions as x
    where x.enrollment_id = any (enrollments) and x.due_at is not null
    having coalesce(min(x.due_at), event_at) is not null
  ) as n
$$;

comment on function dripdrop._next_moment(uuid[], timestamptz, interval, timestamptz) is
  'When something happens next in a simulation: what is due first, or an event; null for nothing.';

-- From the decision to the record of what has been sent, at one moment. What was to be sent may
-- have failed, waits for what others are sending or, beside another one, ended with its enrolment.
--
-- locks   the counters of limits; callers hold the enrolments and their executions
create or replace function dripdrop._deliver_ahead(due uuid[], hooks jsonb, at timestamptz)
returns setof dripdrop._moment
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_decisions dripdrop._decision[] := dripdrop._decide_and_carry_out(
    due, _deliver_ahead.at, false
  );
  v_rendered uuid[];
  v_limited uuid[];
begin
  perform dripdrop._close_circuits_ahead(due, _deliver_ahead.at);
  v_rendered := dripdrop._render_ahead(
    array(select d.execution_id from unnest(v_decisions) as d where d.action = 'send'),
    _deliver_ahead.at
  );
  v_limited := dripdrop._limit_at_fence(v_rendered, _deliver_ahead.at);

  return query
  select
    _deliver_ahead.at,
    s.key,
    x.channel,
    coalesce(ended.action, d.action),
    case when ended.action is null then d.reason else x.reason end,
    d.recipient
  from unnest(v_decisions) as d
  join dripdrop.step_executions as x on x.id = d.execution_id
  join dripdrop.steps as s on s.id = x.step_id
  cross join lateral (
    select
      case
        when d.action <> 'send' then null
        when x.state = 'failed' then 'fail'
        when x.state = 'cancelled' then 'cancel'
        when x.id = any (v_limited) then 'defer'
      end as action
  ) as ended
  where d.action not in ('ask', 'wait')
  order by x.id;

  update dripdrop.step_executions as x
  set hooks = dripdrop._assumed_answers(x, _deliver_ahead.hooks)
  from unnest(v_decisions) as d
  where x.id = d.execution_id and d.action = 'ask' and x.state = 'scheduled';
  return query
  select _deliver_ahead.at, s.key, x.channel, 'ask', said.how, null::text
  from unnest(v_decisions) as d
  join dripdrop.step_executions as x on x.id = d.execution_id and x.state = 'scheduled'
  join dripdrop.steps as s on s.id = x.step_id
  cross join lateral (
    select string_agg(
      h.key || ': ' || case
        when _deliver_ahead.hooks ? h.key then 'assumed'
        when x.hooks #> array[h.key, 'value'] is not null then 'asked'
        else coalesce(x.hooks #>> array[h.key, 'error'], 'not asked')
      end,
      ', ' order by h.key
    ) as how
    from unnest(s.hooks) as h (key)
  ) as said
  where d.action = 'ask'
  order by x.id;
  perform dripdrop._make_due(
    array(
      select x.id
      from unnest(v_decisions) as d
      join dripdrop.step_executions as x on x.id = d.execution_id and x.waits_for = 'hook'
      where d.action = 'ask'
    ),
    _deliver_ahead.at
  );
  perform dripdrop._send_ahead(
    array(select u.id from unnest(v_rendered) as u (id) where u.id <> all (v_limited)),
    _deliver_ahead.at
  );
end
$$;

comment on function dripdrop._deliver_ahead(uuid[], jsonb, timestamptz) is
  'Takes what is due through the pipeline in a simulation; returns what became of it.';

create or replace function dripdrop._render_ahead(executions uuid[], at timestamptz)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_leaving uuid[] := array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (executions) and x.state in ('queued', 'rendered')
  );
  v_failed uuid[] := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id
    where x.id = any (v_leaving)
      and dripdrop._failed_hook(x.hooks, s.template_content) is not null
  );
begin
  update dripdrop.step_executions as x
  set state = case when x.id = any (v_failed) then 'failed' else 'rendered' end,
      payload = '{}',
      reason = case when x.id = any (v_failed) then 'hook_failed' else x.reason end,
      ended_at = case when x.id = any (v_failed) then _render_ahead.at end
  where x.id = any (v_leaving);
  if cardinality(v_failed) > 0 then
    perform dripdrop._advance_failed(v_failed, _render_ahead.at);
  end if;
  return array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (v_leaving) and x.state = 'rendered'
  );
end
$$;

comment on function dripdrop._render_ahead(uuid[], timestamptz) is
  'Takes messages as rendered in a simulation, but for those that lack a hook''s value; returns '
  'which.';

-- Nobody's books are kept here, and no sender's row is taken for which real sends wait.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._send_ahead(executions uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(executions) = 0 then
    return;
  end if;
  update dripdrop.step_executions as x
  set state = 'sending',
      fence = x.fence + 1,
      lease_until = _send_ahead.at,
      claimed_at = _send_ahead.at,
      adapter_id = null
  where x.id = any (executions);
  perform dripdrop.complete_sends(jsonb_agg(
    jsonb_build_object('execution', x.id, 'fence', x.fence, 'outcome', 'sent')
  ))
  from dripdrop.step_executions as x
  where x.id = any (executions);
end
$$;

comment on function dripdrop._send_ahead(uuid[], timestamptz) is
  'Takes messages as sent in a simulation.';

-- A simulation takes it that a server is back when it is to be tried again.
create or replace function dripdrop._close_circuits_ahead(executions uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._reschedule(
    array(
      select row(
        x.id,
        x.scheduled_for + greatest(c.until - _close_circuits_ahead.at, interval '0'),
        greatest(c.until, _close_circuits_ahead.at),
        null, null, null
      )::dripdrop._new_time
      from dripdrop.step_executions as x
      join dripdrop.sender_states as c on c.id = x.circuit_id
      where x.id = any (executions) and x.waits_for = 'circuit'
    ),
    _close_circuits_ahead.at
  )
$$;

comment on function dripdrop._close_circuits_ahead(uuid[], timestamptz) is
  'Makes due, in a simulation, what waits for circuits, when those are next tried.';

-- What the caller assumes, else what a function of the application says now, else an error.
create or replace function dripdrop._assumed_answers(
  execution dripdrop.step_executions,
  assumed jsonb
)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_key text;
  v_answers jsonb := coalesce(execution.hooks, '{}');
begin
  foreach v_key in array (select s.hooks from dripdrop.steps as s where s.id = execution.step_id)
  loop
    if assumed ? v_key then
      v_answers := v_answers
        || jsonb_build_object(v_key, jsonb_build_object('value', assumed -> v_key));
    else
      v_answers := v_answers || (
        select jsonb_build_object(
          v_key,
          dripdrop._try_function(e, v_key, s.key, execution.hooks, execution.event_id)
        )
        from dripdrop.enrollments as e
        join dripdrop.steps as s on s.id = execution.step_id
        where e.id = execution.enrollment_id
      );
    end if;
  end loop;
  return v_answers;
end
$$;

comment on function dripdrop._assumed_answers(dripdrop.step_executions, jsonb) is
  'The answers of an execution''s hooks in a simulation.';

-- The real engine in a sub-transaction that is rolled back: no row, no message and no notification
-- stays behind. Somebody is enrolled as a new subscriber, or as one there is, or an enrolment that
-- there is goes on; a version that is not active is activated first, with all its checks. What the
-- functions of the application say of a real subscriber is what they would say.
--
-- locks   with a version as activate_sequence_version(), then as enroll(), then as tick(); until it
--         returns
-- raises  ZD103 unknown version, ZD105 unknown enrolment, ZD201 bad argument, and what enroll(),
--         track_event() and activate_sequence_version() raise
create or replace function dripdrop.simulate(
  tenant_key text,
  sequence text default null,
  data jsonb default null,
  horizon interval default '30 days',
  events jsonb default '[]',
  hooks jsonb default '{}',
  version int default null,
  start_at timestamptz default null,
  enrollment_id uuid default null,
  subscriber_id text default null,
  subscriber_type text default 'User'
)
returns table (
  at timestamptz,
  step_key text,
  channel text,
  action text,
  reason text,
  recipient text
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_start timestamptz := coalesce(start_at, dripdrop._now());
  v_enrollment dripdrop.enrollments;
  v_rows jsonb;
begin
  perform dripdrop._check_json(data, 'data');
  perform dripdrop._check_time(start_at, 'start_at');
  perform dripdrop._check_horizon(horizon);
  perform dripdrop._check_assumptions(events, hooks);
  perform dripdrop._check_who(sequence, data, version, enrollment_id, subscriber_id);
  begin
    perform set_config('dripdrop.now', v_start::text, true);
    if simulate.version is not null then
      perform dripdrop._activate_ahead(
        simulate.tenant_key, simulate.sequence, simulate.version
      );
    end if;
    v_enrollment := case
      when enrollment_id is not null
      then dripdrop._resume_ahead(tenant_key, enrollment_id, data, v_start)
      when subscriber_id is not null
      then dripdrop._enroll_ahead(
        tenant_key, sequence, subscriber_type, subscriber_id, data, v_start
      )
      else dripdrop.enroll(
        simulate.tenant_key, simulate.sequence, 'Simulation', gen_random_uuid()::text,
        simulate.data
      )
    end;
    select jsonb_agg(to_jsonb(r)) into v_rows
    from dripdrop._run_ahead(
      array[v_enrollment.id],
      v_start + horizon,
      null,
      dripdrop._assumed_events(simulate.events, v_enrollment, v_start),
      simulate.hooks
    ) as r
    where r.action <> 'ask' or num_nonnulls(simulate.enrollment_id, simulate.subscriber_id) > 0;
    raise sqlstate 'ZX000';
  exception
    when sqlstate 'ZX000' then
      null;  -- All of it is undone, but for the variables.
  end;
  return query select r.* from jsonb_populate_recordset(null::dripdrop._moment, v_rows) as r;
end
$$;

comment on function dripdrop.simulate(
  text, text, jsonb, interval, jsonb, jsonb, int, timestamptz, uuid, text, text
) is
  'What would happen to a subscriber with this data, by the code that would do it: one row per '
  'decision, and how it ends. events: [{"at": "2 days", "event_key", "event_data"}]; hooks: values '
  'by key. enrollment_id: how an enrolment goes on, with data on top of its own; subscriber_id: '
  'how one of the sequence would, with the data of their last enrolment unless some is given. Then '
  'SQL functions are asked about them, and action ask says of each hook whether it was asked or '
  'assumed. Leaves nothing behind.';

-- raises  ZD201
create or replace function dripdrop._check_who(
  sequence text,
  data jsonb,
  version int,
  enrollment_id uuid,
  subscriber_id text
)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if num_nonnulls(enrollment_id, subscriber_id) = 0 and num_nonnulls(sequence, data) < 2
    or enrollment_id is null and sequence is null
    or enrollment_id is not null and num_nonnulls(subscriber_id, sequence, version) > 0
  then
    raise exception 'it is not said who is simulated' using
      errcode = 'ZD201', column = 'sequence',
      hint = 'Pass a sequence and data, a sequence and a subscriber_id, or an enrollment_id alone.';
  end if;
end
$$;

comment on function dripdrop._check_who(text, jsonb, int, uuid, text) is
  'Raises ZD201 unless it is said once who a simulation is about.';

-- What is under way counts as due at once.
--
-- locks   the enrolment, then its executions
-- raises  ZD105
create or replace function dripdrop._resume_ahead(
  tenant_key text,
  enrollment_id uuid,
  data jsonb,
  at timestamptz
)
returns dripdrop.enrollments
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments := dripdrop._lock_enrollment(tenant_key, enrollment_id);
begin
  perform dripdrop._recall_ahead(array[v_enrollment.id], at);
  if data is not null then
    update dripdrop.enrollments as e
    set data = e.data || _resume_ahead.data
    where e.id = v_enrollment.id
    returning e.* into v_enrollment;
  end if;
  return v_enrollment;
end
$$;

comment on function dripdrop._resume_ahead(text, uuid, jsonb, timestamptz) is
  'An enrolment that a simulation goes on with.';

-- Who is on the way already goes on.
--
-- locks   as enroll()
-- raises  as enroll(); ZD201 there is no data
create or replace function dripdrop._enroll_ahead(
  tenant_key text,
  sequence text,
  subscriber_type text,
  subscriber_id text,
  data jsonb,
  at timestamptz
)
returns dripdrop.enrollments
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_data jsonb := coalesce(
    data,
    (
      select (e.enrollment).data
      from dripdrop._enrollments_of(
        _enroll_ahead.subscriber_type, _enroll_ahead.subscriber_id
      ) as e
      where e.tenant_key is not distinct from _enroll_ahead.tenant_key
      order by e.started_at desc, e.id desc
      limit 1
    )
  );
  v_enrollment dripdrop.enrollments;
begin
  if v_data is null then
    raise exception 'nothing is known of % %',
      subscriber_type, dripdrop._quoted(subscriber_id) using
      errcode = 'ZD201', column = 'data', hint = 'Pass the data they would be enrolled with.';
  end if;
  v_enrollment := dripdrop.enroll(tenant_key, sequence, subscriber_type, subscriber_id, v_data);
  return dripdrop._resume_ahead(tenant_key, v_enrollment.id, data, at);
end
$$;

comment on function dripdrop._enroll_ahead(text, text, text, text, jsonb, timestamptz) is
  'A subscriber who would be enrolled, or is, with their own data unless some is given.';

-- raises  ZD201
create or replace function dripdrop._check_horizon(horizon interval)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if horizon is null then
    raise exception 'horizon is missing' using
      errcode = 'ZD201', column = 'horizon', hint = 'For example interval ''30 days''.';
  end if;
  perform dripdrop._check_interval(horizon, 'horizon');
end
$$;

comment on function dripdrop._check_horizon(interval) is
  'Raises ZD201 unless it is known how far a simulation goes.';

-- raises  ZD201
create or replace function dripdrop._check_assumptions(events jsonb, hooks jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(events, 'events', 1048576);
  perform dripdrop._check_json(hooks, 'hooks');
  if jsonb_typeof(hooks) is distinct from 'object' then
    raise exception 'hooks is not an object' using
      errcode = 'ZD201', column = 'hooks', hint = 'For example ''{"lead_score": 85}''.';
  end if;
  if jsonb_typeof(events) is distinct from 'array' then
    raise exception 'events is not a list' using
      errcode = 'ZD201', column = 'events',
      hint = 'For example ''[{"at": "2 days", "event_key": "order_completed"}]''.';
  end if;
end
$$;

comment on function dripdrop._check_assumptions(jsonb, jsonb) is
  'Raises ZD201 on what a simulation cannot assume of events and hooks.';

-- locks   as activate_sequence_version()
-- raises  ZD103 unknown version, and what activate_sequence_version() raises
create or replace function dripdrop._activate_ahead(tenant_key text, sequence text, version int)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions;
begin
  select v.* into v_version
  from dripdrop.sequence_versions as v
  join dripdrop.sequences as q on q.id = v.sequence_id
  where q.tenant_key is not distinct from _activate_ahead.tenant_key
    and q.key = _activate_ahead.sequence
    and v.version = _activate_ahead.version;
  if not found then
    raise exception 'version % of sequence % not found',
      version, dripdrop._quoted(sequence) using
      errcode = 'ZD103', hint = 'Leave it out for the active version.';
  end if;
  if v_version.state <> 'active' then
    perform dripdrop.activate_sequence_version(_activate_ahead.tenant_key, v_version.id);
  end if;
end
$$;

comment on function dripdrop._activate_ahead(text, text, int) is
  'Makes a version the active one, in a simulation.';

-- raises  ZD201 a malformed event
create or replace function dripdrop._assumed_events(
  events jsonb,
  enrollment dripdrop.enrollments,
  start timestamptz
)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select coalesce(jsonb_agg(e.event order by e.event ->> 'occurred_at', e.place), '[]')
    from (
      select
        g.place,
        (g.event - 'at') || jsonb_build_object(
          'tenant_key', enrollment.tenant_key,
          'enrollment_id', enrollment.id,
          'occurred_at', to_char(
            case
              when g.event ->> 'at' ~ '^[0-9]{4}-' then (g.event ->> 'at')::timestamptz
              else start + (g.event ->> 'at')::interval
            end at time zone 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.USZ'
          )
        ) as event
      from jsonb_array_elements(events) with ordinality as g (event, place)
    ) as e
  );
exception
  when data_exception then
    raise exception 'an element of events is malformed' using
      errcode = 'ZD201', column = 'events', detail = sqlerrm,
      hint = 'at is a time, or how long after the start: {"at": "2 days", "event_key": …}.';
end
$$;

comment on function dripdrop._assumed_events(jsonb, dripdrop.enrollments, timestamptz) is
  'The events of a simulation as they are tracked, in order.';

-- In portions, so that nobody waits long for the enrolments that are being thought about; where a
-- limit is shared, all of them together, for what one takes of it the others have not.
--
-- locks   up to 500 enrolments at a time, or all of them, and their executions, skipping what is
--         locked; then the counters of limits
-- raises  ZD101 unknown sequence, ZD201 bad argument, ZD204 unknown time zone
create or replace function dripdrop.forecast(
  tenant_key text,
  sequence text,
  horizon interval default '30 days',
  time_zone text default 'UTC'
)
returns table (day date, step_key text, channel text, messages bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_start timestamptz := dripdrop._now();
  v_sequence uuid;
  v_portion uuid[];
  v_last uuid := uuid '00000000-0000-0000-0000-000000000000';
  v_size int;
  v_rows jsonb := jsonb '[]';
begin
  perform dripdrop._check_horizon(horizon);
  perform dripdrop._check_time_zone(time_zone, 'time_zone');
  select q.id into v_sequence
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from forecast.tenant_key and q.key = forecast.sequence;
  if not found then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  v_size := case when not dripdrop._shares_limits(v_sequence, v_start) then 500 end;

  loop
    v_portion := array(
      select e.id
      from dripdrop.enrollments as e
      where e.sequence_id = v_sequence and e.state = 'active' and e.id > v_last
      order by e.id
      limit v_size
    );
    exit when cardinality(v_portion) = 0;
    v_last := v_portion[cardinality(v_portion)];
    v_rows := v_rows
      || dripdrop._forecast_portion(v_portion, v_start, v_start + horizon, time_zone);
  end loop;

  return query
  select r.day, r.step_key, r.channel, sum(r.messages)::bigint
  from jsonb_to_recordset(v_rows) as r (day date, step_key text, channel text, messages bigint)
  group by r.day, r.step_key, r.channel
  order by r.day, r.step_key, r.channel;
end
$$;

comment on function dripdrop.forecast(text, text, interval, text) is
  'How many messages the active enrolments of a sequence would be sent, by day of a time zone and '
  'step, if nothing more happened. The clock goes by the hour.';

create or replace function dripdrop._shares_limits(sequence_id uuid, at timestamptz)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from dripdrop._step_facts(
      array(
        select s.id
        from dripdrop.steps as s
        join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
        where v.sequence_id = _shares_limits.sequence_id and v.state <> 'draft'
      ),
      _shares_limits.at,
      true
    ) as f
    where f.limited
  )
$$;

comment on function dripdrop._shares_limits(uuid, timestamptz) is
  'Whether messages of a sequence may be subject to a limit.';

-- locks   the enrolments and their executions, skipping what is locked
create or replace function dripdrop._recall_ahead(enrollments uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_under_way uuid[] := array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.enrollment_id = any (enrollments) and x.state in ('queued', 'rendered', 'sending')
    for no key update of e, x skip locked
  );
begin
  update dripdrop.step_executions as x
  set state = 'scheduled',
      due_at = _recall_ahead.at,
      payload = null,
      lease_until = null
  where x.id = any (v_under_way);
  perform dripdrop._close_circuits_ahead(
    array(
      select x.id
      from dripdrop.step_executions as x
      where x.enrollment_id = any (enrollments) and x.ended_at is null
    ),
    _recall_ahead.at
  );
end
$$;

comment on function dripdrop._recall_ahead(uuid[], timestamptz) is
  'Takes what is under way as due now, in a simulation, and servers as back when they are tried.';

-- What is under way counts as due at once. Nothing stays behind.
--
-- locks   the enrolments and their executions, skipping what is locked; until it returns
create or replace function dripdrop._forecast_portion(
  enrollments uuid[],
  at timestamptz,
  until timestamptz,
  time_zone text
)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_counts jsonb;
begin
  perform set_config('dripdrop.now', _forecast_portion.at::text, true);
  perform dripdrop._recall_ahead(enrollments, at);
  select coalesce(jsonb_agg(to_jsonb(c)), '[]') into v_counts
  from (
    select
      (r.at at time zone _forecast_portion.time_zone)::date as day, r.step_key, r.channel,
      count(*) as messages
    from dripdrop._run_ahead(enrollments, _forecast_portion.until, interval '1 hour') as r
    where r.action = 'send'
    group by 1, 2, 3
  ) as c;
  raise sqlstate 'ZX000';
exception
  when sqlstate 'ZX000' then
    return v_counts;
end
$$;

comment on function dripdrop._forecast_portion(uuid[], timestamptz, timestamptz, text) is
  'How many messages some enrolments would be sent, by day and step.';
