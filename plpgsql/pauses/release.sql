-- Somebody has looked at it and wants it sent after all: it is as if it were planned for now.
--
-- locks   the enrolment, then the execution
-- raises  ZD106 unknown execution, ZD110 not held as stale
create or replace function dripdrop.release(tenant_key text, execution_id uuid)
returns dripdrop.step_executions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_execution dripdrop.step_executions := dripdrop._lock_execution(tenant_key, execution_id);
begin
  if v_execution.state <> 'scheduled'
    or v_execution.due_at is not null
    or v_execution.reason is distinct from 'stale'
  then
    raise exception 'the execution is %, not held as stale',
      dripdrop._quoted(concat_ws(', ', v_execution.state, v_execution.reason)) using
      errcode = 'ZD110',
      hint = 'resume_enrollment() and resume_sending() lift pauses; replay() repeats what failed.';
  end if;

  update dripdrop.step_executions as x
  set scheduled_for = v_now,
      due_at = v_now,
      reason = 'released',
      reason_at = v_now,
      updated_at = v_now
  where x.id = v_execution.id
  returning x.* into v_execution;
  return v_execution;
end
$$;

comment on function dripdrop.release(text, uuid) is
  'Lets a message go that its step''s on_stale holds: due now, and no longer stale.';
