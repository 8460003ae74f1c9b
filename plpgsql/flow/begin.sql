-- Where enrolments begin: at the step that is named, where the first entry transition that matches
-- leads, or at the first step by position; and the side steps that keep a schedule.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._begin(
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
  if _begin.starting_step is null and exists (
    select from dripdrop.step_transitions as t
    where t.sequence_version_id = _begin.sequence_version_id and t.from_step_id is null
  ) then
    select
      array_agg(e.id) filter (where t.to_step_id is not null),
      array_agg(t.to_step_id) filter (where t.to_step_id is not null),
      array_agg(e.id) filter (where t.id is not null and t.to_step_id is null),
      array_agg(e.id) filter (where t.id is null)
    into v_enrollments, v_steps, v_completed, v_unrouted
    from dripdrop.enrollments as e
    left join lateral (
      select n.id, n.to_step_id
      from dripdrop.step_transitions as n
      where n.sequence_version_id = _begin.sequence_version_id
        and n.from_step_id is null
        and dripdrop._matches(
          n,
          array(
            select c
            from dripdrop.conditions as c
            where c.transition_id = n.id
            order by c.position, c.id
          ),
          e, null, _begin.at
        )
      order by n.priority
      limit 1
    ) as t on true
    where e.id = any (_begin.enrollments);
  else
    select array_agg(e.id), array_agg(s.id) into v_enrollments, v_steps
    from unnest(_begin.enrollments) as e (id)
    cross join (
      select coalesce(
        _begin.starting_step,
        (
          select n.id
          from dripdrop.steps as n
          where n.sequence_version_id = _begin.sequence_version_id
            and n.position is not null
            and n.active
            and not n.recurring
          order by n.position
          limit 1
        )
      ) as id
    ) as s
    where s.id is not null;
  end if;
  perform dripdrop._plan(v_enrollments, v_steps, _begin.at);

  select array_agg(e.id), array_agg(s.id) into v_enrollments, v_steps
  from unnest(_begin.enrollments) as e (id)
  cross join dripdrop.steps as s
  where s.sequence_version_id = _begin.sequence_version_id
    and s.recurring
    and s.timing ->> 'type' = 'cron'
    and s.active;
  perform dripdrop._plan(v_enrollments, v_steps, _begin.at);

  if v_completed is not null then
    perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _begin.at);
  end if;
  if v_unrouted is not null then
    perform dripdrop._end_enrollments(v_unrouted, 'completed', 'no_transition', _begin.at);
  end if;
end
$$;

comment on function dripdrop._begin(uuid, uuid[], uuid, timestamptz) is
  'Plans the first steps of new enrolments.';
