-- plain: everybody begins with it, at a time that only the clock says, and with nothing beside it.
create or replace function dripdrop._first_step(sequence_version_id uuid, starting_step uuid)
returns table (
  id uuid,
  tenant_key text,
  channel text,
  timing jsonb,
  config jsonb,
  time_zone text,
  address_form text,
  recipient_key text,
  plain boolean
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
    coalesce(q.time_zone, dripdrop._default_time_zone(q.tenant_key)),
    c.address_form,
    coalesce(s.config ->> 'recipient_key', c.recipient_key),
    s.timing ->> 'trigger_event' is null
    and not exists (
      select from dripdrop.steps as n
      where n.sequence_version_id = _first_step.sequence_version_id
        and n.recurring
        and n.timing ->> 'type' in ('cron', 'interval')
        and n.active
    )
    and (
      _first_step.starting_step is not null
      or not exists (
        select from dripdrop.step_transitions as t
        where t.sequence_version_id = _first_step.sequence_version_id and t.from_step_id is null
      )
    )
  from dripdrop.steps as s
  join dripdrop.channels as c on c.channel = s.channel
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  join dripdrop.sequences as q on q.id = v.sequence_id
  where s.sequence_version_id = _first_step.sequence_version_id
    and case
      when _first_step.starting_step is null
      then s.position is not null and s.active and not s.recurring
      else s.id = _first_step.starting_step
    end
  order by s.position
  limit 1;
end;

comment on function dripdrop._first_step(uuid, uuid) is
  'The step that is named, or else the first active one of a version by position, or no row; with '
  'what its planning and its recipient take.';

-- Where enrolments begin: at the step that is named, where the first entry transition that matches
-- leads, or at the first step by position; and the side steps that keep a schedule.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._plan_first(
  sequence_version_id uuid,
  enrollments uuid[],
  starting_step uuid,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollments uuid[];
  v_steps uuid[];
  v_completed uuid[];
  v_unrouted uuid[];
begin
  if _plan_first.starting_step is null and exists (
    select from dripdrop.step_transitions as t
    where t.sequence_version_id = _plan_first.sequence_version_id and t.from_step_id is null
  ) then
    select
      array_agg(r.enrollment_id) filter (where r.step_id is not null),
      array_agg(r.step_id) filter (where r.step_id is not null),
      array_agg(r.enrollment_id) filter (where r.matched and r.step_id is null),
      array_agg(r.enrollment_id) filter (where not r.matched)
    into v_enrollments, v_steps, v_completed, v_unrouted
    from dripdrop._entry_routes(
      _plan_first.sequence_version_id, _plan_first.enrollments, _plan_first.at
    ) as r;
  else
    select _plan_first.enrollments, array_fill(s.id, array[cardinality(_plan_first.enrollments)])
    into v_enrollments, v_steps
    from dripdrop._first_step(_plan_first.sequence_version_id, _plan_first.starting_step) as s;
  end if;
  if v_enrollments is not null then
    perform dripdrop._plan_steps(v_enrollments, v_steps, _plan_first.at);
  end if;

  select array_agg(e.id), array_agg(s.id) into v_enrollments, v_steps
  from dripdrop.steps as s
  cross join unnest(_plan_first.enrollments) as e (id)
  where s.sequence_version_id = _plan_first.sequence_version_id
    and s.recurring
    and s.timing ->> 'type' in ('cron', 'interval')
    and s.active;
  if v_enrollments is not null then
    perform dripdrop._plan_steps(v_enrollments, v_steps, _plan_first.at);
  end if;

  if v_completed is not null then
    perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _plan_first.at);
  end if;
  if v_unrouted is not null then
    perform dripdrop._end_enrollments(v_unrouted, 'completed', 'no_transition', _plan_first.at);
  end if;
end
$$;

comment on function dripdrop._plan_first(uuid, uuid[], uuid, timestamptz) is
  'Plans the first steps of new enrolments.';

-- One person, by few scalar statements: starting up one that takes sets costs more than it does.
-- What these do not do is left to _plan_first(), and what they would refuse to its caller.
--
-- locks   nothing new: the caller has made the enrolment
create or replace function dripdrop._plan_plain_step(
  enrollment dripdrop.enrollments,
  starting_step uuid,
  at timestamptz
)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step record;
  v_address text;
  v_time_zone text;
  v_due_at timestamptz;
begin
  select s.* into v_step
  from dripdrop._first_step(enrollment.sequence_version_id, starting_step) as s;
  v_address := dripdrop._address(v_step.address_form, enrollment.data ->> v_step.recipient_key);
  if v_step.plain is not true or not dripdrop._is_address(v_step.address_form, v_address) then
    return false;
  end if;
  v_time_zone := dripdrop._time_zone(enrollment.data, v_step.config, v_step.time_zone);
  v_due_at := dripdrop._planned_at(
    v_step.timing,
    v_time_zone,
    dripdrop._counts_from(
      v_step.timing, enrollment.data, v_time_zone, enrollment.started_at, at
    ),
    at,
    v_step.tenant_key
  );
  insert into dripdrop.step_executions (
    tenant_key, enrollment_id, step_id, channel, scheduled_for, due_at, inserted_at, updated_at
  )
  values (
    v_step.tenant_key, enrollment.id, v_step.id, v_step.channel, v_due_at, v_due_at, at, at
  );
  return true;
end
$$;

comment on function dripdrop._plan_plain_step(dripdrop.enrollments, uuid, timestamptz) is
  'Plans the first step of a new enrolment where that is the same for everybody; false, and '
  'nothing is planned, where it is not or the data holds no address for it.';
