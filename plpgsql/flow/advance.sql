-- What comes after a step that is over. Only active enrolments go on; a paused one waits here until
-- resume_enrollment() calls again.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._advance(
  executions uuid[],
  at timestamptz,
  timed_out uuid[] default '{}'
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
  v_looping uuid[];
begin
  select
    array_agg(r.enrollment_id) filter (where r.way = 'next'),
    array_agg(r.step_id) filter (where r.way = 'next'),
    array_agg(r.enrollment_id) filter (where r.way = 'completed'),
    array_agg(r.enrollment_id) filter (where r.way = 'no_transition'),
    array_agg(r.enrollment_id) filter (where r.way = 'hop_limit')
  into v_enrollments, v_steps, v_completed, v_unrouted, v_looping
  from dripdrop._routes(executions, timed_out, _advance.at) as r;

  perform dripdrop._plan_steps(v_enrollments, v_steps, _advance.at) where v_enrollments is not null;
  perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _advance.at)
  where v_completed is not null;
  perform dripdrop._end_enrollments(v_unrouted, 'completed', 'no_transition', _advance.at)
  where v_unrouted is not null;
  perform dripdrop._end_enrollments(v_looping, 'cancelled', 'hop_limit', _advance.at)
  where v_looping is not null;
end
$$;

comment on function dripdrop._advance(uuid[], timestamptz, uuid[]) is
  'Plans what follows executions that are over, or ends their enrolments; timed_out: those whose '
  'event did not happen in time.';

-- A step that failed for good: its setting on_max_retry says whether the enrolment goes on or ends.
-- The failure of a side step ends nothing.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._advance_failed(executions uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ending uuid[];
  v_going_on uuid[];
begin
  select
    array_agg(x.enrollment_id)
      filter (where s.config ->> 'on_max_retry' is distinct from 'continue' and not s.recurring),
    array_agg(x.id) filter (where s.config ->> 'on_max_retry' = 'continue' or s.recurring)
  into v_ending, v_going_on
  from dripdrop.step_executions as x
  join dripdrop.steps as s on s.id = x.step_id
  where x.id = any (executions);

  if v_ending is not null then
    perform dripdrop._end_enrollments(
      v_ending, 'cancelled', 'step_failed', _advance_failed.at, _advance_failed.executions
    );
  end if;
  if v_going_on is not null then
    perform dripdrop._advance(v_going_on, _advance_failed.at);
  end if;
end
$$;

comment on function dripdrop._advance_failed(uuid[], timestamptz) is
  'Ends or continues the enrolments of executions that failed for good.';
