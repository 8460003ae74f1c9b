-- The n-th business day after today, whatever today is, at the same time of day. Weekdays are
-- counted by arithmetic; each holiday on the way moves the day by one, so that the loop is as long
-- as the list of holidays, not as the wait.
create or replace function dripdrop._business_days_after(
  from_time timestamptz,
  days int,
  time_zone text,
  calendar text,
  tenant_key text
)
returns timestamptz
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_wall_time timestamp := from_time at time zone time_zone;
  v_today date := v_wall_time::date;
  v_weekday int := extract(isodow from v_today);
  v_day date;
  v_holiday date;
begin
  -- From a weekend it counts as from the Friday before.
  v_day := v_today - greatest(v_weekday - 5, 0) + days + 2 * ((least(v_weekday, 5) + days - 1) / 5);

  for v_holiday in
    select distinct h.day
    from dripdrop.holidays as h
    where h.calendar = _business_days_after.calendar
      and (h.tenant_key = _business_days_after.tenant_key or h.tenant_key is null)
      and h.day > v_today
      and extract(isodow from h.day) < 6
    order by h.day
  loop
    exit when v_holiday > v_day;
    v_day := v_day + case when extract(isodow from v_day) = 5 then 3 else 1 end;
  end loop;
  return (v_day + v_wall_time::time) at time zone time_zone;
end
$$;

comment on function dripdrop._business_days_after(timestamptz, int, text, text, text) is
  'The same time of day so many business days later: Monday to Friday less the days of a calendar, '
  'the tenant''s and those of all tenants.';

-- A calendar is replaced whole, so two callers at once must not both add to what neither has seen:
-- the table is taken before it is read. Readers are not in the way.
--
-- locks   holidays, against other writers
-- raises  ZD201 bad calendar or day, ZD207 bad tenant key
create or replace function dripdrop.set_holidays(tenant_key text, calendar text, days date[])
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_days int;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_key(calendar, 'calendar', 'calendar');
  if days is null or exists (select from unnest(days) as day where isfinite(day) is not true) then
    raise exception 'days is not a list of days' using
      errcode = 'ZD201', column = 'days',
      hint = 'For example ''{2026-12-25, 2026-12-28}''; an empty list empties the calendar.';
  end if;

  lock table dripdrop.holidays in share row exclusive mode;
  delete from dripdrop.holidays as h
  where h.tenant_key is not distinct from set_holidays.tenant_key
    and h.calendar = set_holidays.calendar;
  insert into dripdrop.holidays (tenant_key, calendar, day)
  select distinct set_holidays.tenant_key, set_holidays.calendar, day
  from unnest(set_holidays.days) as day;
  get diagnostics v_days = row_count;
  return v_days;
end
$$;

comment on function dripdrop.set_holidays(text, text, date[]) is
  'Replaces the days of a tenant''s calendar that are no business days and returns how many there '
  'are; those of null are in the calendar of every tenant. calendar: the one that a timing names, '
  'or default. What is planned already stays planned.';
