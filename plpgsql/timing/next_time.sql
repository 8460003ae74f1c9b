-- Days, weeks and business days pass on the wall clock of the subscriber, so that 09:00 stays 09:00
-- over a change to or from summer time; seconds, minutes and hours are absolute. A schedule that
-- names its own zone keeps to it. A plain expression, so that it is inlined per row.
create or replace function dripdrop._next_time(
  timing jsonb,
  time_zone text,
  from_time timestamptz,
  tenant_key text default null
)
returns timestamptz
language sql
stable
parallel safe
return case
  when timing ->> 'type' = 'cron' then
    dripdrop._cron_next(
      timing ->> 'cron_expression', coalesce(timing ->> 'timezone', time_zone), from_time, 'timing'
    )
  when timing ->> 'delay_unit' is null then from_time
  when timing ->> 'delay_unit' in ('days', 'weeks') then
    (
      from_time at time zone time_zone
      + ((timing ->> 'delay_amount') || ' ' || (timing ->> 'delay_unit'))::interval
    ) at time zone time_zone
  when timing ->> 'delay_unit' = 'business_days' then
    dripdrop._business_days_after(
      from_time,
      (timing ->> 'delay_amount')::int,
      time_zone,
      coalesce(timing ->> 'calendar', 'default'),
      tenant_key
    )
  else from_time + ((timing ->> 'delay_amount') || ' ' || (timing ->> 'delay_unit'))::interval
end;

comment on function dripdrop._next_time(jsonb, text, timestamptz, text) is
  'When a step with this timing is due for a subscriber in a time zone, counted from a time: that '
  'of the step before or, if it waits for an event, that of the event.';

-- Like a delay: days and what is longer pass on the wall clock, hours and what is shorter are
-- absolute. Without days the wall clock stays out of it, which may show from_time twice.
create or replace function dripdrop._timeout_at(
  timing jsonb,
  time_zone text,
  from_time timestamptz
)
returns timestamptz
language sql
stable
parallel safe
return
  case
    when date_trunc('day', (timing ->> 'timeout')::interval) = interval '0' then from_time
    else
      (
        from_time at time zone time_zone + date_trunc('day', (timing ->> 'timeout')::interval)
      ) at time zone time_zone
  end
  + ((timing ->> 'timeout')::interval - date_trunc('day', (timing ->> 'timeout')::interval));

comment on function dripdrop._timeout_at(jsonb, text, timestamptz) is
  'When the wait for an event ends that began at a time, for a subscriber in a time zone; null if '
  'it never does.';

-- raises  ZD201 no time to count from, ZD203 bad timing, ZD204 unknown time zone
create or replace function dripdrop.next_time(
  timing jsonb,
  time_zone text,
  from_time timestamptz
)
returns timestamptz
language plpgsql
stable
strict
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(timing, 'timing');
  perform dripdrop._check_time_zone(time_zone, 'time_zone');
  perform dripdrop._check_time(from_time, 'from_time');
  return dripdrop._next_time(dripdrop._canonical_timing(timing), time_zone, from_time);
end
$$;

comment on function dripdrop.next_time(jsonb, text, timestamptz) is
  'When a step with this timing is due, counted from a time, for a subscriber in a time zone; for '
  'one that waits for an event, counted from the event. timing: as in create_step(). A schedule '
  'with a timezone of its own keeps to that. Business days are less the holidays of all tenants.';
