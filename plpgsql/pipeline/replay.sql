-- A replay is a new message: new words, a new idempotency key, the retries from the start, due now.
-- If this failure ended the enrolment, the enrolment goes on, and its side steps with it.
--
-- locks   the enrolment, then the execution
-- raises  ZD106 unknown execution, ZD110 not failed, or its enrolment ended otherwise or anew
create or replace function dripdrop.replay(tenant_key text, execution_id uuid)
returns dripdrop.step_executions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_execution dripdrop.step_executions := dripdrop._lock_execution(tenant_key, execution_id);
  v_enrollment dripdrop.enrollments;
begin
  select e.* into v_enrollment
  from dripdrop.enrollments as e
  where e.id = v_execution.enrollment_id;
  perform dripdrop._check_replayable(v_execution, v_enrollment);

  update dripdrop.enrollments as e
  set state = 'active',
      -- Another entry may have begun meanwhile.
      alone = false,
      exit_reason = null,
      failed_execution_id = null,
      cancelled_at = null,
      updated_at = v_now
  where e.id = v_enrollment.id;

  v_execution := dripdrop._reopen_execution(v_execution.id, v_now);

  perform dripdrop._advance(
    array(
      select distinct on (x.step_id) x.id
      from dripdrop.step_executions as x
      join dripdrop.steps as s
        on s.id = x.step_id
        and s.recurring
        and s.sequence_version_id = v_enrollment.sequence_version_id
      where x.enrollment_id = v_enrollment.id
      order by x.step_id, x.id
    ),
    v_now
  );
  return v_execution;
exception
  when unique_violation then
    raise exception 'the subscriber has been enrolled again since' using
      errcode = 'ZD110', hint = 'The newer enrolment is the one to look at.';
end
$$;

comment on function dripdrop.replay(text, uuid) is
  'Sends a failed step again, as a new message, and revives the enrolment if the failure ended it.';

-- raises  ZD110 not failed, or its enrolment goes on or ended otherwise
create or replace function dripdrop._check_replayable(
  execution dripdrop.step_executions,
  enrollment dripdrop.enrollments
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_recurring boolean;
begin
  select s.recurring into v_recurring
  from dripdrop.steps as s
  where s.id = execution.step_id;
  if execution.state <> 'failed' then
    raise exception 'the execution is %, not failed', dripdrop._quoted(execution.state) using
      errcode = 'ZD110',
      hint = 'Only what failed can be replayed; resolve() settles what is unknown.';
  end if;
  if enrollment.state <> 'active'
    and enrollment.failed_execution_id is distinct from execution.id
    or not v_recurring
    and exists (
      select from dripdrop.step_executions as x
      join dripdrop.steps as s on s.id = x.step_id and not s.recurring
      where x.enrollment_id = enrollment.id and x.id > execution.id
    )
  then
    raise exception 'the enrolment has gone on or has ended: %',
      coalesce(enrollment.exit_reason, enrollment.state) using
      errcode = 'ZD110',
      hint = 'A failed step is replayed while its enrolment waits for it, or where the failure '
        'ended it.';
  end if;
end
$$;

comment on function dripdrop._check_replayable(
  dripdrop.step_executions, dripdrop.enrollments
) is
  'Raises ZD110 unless this is what failed last, and its enrolment waits for it or ended with it.';
