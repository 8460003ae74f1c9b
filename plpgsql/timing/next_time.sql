-- Days, weeks, months and business days pass on the wall clock of the subscriber, so that 09:00
-- stays 09:00 over a change to or from summer time; seconds, minutes and hours are absolute. A
-- month after the 31st is the last day of a shorter month. A plain expression, which is inlined
-- per row.
create or replace function dripdrop._delayed(
  timing jsonb,
  time_zone text,
  from_time timestamptz,
  tenant_key text
)
returns timestamptz
language sql
stable
parallel safe
return case
  when timing ->> 'delay_unit' is null then from_time
  when timing ->> 'delay_unit' in ('days', 'weeks', 'months') then
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

comment on function dripdrop._delayed(jsonb, text, timestamptz, text) is
  'A time and the delay of a timing after it, or before it, for a subscriber in a time zone.';

-- A schedule that names its own zone keeps to it. What comes again after a while is counted from a
-- time of its own. Inlined like what it is made of.
create or replace function dripdrop._next_time(
  timing jsonb,
  time_zone text,
  from_time timestamptz,
  tenant_key text default null,
  counted_from timestamptz default null
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
  when timing ->> 'type' = 'interval' then
    dripdrop._interval_next(
      timing, coalesce(timing ->> 'timezone', time_zone), coalesce(counted_from, from_time),
      from_time
    )
  when timing ? 'at' then
    dripdrop._first_instant(
      (
        dripdrop._delayed(timing, time_zone, from_time, tenant_key) at time zone time_zone
      )::date + (timing ->> 'at')::time,
      time_zone
    )
  else dripdrop._delayed(timing, time_zone, from_time, tenant_key)
end;

comment on function dripdrop._next_time(jsonb, text, timestamptz, text, timestamptz) is
  'When a step with this timing is due for a subscriber in a time zone, counted from a time: that '
  'of the step before, of the event that it waits for or the one in the data that it names. '
  'counted_from: the start of what comes again after a while.';

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
  return dripdrop._next_time(
    dripdrop._canonical_timing(timing), time_zone, from_time, null, from_time
  );
end
$$;

comment on function dripdrop.next_time(jsonb, text, timestamptz) is
  'When a step with this timing is due, counted from a time, for a subscriber in a time zone; for '
  'one that waits for an event, counted from the event, for one that goes by a time in the data '
  'from that, for one that comes again from the enrolment. timing: as in create_step(). A schedule '
  'with a timezone of its own keeps to that. Business days are less the holidays of all tenants.';
