-- Always by subscriber: statistics of a time when there were few enrolments make the planner
-- believe that those of a sequence are as few. Only what is asked for has a column of its own: a
-- parsed body that names all of a table's stands in the way of every change of it.
create or replace function dripdrop._enrollments_of(subscriber_type text, subscriber_id text)
returns table (
  id uuid,
  tenant_key text,
  sequence_id uuid,
  sequence_version_id uuid,
  entry_key text,
  state text,
  started_at timestamptz,
  enrollment dripdrop.enrollments
)
language sql
stable
parallel safe
begin atomic
  select
    e.id,
    e.tenant_key,
    e.sequence_id,
    e.sequence_version_id,
    e.entry_key,
    e.state,
    e.started_at,
    e
  from dripdrop.enrollments as e
  where e.subscriber_id = _enrollments_of.subscriber_id
    and e.subscriber_type = _enrollments_of.subscriber_type
  offset 0;
end;

comment on function dripdrop._enrollments_of(text, text) is
  'All enrolments of a subscriber, in every tenant and sequence.';
