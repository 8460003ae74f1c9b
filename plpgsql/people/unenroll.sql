-- locks   the subscriber's enrolments, in id order, then their executions
-- raises  ZD201 bad argument, ZD207 bad tenant key
create or replace function dripdrop.unenroll_subscriber(
  tenant_key text,
  subscriber_type text,
  subscriber_id anycompatible,
  reason text default 'unenrolled'
)
returns setof dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_open uuid[];
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_subscriber(subscriber_type, subscriber_id::text);
  perform dripdrop._check_text(reason, 'reason');
  if coalesce(reason, '') = '' then
    raise exception 'a reason is needed' using
      errcode = 'ZD201', column = 'reason', hint = 'Leave it out for "unenrolled".';
  end if;
  perform dripdrop._lock_subscriber(tenant_key, subscriber_type, subscriber_id::text);
  v_open := array(
    select e.id
    from dripdrop._enrollments_of(subscriber_type, subscriber_id::text) as e
    where e.tenant_key is not distinct from unenroll_subscriber.tenant_key
      and e.state in ('active', 'paused')
  );
  perform dripdrop._end_enrollments(v_open, 'cancelled', reason, dripdrop._now());
  return query
  select e.* from dripdrop.enrollments as e where e.id = any (v_open) order by e.id;
end
$$;

comment on function dripdrop.unenroll_subscriber(text, text, anycompatible, text) is
  'Ends all open enrolments of a subscriber for good, and returns them; what has not left does '
  'not leave.';
