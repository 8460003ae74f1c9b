-- Whatever should have been made due and was not: its row was locked at that moment, or a tick that
-- had begun before put it off afterwards.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._look_back(at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._attempt('_wake_all_held', at);
  perform dripdrop._attempt('_wake_missed', at);
end
$$;

comment on function dripdrop._look_back(timestamptz) is
  'Makes due what waits for something that has happened.';

create or replace function dripdrop._wake_all_held(at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._wake_held(at, array['pause', 'sender', 'circuit', 'rest'], true)
$$;

comment on function dripdrop._wake_all_held(timestamptz) is
  'Makes due whatever waits for a pause, a sender or a circuit that holds it no more.';

-- A transaction that enrols somebody does not see an event that is tracked meanwhile, and whoever
-- tracks it does not see the enrolment: a first step that waits would miss it. So it is looked for
-- again, for as long as transactions last.
--
-- locks   enrolments and their executions, skipping what is locked
create or replace function dripdrop._wake_missed(at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_missed record;
begin
  for v_missed in
    select x.enrollment_id, m.event
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.steps as s on s.id = x.step_id
    cross join lateral (
      select v.event
      from dripdrop._first_event(
        e, x.awaited_event, s.timing -> 'match', s.config, e.started_at
      ) as v
    ) as m
    where x.awaited_event is not null and x.ended_at is null
      and x.inserted_at > _wake_missed.at - interval '10 minutes'
      and (s.timing ->> 'since' is not null or x.inserted_at = e.started_at)
    for no key update of e, x skip locked
  loop
    perform dripdrop._wake_by_event(
      array[v_missed.event], array[v_missed.enrollment_id], _wake_missed.at
    );
  end loop;
end
$$;

comment on function dripdrop._wake_missed(timestamptz) is
  'Wakes first steps whose event was tracked while their enrolment was being committed.';
