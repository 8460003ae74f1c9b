create or replace function dripdrop._next_steps(executions uuid[])
returns table (
  id uuid,
  sequence_version_id uuid,
  recurring boolean,
  next_id uuid,
  on_timeout_id uuid,
  branches boolean,
  hop_limit int
)
language sql
stable
begin atomic
  select
    s.id,
    s.sequence_version_id,
    s.recurring,
    case
      when s.recurring then case when s.timing ->> 'type' in ('cron', 'interval') then s.id end
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
    end,
    (
      select n.id
      from dripdrop.steps as n
      where n.sequence_version_id = s.sequence_version_id
        and n.key = s.timing ->> 'on_timeout'
    ),
    exists(
      select from dripdrop.step_transitions as t
      where t.sequence_version_id = s.sequence_version_id and t.from_step_id = s.id
    ),
    coalesce((v.config ->> 'hop_limit')::int, 100)
  from dripdrop.steps as s
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  where s.id in (
    select x.step_id
    from dripdrop.step_executions as x
    where x.id = any(_next_steps.executions)
  );
end;

comment on function dripdrop._next_steps(uuid[]) is
  'The steps of executions, each with where it leads: by position or schedule, after a timeout; '
  'branches: its transitions decide.';

-- Where the first transition of a step that matches leads, or, when it has none, the next active
-- step by position, or the end. A side step leads nowhere; one that keeps a schedule comes again,
-- unless it is to come already, as after a replay.
create or replace function dripdrop._routes(
  executions uuid[],
  timed_out uuid[],
  at timestamptz
)
returns table (enrollment_id uuid, step_id uuid, way text)
language sql
stable
begin atomic
  with
  -- Once per step, not once per enrolment: a batch has many people and few steps.
  step as materialized (
    select * from dripdrop._next_steps(_routes.executions)
  ),
  branch as materialized (
    select t as transition, dripdrop._conditions_of(t.id) as conditions
    from step as s
    join dripdrop.step_transitions as t
      on t.sequence_version_id = s.sequence_version_id and t.from_step_id = s.id
    where s.branches
  ),
  ended as materialized (
    select
      x.enrollment_id,
      s.recurring,
      s.branches or x.id = any(_routes.timed_out) as jumps,
      s.hop_limit,
      case
        when s.on_timeout_id is not null and x.id = any(_routes.timed_out)
        then row(s.on_timeout_id, true)::dripdrop._route
        when s.branches then (
          select row((b.transition).to_step_id, true)::dripdrop._route
          from branch as b
          where (b.transition).from_step_id = s.id
            and dripdrop._matches(b.transition, b.conditions, e, x.hooks, _routes.at)
          order by (b.transition).priority
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
    where x.id = any(_routes.executions)
  )
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
    end
  from ended as n;
end;

comment on function dripdrop._routes(uuid[], uuid[], timestamptz) is
  'What follows executions that are over: next with a step, completed, no_transition or hop_limit; '
  'null for a side step that does not come again.';

create or replace function dripdrop._entry_routes(
  sequence_version_id uuid,
  enrollments uuid[],
  at timestamptz
)
returns table (enrollment_id uuid, matched boolean, step_id uuid)
language sql
stable
begin atomic
  with
  entry as materialized (
    select t as transition, dripdrop._conditions_of(t.id) as conditions
    from dripdrop.step_transitions as t
    where t.sequence_version_id = _entry_routes.sequence_version_id and t.from_step_id is null
  )
  select e.id, n.id is not null, n.to_step_id
  from dripdrop.enrollments as e
  left join lateral (
    select (y.transition).id, (y.transition).to_step_id
    from entry as y
    where dripdrop._matches(y.transition, y.conditions, e, null, _entry_routes.at)
    order by (y.transition).priority
    limit 1
  ) as n on true
  where e.id = any(_entry_routes.enrollments);
end;

comment on function dripdrop._entry_routes(uuid, uuid[], timestamptz) is
  'Where the first entry transition that matches leads each enrolment: to a step or, without one, '
  'to the end; matched is false where none does.';
