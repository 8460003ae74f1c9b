-- raises  ZD106 unknown execution
create or replace function dripdrop._lock_execution(tenant_key text, execution_id uuid)
returns dripdrop.step_executions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions;
begin
  perform from dripdrop.enrollments as e
  where e.id = (
    select x.enrollment_id
    from dripdrop.step_executions as x
    where x.id = _lock_execution.execution_id
      and x.tenant_key is not distinct from _lock_execution.tenant_key
  )
  for no key update;
  select x.* into v_execution
  from dripdrop.step_executions as x
  where x.id = _lock_execution.execution_id
    and x.tenant_key is not distinct from _lock_execution.tenant_key
  for no key update;
  if not found then
    raise exception 'execution "%" not found', execution_id using
      errcode = 'ZD106', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_execution;
end
$$;

comment on function dripdrop._lock_execution(text, uuid) is
  'An execution of the tenant, locked after its enrolment, or ZD106.';
