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
    select array_agg(e.id), array_agg(s.id) into v_enrollments, v_steps
    from (
      select coalesce(
        _plan_first.starting_step, dripdrop._first_step(_plan_first.sequence_version_id)
      ) as id
    ) as s
    cross join unnest(_plan_first.enrollments) as e (id)
    where s.id is not null;
  end if;
  perform dripdrop._plan_steps(v_enrollments, v_steps, _plan_first.at)
  where v_enrollments is not null;

  select array_agg(e.id), array_agg(s.id) into v_enrollments, v_steps
  from dripdrop.steps as s
  cross join unnest(_plan_first.enrollments) as e (id)
  where s.sequence_version_id = _plan_first.sequence_version_id
    and s.recurring
    and s.timing ->> 'type' = 'cron'
    and s.active;
  perform dripdrop._plan_steps(v_enrollments, v_steps, _plan_first.at)
  where v_enrollments is not null;

  perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _plan_first.at)
  where v_completed is not null;
  perform dripdrop._end_enrollments(v_unrouted, 'completed', 'no_transition', _plan_first.at)
  where v_unrouted is not null;
end
$$;

comment on function dripdrop._plan_first(uuid, uuid[], uuid, timestamptz) is
  'Plans the first steps of new enrolments.';

create or replace function dripdrop._first_step(sequence_version_id uuid)
returns uuid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select s.id
  from dripdrop.steps as s
  where s.sequence_version_id = _first_step.sequence_version_id
    and s.position is not null
    and s.active
    and not s.recurring
  order by s.position
  limit 1
$$;

comment on function dripdrop._first_step(uuid) is
  'The first active step of a version by position, or null.';
