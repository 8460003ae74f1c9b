-- A message that is being sent keeps its row: its result will be recorded, and goes no further.
--
-- locks   the enrolments, then their executions; callers hold the enrolments already
-- raises  09000 a trigger keeps an enrolment as it is
create or replace function dripdrop._end_enrollments(
  enrollments uuid[],
  state text,
  reason text,
  at timestamptz,
  failed uuid[] default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_open uuid[];
begin
  update dripdrop.enrollments as e
  set state = _end_enrollments.state,
      exit_reason = _end_enrollments.reason,
      failed_execution_id = case
        when failed is not null then (
          select x.id
          from dripdrop.step_executions as x
          where x.id = any (failed) and x.enrollment_id = e.id
          limit 1
        )
      end,
      ask_at = null,
      completed_at = case when _end_enrollments.state = 'completed' then _end_enrollments.at end,
      cancelled_at = case when _end_enrollments.state = 'cancelled' then _end_enrollments.at end,
      updated_at = _end_enrollments.at
  where e.id = any (_end_enrollments.enrollments)
    and e.state in ('active', 'paused');
  perform dripdrop._check_kept(array(
    select e.id
    from (
      -- By their ids: an index of those that are open would be read whole.
      select o.id, o.state
      from dripdrop.enrollments as o
      where o.id = any (_end_enrollments.enrollments)
      offset 0
    ) as e
    where e.state in ('active', 'paused')
  ));

  -- Renderers hold executions without their enrolments: they are met in id order.
  v_open := array(
    select x.id
    from dripdrop.step_executions as x
    where x.enrollment_id = any (_end_enrollments.enrollments)
      and x.state in ('scheduled', 'queued', 'rendered')
    order by x.id
    for no key update
  );
  if cardinality(v_open) > 0 then
    perform dripdrop._cancel_executions(v_open, _end_enrollments.reason, _end_enrollments.at);
  end if;
  perform dripdrop._wake_by_rival(_end_enrollments.enrollments, _end_enrollments.at);
end
$$;

comment on function dripdrop._end_enrollments(uuid[], text, text, timestamptz, uuid[]) is
  'Ends enrolments and cancels what has not left; failed: the executions whose failure ends them.';
