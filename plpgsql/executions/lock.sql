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

-- Whoever holds an execution without its enrolment, such as a claim, must not wait for either: two
-- that do could wait for each other. What is had here can be carried out without waiting, the end
-- of the enrolment too, which stops all that has not left.
--
-- locks   the enrolments, then what has not left of them, skipping what is locked
create or replace function dripdrop._try_enrollments(executions uuid[])
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollments uuid[] := array(
    select e.id
    from dripdrop.enrollments as e
    where e.id in (
      select x.enrollment_id from dripdrop.step_executions as x where x.id = any (executions)
    )
    for no key update skip locked
  );
  v_open uuid[] := array(
    select x.id
    from dripdrop.step_executions as x
    where x.enrollment_id = any (v_enrollments)
      and x.state in ('scheduled', 'queued', 'rendered')
    for no key update skip locked
  );
begin
  return array(
    select x.id
    from dripdrop.step_executions as x
    where x.id = any (executions)
      and x.enrollment_id = any (v_enrollments)
      and not exists (
        select from dripdrop.step_executions as y
        where y.enrollment_id = x.enrollment_id
          and y.state in ('scheduled', 'queued', 'rendered')
          and y.id <> all (v_open)
      )
  );
end
$$;

comment on function dripdrop._try_enrollments(uuid[]) is
  'Those of some executions whose enrolments could be locked at once, with all that has not left.';
