-- Of the sequences of an exclusive group a subscriber hears from one at a time: the one with the
-- highest priority, else the one they entered first.
create or replace function dripdrop._rival(enrollment dripdrop.enrollments)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select q.key
  from dripdrop.sequences as own
  cross join lateral dripdrop._enrollments_of(
    enrollment.subscriber_type, enrollment.subscriber_id
  ) as e
  join dripdrop.sequences as q
    on q.id = e.sequence_id
    and q.exclusive_group = own.exclusive_group
    and (q.tenant_key = own.tenant_key or (q.tenant_key is null and own.tenant_key is null))
  where own.id = enrollment.sequence_id
    and e.state = 'active'
    and e.sequence_id <> own.id
    and (-q.priority, e.started_at, e.id) < (-own.priority, enrollment.started_at, enrollment.id)
  order by q.priority desc, e.started_at, e.id
  limit 1
$$;

comment on function dripdrop._rival(dripdrop.enrollments) is
  'The sequence of its exclusive group that a subscriber is to hear from instead, or null.';

-- What waits for enrolments that have ended, or rest, is looked at again. Whatever is locked at
-- this moment is not waited for: it comes due again by itself.
--
-- locks   the executions that wait, skipping what is locked
create or replace function dripdrop._release_rivals(enrollments uuid[], at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update dripdrop.step_executions as x
  set due_at = _release_rivals.at,
      updated_at = _release_rivals.at
  where x.id in (
    select h.id
    from dripdrop.enrollments as e
    join dripdrop.sequences as q on q.id = e.sequence_id and q.exclusive_group is not null
    cross join lateral dripdrop._enrollments_of(e.subscriber_type, e.subscriber_id) as o
    join dripdrop.step_executions as h
      on h.enrollment_id = o.id
      and h.state = 'scheduled'
      and h.due_at > _release_rivals.at
      and h.reason = 'exclusive_group'
    where e.id = any (_release_rivals.enrollments)
      and o.state = 'active'
      and (o.tenant_key = e.tenant_key or (o.tenant_key is null and e.tenant_key is null))
    for no key update of h skip locked
  )
$$;

comment on function dripdrop._release_rivals(uuid[], timestamptz) is
  'Makes due what an exclusive group put off for these enrolments.';
