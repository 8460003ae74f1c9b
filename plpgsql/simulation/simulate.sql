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
returns table (
  at timestamptz,
  step_key text,
  channel text,
  action text,
  reason text,
  recipient text
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_moments int := 0;
  v_due_at timestamptz;
  v_event jsonb;
  v_event_at timestamptz;
  v_due uuid[];
  v_decisions dripdrop._decision[];
  v_leaving uuid[];
  v_failed uuid[];
  v_limited uuid[];
begin
  perform dripdrop._assume_rules(enrollments, _run_ahead.hooks, v_now);
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
    exit when cardinality(enrollments) = 0;

    select min(x.due_at) into v_due_at
    from dripdrop.step_executions as x
    where x.enrollment_id = any (enrollments) and x.due_at is not null;
    v_event := events -> 0;
    v_event_at := (v_event ->> 'occurred_at')::timestamptz;
    exit when v_due_at is null and v_event_at is null;
    v_now := greatest(v_now, least(v_due_at, v_event_at));
    if pace is not null then
      v_now := date_bin(pace, v_now - interval '1 microsecond', timestamptz '2000-01-01 00:00:00+00')
        + pace;
    end if;
    exit when v_now > until;
    v_moments := v_moments + 1;
    if v_moments > 10000 or (v_moments > 1000 and pace is null) then
      raise exception 'more than % moments before %', v_moments - 1, until using
        errcode = 'ZD201', column = 'horizon', hint = 'Choose a shorter horizon.';
    end if;
    perform set_config('dripdrop.now', v_now::text, true);

    if v_event_at <= v_now then
      events := events - 0;
      return query
      select v_now, null::text, null::text, 'event', v.event_key, null::text
      from dripdrop._track(v_event ->> 'tenant_key', jsonb_build_array(v_event)) as v;
      perform dripdrop._assume_rules(enrollments, _run_ahead.hooks, v_now);
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
      v_decisions := dripdrop._admit(
        array(select d from dripdrop._decide(v_due, v_now) as d), v_now, false
      );
      perform from dripdrop._carry_out(v_decisions, v_now);
      perform dripdrop._close_circuits_ahead(v_due, v_now);
      v_leaving := array(
        select x.id
        from unnest(v_decisions) as d
        join dripdrop.step_executions as x on x.id = d.execution_id
        where d.action = 'send' and x.state in ('queued', 'rendered')
      );
      v_failed := array(
        select x.id
        from dripdrop.step_executions as x
        join dripdrop.steps as s on s.id = x.step_id
        where x.id = any (v_leaving)
          and dripdrop._failed_hook(x.hooks, s.template_content) is not null
      );
      update dripdrop.step_executions as x
      set state = case when x.id = any (v_failed) then 'failed' else 'rendered' end,
          payload = '{}',
          reason = case when x.id = any (v_failed) then 'hook_failed' else x.reason end,
          ended_at = case when x.id = any (v_failed) then v_now end
      where x.id = any (v_leaving);
      if cardinality(v_failed) > 0 then
        perform dripdrop._give_up(v_failed, v_now);
      end if;
      v_leaving := array(
        select x.id
        from dripdrop.step_executions as x
        where x.id = any (v_leaving) and x.state = 'rendered'
      );
      v_limited := dripdrop._limit_at_fence(v_leaving, v_now);

      -- What was to be sent may have failed, waits for what others are sending or, beside another
      -- one, ended with its enrolment.
      return query
      select
        v_now,
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
      where d.action <> 'ask'
      order by x.id;

      update dripdrop.step_executions as x
      set hooks = dripdrop._assumed_answers(x, _run_ahead.hooks)
      from unnest(v_decisions) as d
      where x.id = d.execution_id and d.action = 'ask' and x.state = 'scheduled';
      perform dripdrop._make_due(
        array(
          select x.id
          from unnest(v_decisions) as d
          join dripdrop.step_executions as x on x.id = d.execution_id and x.waits_for = 'hook'
          where d.action = 'ask'
        ),
        v_now
      );

      v_leaving := array(
        select u.id from unnest(v_leaving) as u (id) where u.id <> all (v_limited)
      );
      if cardinality(v_leaving) > 0 then
        update dripdrop.step_executions as x
        set state = 'sending',
            fence = x.fence + 1,
            lease_until = v_now,
            claimed_at = v_now,
            -- Whose books are not kept here, and whose row real sends wait for.
            adapter_id = null
        where x.id = any (v_leaving);
        perform dripdrop.complete_sends(jsonb_agg(
          jsonb_build_object('execution', x.id, 'fence', x.fence, 'outcome', 'sent')
        ))
        from dripdrop.step_executions as x
        where x.id = any (v_leaving);
      end if;
    end if;
  end loop;
end
$$;

comment on function dripdrop._run_ahead(uuid[], timestamptz, interval, jsonb, jsonb) is
  'What would become of enrolments until a time; the caller must roll back what it does.';

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
-- stays behind. Someone is enrolled as a new subscriber; a version that is not active is activated
-- first, with all its checks.
--
-- locks   as enroll() and, with a version, as activate_sequence_version(); until it returns
-- raises  ZD103 unknown version, ZD201 bad argument, and what enroll(), track_event() and
--         activate_sequence_version() raise
create or replace function dripdrop.simulate(
  tenant_key text,
  sequence text,
  data jsonb,
  horizon interval default '30 days',
  events jsonb default '[]',
  hooks jsonb default '{}',
  version int default null,
  start_at timestamptz default null
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
  v_version dripdrop.sequence_versions;
  v_enrollment dripdrop.enrollments;
  v_events jsonb;
  v_rows jsonb;
begin
  perform dripdrop._check_json(data, 'data');
  perform dripdrop._check_json(events, 'events', 1048576);
  perform dripdrop._check_time(start_at, 'start_at');
  perform dripdrop._check_json(hooks, 'hooks');
  if horizon is null then
    raise exception 'horizon is missing' using
      errcode = 'ZD201', column = 'horizon', hint = 'For example interval ''30 days''.';
  end if;
  perform dripdrop._check_interval(horizon, 'horizon');
  if jsonb_typeof(hooks) is distinct from 'object' then
    raise exception 'hooks is not an object' using
      errcode = 'ZD201', column = 'hooks', hint = 'For example ''{"lead_score": 85}''.';
  end if;
  if jsonb_typeof(events) is distinct from 'array' then
    raise exception 'events is not a list' using
      errcode = 'ZD201', column = 'events',
      hint = 'For example ''[{"at": "2 days", "event_key": "order_completed"}]''.';
  end if;

  begin
    perform set_config('dripdrop.now', v_start::text, true);
    if simulate.version is not null then
      select v.* into v_version
      from dripdrop.sequence_versions as v
      join dripdrop.sequences as q on q.id = v.sequence_id
      where q.tenant_key is not distinct from simulate.tenant_key
        and q.key = simulate.sequence
        and v.version = simulate.version;
      if not found then
        raise exception 'version % of sequence % not found',
          version, dripdrop._quoted(sequence) using
          errcode = 'ZD103', hint = 'Leave it out for the active version.';
      end if;
      if v_version.state <> 'active' then
        perform dripdrop.activate_sequence_version(simulate.tenant_key, v_version.id);
      end if;
    end if;
    v_enrollment := dripdrop.enroll(
      simulate.tenant_key, simulate.sequence, 'Simulation', gen_random_uuid()::text, simulate.data
    );
    begin
      select coalesce(jsonb_agg(e.event order by e.event ->> 'occurred_at', e.place), '[]')
      into v_events
      from (
        select
          g.place,
          (g.event - 'at') || jsonb_build_object(
            'tenant_key', simulate.tenant_key,
            'enrollment_id', v_enrollment.id,
            'occurred_at', to_char(
              case
                when g.event ->> 'at' ~ '^[0-9]{4}-' then (g.event ->> 'at')::timestamptz
                else v_start + (g.event ->> 'at')::interval
              end at time zone 'UTC',
              'YYYY-MM-DD"T"HH24:MI:SS.USZ'
            )
          ) as event
        from jsonb_array_elements(simulate.events) with ordinality as g (event, place)
      ) as e;
    exception
      when data_exception then
        raise exception 'an element of events is malformed' using
          errcode = 'ZD201', column = 'events', detail = sqlerrm,
          hint = 'at is a time, or how long after the start: {"at": "2 days", "event_key": …}.';
    end;
    select jsonb_agg(to_jsonb(r)) into v_rows
    from dripdrop._run_ahead(
      array[v_enrollment.id], v_start + horizon, null, v_events, simulate.hooks
    ) as r;
    raise sqlstate 'ZX000';
  exception
    when sqlstate 'ZX000' then
      null;  -- All of it is undone, but for the variables.
  end;

  return query
  select r.*
  from jsonb_to_recordset(v_rows) as r (
    at timestamptz, step_key text, channel text, action text, reason text, recipient text
  );
end
$$;

comment on function dripdrop.simulate(
  text, text, jsonb, interval, jsonb, jsonb, int, timestamptz
) is
  'What would happen to a subscriber with this data, by the code that would do it: one row per '
  'decision, and how it ends. events: [{"at": "2 days", "event_key", "event_data"}]; hooks: values '
  'by key. Leaves nothing behind.';

-- In portions, so that nobody waits long for the enrolments that are being thought about.
--
-- locks   up to 500 enrolments at a time and their executions, skipping what is locked
-- raises  ZD101 unknown sequence, ZD201 bad argument
create or replace function dripdrop.forecast(
  tenant_key text,
  sequence text,
  horizon interval default '30 days'
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
  v_under_way uuid[];
  v_last uuid := uuid '00000000-0000-0000-0000-000000000000';
  v_rows jsonb := jsonb '[]';
  v_counts jsonb;
begin
  if horizon is null then
    raise exception 'horizon is missing' using
      errcode = 'ZD201', column = 'horizon', hint = 'For example interval ''30 days''.';
  end if;
  perform dripdrop._check_interval(horizon, 'horizon');
  select q.id into v_sequence
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from forecast.tenant_key and q.key = forecast.sequence;
  if not found then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;

  loop
    v_portion := array(
      select e.id
      from dripdrop.enrollments as e
      where e.sequence_id = v_sequence and e.state = 'active' and e.id > v_last
      order by e.id
      limit 500
    );
    exit when cardinality(v_portion) = 0;
    v_last := v_portion[cardinality(v_portion)];
    begin
      perform set_config('dripdrop.now', v_start::text, true);
      v_under_way := array(
        select x.id
        from dripdrop.step_executions as x
        join dripdrop.enrollments as e on e.id = x.enrollment_id
        where x.enrollment_id = any (v_portion) and x.state in ('queued', 'rendered', 'sending')
        for no key update of e, x skip locked
      );
      -- What is under way counts as due now.
      update dripdrop.step_executions as x
      set state = 'scheduled',
          due_at = v_start,
          payload = null,
          lease_until = null
      where x.id = any (v_under_way);
      perform dripdrop._close_circuits_ahead(
        array(
          select x.id
          from dripdrop.step_executions as x
          where x.enrollment_id = any (v_portion) and x.ended_at is null
        ),
        v_start
      );
      select coalesce(jsonb_agg(to_jsonb(c)), '[]') into v_counts
      from (
        select (r.at at time zone 'UTC')::date as day, r.step_key, r.channel, count(*) as messages
        from dripdrop._run_ahead(v_portion, v_start + horizon, interval '1 hour') as r
        where r.action = 'send'
        group by 1, 2, 3
      ) as c;
      raise sqlstate 'ZX000';
    exception
      when sqlstate 'ZX000' then
        v_rows := v_rows || v_counts;
    end;
  end loop;

  return query
  select r.day, r.step_key, r.channel, sum(r.messages)::bigint
  from jsonb_to_recordset(v_rows) as r (day date, step_key text, channel text, messages bigint)
  group by r.day, r.step_key, r.channel
  order by r.day, r.step_key, r.channel;
end
$$;

comment on function dripdrop.forecast(text, text, interval) is
  'How many messages the active enrolments of a sequence would be sent, by day (UTC) and step, if '
  'nothing more happened. The clock goes by the hour.';
