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
  if v_execution.waits_for is distinct from 'release' then
    raise exception 'the execution is %, not held as stale',
      dripdrop._quoted(concat_ws(', ', v_execution.state, v_execution.reason)) using
      errcode = 'ZD110',
      hint = 'resume_enrollment() and resume_sending() lift pauses; replay() repeats what failed.';
  end if;

  perform dripdrop._make_due(array[v_execution.id], v_now);
  select x.* into v_execution from dripdrop.step_executions as x where x.id = v_execution.id;
  return v_execution;
end
$$;

comment on function dripdrop.release(text, uuid) is
  'Lets a message go that its step''s on_stale holds: due now, and no longer stale.';
