-- Whether an event counts for an enrolment. The order of the calls decides and not the time: what
-- was tracked before enroll() was called is none of the enrolment's, whichever transaction commits
-- first, but for the event that set it off. Of what was tracked after it, nothing counts that
-- happened before it, however late it is reported. began: when the enrolment or the wait did.
create or replace function dripdrop._counts_for(
  event dripdrop.events,
  enrollment_number bigint,
  began timestamptz
)
returns boolean
language sql
immutable
parallel safe
return (event).call_number > enrollment_number
and ((event).occurred_at >= began or (event).occurred_at = (event).inserted_at);

comment on function dripdrop._counts_for(dripdrop.events, bigint, timestamptz) is
  'Whether an event was tracked after an enrolment, and happened after something began.';

-- What is reported after all is told nobody as if it were new.
create or replace function dripdrop._is_news(event dripdrop.events, config jsonb)
returns boolean
language sql
immutable
parallel safe
return coalesce(
  (event).inserted_at - (event).occurred_at <= dripdrop._stale_after(config), true
);

comment on function dripdrop._is_news(dripdrop.events, jsonb) is
  'Whether an event was reported no later than a step''s stale_after after it had happened.';

-- A bound for an index: whoever waited for a lock has the time of the call.
create or replace function dripdrop._events_since(enrollment dripdrop.enrollments)
returns timestamptz
language sql
stable
parallel safe
return least(
  (enrollment).started_at,
  case
    when (enrollment).event_id is not null
    then (select v.occurred_at from dripdrop.events as v where v.id = (enrollment).event_id)
  end
) - interval '1 day';

comment on function dripdrop._events_since(dripdrop.enrollments) is
  'A time before which nothing happened that counts for an enrolment.';
