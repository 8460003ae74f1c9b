-- What is wrong with the fields of a window together, told to those who refuse it: conditions and
-- send windows.
create or replace function dripdrop._time_window_fault(time_window jsonb)
returns table (field text, message text, hint text)
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select
    'start', 'a window without start, end and days is no window',
    'Write for example {"start": "09:00", "end": "17:00", "days": ["mon", "fri"]}.'
  where num_nonnulls(
      time_window ->> 'start', time_window ->> 'end', time_window ->> 'calendar',
      time_window ->> 'days'
    ) = 0
  union all
  select 'end', 'the window is empty', 'Leave start and end out for the whole day.'
  where lpad(coalesce(time_window ->> 'start', '00:00'), 5, '0')
    = lpad(coalesce(time_window ->> 'end', '24:00'), 5, '0')
$$;

comment on function dripdrop._time_window_fault(jsonb) is
  'What is wrong with the start, end and days of a window together, or no row.';

create or replace function dripdrop._is_holiday(calendar text, tenant_key text, day date)
returns boolean
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from dripdrop.holidays as h
    where h.calendar = _is_holiday.calendar
      and h.day = _is_holiday.day
      and (h.tenant_key = _is_holiday.tenant_key or h.tenant_key is null)
  )
$$;

comment on function dripdrop._is_holiday(text, text, date) is
  'Whether a day is in a tenant''s calendar or in that of all tenants.';

-- A window opens the first time that the clocks show its start, and closes the first time that
-- they show its end: one opening a day, whatever the clocks do. Past midnight it still belongs to
-- the day it began on. A holiday is closed from midnight to midnight. What does not open within 400
-- days has no end: look again then.
create or replace function dripdrop._next_window(
  time_window jsonb,
  time_zone text,
  tenant_key text,
  from_time timestamptz,
  out opens_at timestamptz,
  out closes_at timestamptz
)
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_week constant text[] := array['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
  v_start time := coalesce(time_window ->> 'start', '00:00')::time;
  v_end time := coalesce(time_window ->> 'end', '24:00')::time;
  v_overnight int := (v_end < v_start)::int;
  v_days jsonb := nullif(time_window -> 'days', 'null');
  v_calendar text := time_window ->> 'calendar';
  v_day date := (from_time at time zone time_zone)::date - v_overnight;
begin
  for v_ahead in 0..400 loop
    if (v_days is null or v_days ? v_week[extract(isodow from v_day)::int])
      and (v_calendar is null or not dripdrop._is_holiday(v_calendar, tenant_key, v_day))
    then
      opens_at := dripdrop._first_instant(v_day + v_start, time_zone);
      closes_at := dripdrop._first_instant(
        v_day + v_overnight + case
          when v_overnight = 1
            and v_calendar is not null
            and dripdrop._is_holiday(v_calendar, tenant_key, v_day + 1)
          then '00:00'
          else v_end
        end,
        time_zone
      );
      if closes_at > greatest(from_time, opens_at) then
        return;
      end if;
    end if;
    v_day := v_day + 1;
  end loop;
  opens_at := from_time + interval '400 days';
  closes_at := null;
end
$$;

comment on function dripdrop._next_window(jsonb, text, text, timestamptz) is
  'From when to when a window is open, now or next, on the wall clocks of a zone.';

create or replace function dripdrop._window_opens(
  time_window jsonb,
  time_zone text,
  tenant_key text,
  at timestamptz
)
returns timestamptz
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select w.opens_at
  from dripdrop._next_window(
    time_window, _window_opens.time_zone, _window_opens.tenant_key, _window_opens.at
  ) as w
  where w.opens_at > _window_opens.at
$$;

comment on function dripdrop._window_opens(jsonb, text, text, timestamptz) is
  'When a window opens next; null when it is open.';

-- The time until a window opens is no delay of ours. That it may have to be looked up costs nothing
-- before a message is late.
create or replace function dripdrop._delay(
  scheduled_for timestamptz,
  tolerated interval,
  send_window jsonb,
  time_zone text,
  tenant_key text,
  at timestamptz
)
returns interval
language sql
stable
parallel safe
return at - case
  when send_window is not null and at - scheduled_for > tolerated
  then coalesce(
    dripdrop._window_opens(send_window, time_zone, tenant_key, scheduled_for), scheduled_for
  )
  else scheduled_for
end;

comment on function dripdrop._delay(timestamptz, interval, jsonb, text, text, timestamptz) is
  'How late a message is: since its time or, if that is longer than tolerated, since its send '
  'window opened.';
