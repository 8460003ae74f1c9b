-- Plans steps: when each is due, and what it waits for. Times are computed once per step and zone,
-- not once per person, but for those that go by the enrolment's start or data. A step that may come
-- again gets the next occurrence; any other comes once, whoever plans it twice.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._plan_steps(enrollments uuid[], steps uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with
  step as materialized (
    select * from dripdrop._planned_steps(_plan_steps.steps)
  ),
  person as materialized (
    select
      e.id as enrollment_id,
      s.id as step_id,
      s.since_enrollment,
      s.repeatable,
      z.time_zone,
      dripdrop._counts_from(
        s.timing, e.data, z.time_zone, e.started_at, _plan_steps.at
      ) as counted_from
    from unnest(_plan_steps.enrollments, _plan_steps.steps) as p (enrollment_id, step_id)
    join dripdrop.enrollments as e on e.id = p.enrollment_id
    join step as s on s.id = p.step_id
    cross join lateral (
      select dripdrop._time_zone(e.data, s.config, s.time_zone) as time_zone
      offset 0
    ) as z
  ),
  due as materialized (
    select
      d.step_id,
      d.time_zone,
      d.counted_from,
      s.tenant_key,
      s.channel,
      s.timing,
      s.config,
      s.trigger_event,
      dripdrop._planned_at(
        s.timing, d.time_zone, d.counted_from, _plan_steps.at, s.tenant_key
      ) as due_at,
      dripdrop._timeout_at(s.timing, d.time_zone, _plan_steps.at) as timeout_at
    from (select distinct p.step_id, p.time_zone, p.counted_from from person as p) as d
    join step as s on s.id = d.step_id
  )
  insert into dripdrop.step_executions (
    tenant_key, enrollment_id, step_id, occurrence, channel, scheduled_for, due_at, waits_for,
    awaited_event, event_id
  )
  select
    d.tenant_key,
    p.enrollment_id,
    p.step_id,
    case
      when p.repeatable then coalesce(
        (
          select max(x.occurrence) + 1
          from dripdrop.step_executions as x
          where x.enrollment_id = p.enrollment_id and x.step_id = p.step_id
        ),
        0
      )
      else 0
    end,
    d.channel,
    coalesce(e.due_at, d.timeout_at, d.due_at),
    case
      when d.trigger_event is null or e.id is not null then coalesce(e.due_at, d.due_at)
      else d.timeout_at
    end,
    case when d.trigger_event is not null and e.id is null then 'event' end,
    case when e.id is null then d.trigger_event end,
    e.id
  from person as p
  join due as d
    on d.step_id = p.step_id
    and d.time_zone = p.time_zone
    and d.counted_from = p.counted_from
  -- A step that waits for an event since enrolment may find that it has happened.
  left join lateral (
    select
      v.id,
      greatest(
        _plan_steps.at, dripdrop._next_time(d.timing, d.time_zone, v.occurred_at, d.tenant_key)
      ) as due_at
    from (
      select n as enrollment
      from dripdrop.enrollments as n
      where n.id = p.enrollment_id and p.since_enrollment
      offset 0
    ) as n
    cross join lateral dripdrop._first_event(
      n.enrollment, d.trigger_event, d.timing -> 'match', d.config, (n.enrollment).started_at
    ) as v
  ) as e on true
  on conflict on constraint step_executions_one_per_occurrence do nothing
$$;

comment on function dripdrop._plan_steps(uuid[], uuid[], timestamptz) is
  'Plans the next execution of each pair of an enrolment and a step.';

create or replace function dripdrop._planned_steps(steps uuid[])
returns table (
  id uuid,
  tenant_key text,
  channel text,
  timing jsonb,
  config jsonb,
  trigger_event text,
  since_enrollment boolean,
  repeatable boolean,
  time_zone text
)
language sql
stable
begin atomic
  select
    s.id,
    s.tenant_key,
    s.channel,
    s.timing,
    s.config,
    s.timing ->> 'trigger_event',
    s.timing ->> 'since' is not null,
    s.recurring
    or exists (
      select from dripdrop.step_transitions as t
      where t.sequence_version_id = s.sequence_version_id
    )
    or exists (
      select from dripdrop.steps as n
      where n.sequence_version_id = s.sequence_version_id and n.timing ? 'on_timeout'
    ),
    coalesce(q.time_zone, dripdrop._default_time_zone(q.tenant_key))
  from dripdrop.steps as s
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  join dripdrop.sequences as q on q.id = v.sequence_id
  where s.id in (select unnest(_planned_steps.steps));
end;

comment on function dripdrop._planned_steps(uuid[]) is
  'What planning needs to know of steps; repeatable: an enrolment may come to it more than once.';

-- The event that set the enrolment off is one that has happened since.
create or replace function dripdrop._first_event(
  enrollment dripdrop.enrollments,
  event_key text,
  match jsonb,
  config jsonb,
  began timestamptz
)
returns table (id uuid, occurred_at timestamptz, event dripdrop.events)
language sql
stable
begin atomic
  select v.id, v.occurred_at, v
  from dripdrop.events as v
  where v.subscriber_id = (enrollment).subscriber_id
    and v.event_key = _first_event.event_key
    and v.subscriber_type = (enrollment).subscriber_type
    and v.tenant_key is not distinct from (enrollment).tenant_key
    and (v.enrollment_id = (enrollment).id or v.enrollment_id is null)
    and v.occurred_at >= dripdrop._events_since(enrollment)
    and (
      v.id = (enrollment).event_id
      or dripdrop._counts_for(v, (enrollment).call_number, _first_event.began)
      and dripdrop._is_news(v, _first_event.config)
    )
    and dripdrop._event_matches(v.event_data, _first_event.match, (enrollment).data)
  order by v.occurred_at
  limit 1;
end;

comment on function dripdrop._first_event(
  dripdrop.enrollments, text, jsonb, jsonb, timestamptz
) is
  'The first such event that counts for an enrolment since a time, or no row.';
