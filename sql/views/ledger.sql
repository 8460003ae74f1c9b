-- The proof that nothing is lost: every row in it is out of place, so it must be empty.
create or replace view dripdrop.ledger
with (security_invoker = true) as
select
  e.tenant_key,
  e.id as enrollment_id,
  null::uuid as execution_id,
  'active enrolment with nothing to come' as problem
from dripdrop.enrollments as e
where e.state = 'active'
  and not exists (
    select from dripdrop.step_executions as x where x.enrollment_id = e.id and x.ended_at is null
  )
  and not exists (
    select from dripdrop.steps as s
    where s.sequence_version_id = e.sequence_version_id
      and s.recurring
      and s.timing ->> 'type' = 'event'
  )
union all
select x.tenant_key, x.enrollment_id, x.id, 'message to come of an enrolment that has ended'
from dripdrop.step_executions as x
join dripdrop.enrollments as e on e.id = x.enrollment_id
where e.state in ('completed', 'cancelled')
  and x.state in ('scheduled', 'queued', 'rendered')
union all
select x.tenant_key, x.enrollment_id, x.id, 'message due of an enrolment that is paused'
from dripdrop.step_executions as x
join dripdrop.enrollments as e on e.id = x.enrollment_id
where e.state = 'paused'
  and (x.due_at is not null or x.state in ('queued', 'rendered'))
union all
select x.tenant_key, x.enrollment_id, x.id, 'scheduled message that nothing will look at'
from dripdrop.step_executions as x
join dripdrop.enrollments as e on e.id = x.enrollment_id
where x.state = 'scheduled'
  and x.due_at is null
  and e.state = 'active'
  and coalesce(x.waits_for = 'enrollment', true)
union all
select x.tenant_key, x.enrollment_id, x.id, 'claim whose lease ran out, not taken back'
from dripdrop.step_executions as x
where x.due_at is null
  and x.ended_at is null
  and x.waits_for is null
  and x.state = 'sending'
  and x.lease_until < dripdrop._now() - interval '10 minutes'
union all
select x.tenant_key, x.enrollment_id, x.id, 'message under way that no queue points to'
from dripdrop._without_pointer() as w
join dripdrop.step_executions as x on x.id = w.execution_id;

comment on view dripdrop.ledger is
  'Rows out of place: executions that are neither to come, under way nor over, each with its '
  'problem. Always empty.';
comment on column dripdrop.ledger.tenant_key is 'The tenant.';
comment on column dripdrop.ledger.enrollment_id is 'The enrolment.';
comment on column dripdrop.ledger.execution_id is 'The execution, where one is concerned.';
comment on column dripdrop.ledger.problem is 'What is out of place.';
