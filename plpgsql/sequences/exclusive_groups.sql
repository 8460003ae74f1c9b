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
