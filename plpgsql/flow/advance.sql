-- What comes after a step that is over: where its first transition that matches leads, or, when it
-- has none, the next active step by position, or the end. A side step leads nowhere; one that keeps
-- a schedule comes again, unless it is to come already, as after a replay. Only active enrolments
-- go on; a paused one waits here until resume_enrollment() calls again.
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
  with
  -- Once per step, not once per enrolment: a batch has many people and few steps.
  step as materialized (
    select
      s.id,
      s.sequence_version_id,
      s.recurring,
      case
        when s.recurring then case when s.timing ->> 'type' = 'cron' then s.id end
        else (
          select n.id
          from dripdrop.steps as n
          where n.sequence_version_id = s.sequence_version_id
            and n.position > s.position
            and n.active
            and not n.recurring
          order by n.position
          limit 1
        )
      end as next_id,
      (
        select n.id
        from dripdrop.steps as n
        where n.sequence_version_id = s.sequence_version_id
          and n.key = s.timing ->> 'on_timeout'
      ) as on_timeout_id,
      exists (
        select from dripdrop.step_transitions as t
        where t.sequence_version_id = s.sequence_version_id and t.from_step_id = s.id
      ) as branches,
      coalesce((v.config ->> 'hop_limit')::int, 100) as hop_limit
    from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    where s.id in (
      select x.step_id
      from dripdrop.step_executions as x
      where x.id = any (executions)
    )
  ),
  ended as materialized (
    select
      x.enrollment_id,
      s.recurring,
      s.branches or x.id = any (timed_out) as jumps,
      s.hop_limit,
      case
        when s.on_timeout_id is not null and x.id = any (timed_out)
        then row(s.on_timeout_id, true)::dripdrop._route
        when s.branches then (
          select row(t.to_step_id, true)::dripdrop._route
          from dripdrop.step_transitions as t
          where t.sequence_version_id = s.sequence_version_id
            and t.from_step_id = s.id
            and dripdrop._matches(
              t,
              array(
                select c
                from dripdrop.conditions as c
                where c.transition_id = t.id
                order by c.position, c.id
              ),
              e, x.hooks, _advance.at
            )
          order by t.priority
          limit 1
        )
        when s.recurring and exists (
          select from dripdrop.step_executions as y
          where y.enrollment_id = x.enrollment_id
            and y.step_id = x.step_id
            and y.ended_at is null
        )
        then null
        else row(s.next_id, true)::dripdrop._route
      end as route
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id and e.state = 'active'
    join step as s on s.id = x.step_id
    where x.id = any (executions)
  ),
  going_on as (
    select
      n.enrollment_id,
      (n.route).step_id,
      case
        when (n.route).step_id is not null then
          case
            when n.jumps and n.hop_limit <= (
              select count(*)
              from dripdrop.step_executions as x
              where x.enrollment_id = n.enrollment_id and x.step_id = (n.route).step_id
            )
            then 'hop_limit'
            else 'next'
          end
        when n.recurring then null
        when (n.route).found then 'completed'
        else 'no_transition'
      end as way
    from ended as n
  )
  select
    array_agg(g.enrollment_id) filter (where g.way = 'next'),
    array_agg(g.step_id) filter (where g.way = 'next'),
    array_agg(g.enrollment_id) filter (where g.way = 'completed'),
    array_agg(g.enrollment_id) filter (where g.way = 'no_transition'),
    array_agg(g.enrollment_id) filter (where g.way = 'hop_limit')
  into v_enrollments, v_steps, v_completed, v_unrouted, v_looping
  from going_on as g;

  if v_enrollments is not null then
    perform dripdrop._plan(v_enrollments, v_steps, _advance.at);
  end if;
  if v_completed is not null then
    perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _advance.at);
  end if;
  if v_unrouted is not null then
    perform dripdrop._end_enrollments(v_unrouted, 'completed', 'no_transition', _advance.at);
  end if;
  if v_looping is not null then
    perform dripdrop._end_enrollments(v_looping, 'cancelled', 'hop_limit', _advance.at);
  end if;
end
$$;

comment on function dripdrop._advance(uuid[], timestamptz, uuid[]) is
  'Plans what follows executions that are over, or ends their enrolments; timed_out: those whose '
  'event did not happen in time.';

-- A step that failed for good: its setting on_max_retry says whether the enrolment goes on or ends.
-- The failure of a side step ends nothing.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._give_up(executions uuid[], at timestamptz)
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
    perform dripdrop._end_enrollments(v_ending, 'cancelled', 'step_failed', _give_up.at);
  end if;
  if v_going_on is not null then
    perform dripdrop._advance(v_going_on, _give_up.at);
  end if;
end
$$;

comment on function dripdrop._give_up(uuid[], timestamptz) is
  'Ends or continues the enrolments of executions that failed for good.';
