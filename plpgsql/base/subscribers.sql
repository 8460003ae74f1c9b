-- Always by subscriber: statistics of a time when there were few enrolments make the planner
-- believe that those of a sequence are as few.
create or replace function dripdrop._enrollments_of(subscriber_type text, subscriber_id text)
returns setof dripdrop.enrollments
language sql
stable
parallel safe
begin atomic
  select e.*
  from dripdrop.enrollments as e
  where e.subscriber_id = _enrollments_of.subscriber_id
    and e.subscriber_type = _enrollments_of.subscriber_type
  offset 0;
end;

comment on function dripdrop._enrollments_of(text, text) is
  'All enrolments of a subscriber, in every tenant and sequence.';
