-- What comes after a step that is over: the next active step by position, or the end.
-- Only active enrolments go on; a paused one waits here until resume_enrollment() calls again.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._advance(executions uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_completed uuid[];
begin
  with
  -- Once per step, not once per enrolment: a batch has many people and few steps.
  step as materialized (
    select
      s.id, next.id as next_id, next.channel, next.timing, next.config, q.time_zone
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    left join lateral (
      select n.id, n.channel, n.timing, n.config
      from dripdrop.steps as n
      where n.sequence_version_id = s.sequence_version_id
        and n.position > s.position
        and n.active
      order by n.position
      limit 1
    ) as next on true
    where s.id in (
      select x.step_id
      from dripdrop.step_executions as x
      where x.id = any (executions)
    )
  ),
  going_on as materialized (
    select
      e.id as enrollment_id,
      e.tenant_key,
      s.next_id,
      s.channel,
      dripdrop._next_time(
        s.timing, dripdrop._time_zone(e.data, s.config, s.time_zone), _advance.at
      ) as due_at
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id and e.state = 'active'
    join step as s on s.id = x.step_id
    where x.id = any (executions)
  ),
  planned as (
    insert into dripdrop.step_executions (
      tenant_key, enrollment_id, step_id, channel, scheduled_for, due_at
    )
    select g.tenant_key, g.enrollment_id, g.next_id, g.channel, g.due_at, g.due_at
    from going_on as g
    where g.next_id is not null
    on conflict on constraint step_executions_one_per_occurrence do nothing
  )
  select array_agg(g.enrollment_id) into v_completed
  from going_on as g
  where g.next_id is null;

  if v_completed is not null then
    perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _advance.at);
  end if;
end
$$;

comment on function dripdrop._advance(uuid[], timestamptz) is
  'Plans what follows executions that are over, or completes their enrolments.';

-- A step that failed for good: its setting on_max_retry says whether the enrolment goes on or ends.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._give_up(executions uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_ending uuid[];
  v_going_on uuid[];
begin
  select
    array_agg(x.enrollment_id)
      filter (where s.config ->> 'on_max_retry' is distinct from 'continue'),
    array_agg(x.id) filter (where s.config ->> 'on_max_retry' = 'continue')
  into v_ending, v_going_on
  from dripdrop.step_executions as x
  join dripdrop.steps as s on s.id = x.step_id
  where x.id = any (executions);

  if v_ending is not null then
    perform dripdrop._end_enrollments(v_ending, 'cancelled', 'step_failed', _give_up.at);
  end if;
  if v_going_on is not null then
    perform dripdrop._advance(v_going_on, _give_up.at);
  end if;
end
$$;

comment on function dripdrop._give_up(uuid[], timestamptz) is
  'Ends or continues the enrolments of executions that failed for good.';
