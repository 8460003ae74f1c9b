-- What is no plain number gets a number of its own: in the day of the month, L (the last) is 32;
-- among weekdays, 5#2 (the second Friday) is 25 and 5L (the last Friday) is 65. place: 1 minute, 2
-- hour, 3 day of the month, 4 month, 5 weekday.
create or replace function dripdrop._cron_part(part text, place int)
returns int[]
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_low int := (array[0, 0, 1, 1, 0])[place];
  v_high int := (array[59, 23, 31, 12, 6])[place];
  v_names text[] := case place
    when 4 then '{JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC}'::text[]
    when 5 then '[0:6]={SUN,MON,TUE,WED,THU,FRI,SAT}'::text[]
  end;
  v_match text[] := regexp_match(
    part,
    '^(?:([*])|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2})|#([1-5])|(L))?$'
  );
  v_from int := case
    when v_match[1] = '*' then v_low
    when v_match[2] ~ '^[0-9]' then v_match[2]::int
    else array_position(v_names, v_match[2])
  end;
  v_to int := case
    when v_match[1] = '*' then v_high
    when v_match[3] ~ '^[0-9]' then v_match[3]::int
    when v_match[3] is not null then array_position(v_names, v_match[3])
    when v_match[4] is not null then v_high
    else v_from
  end;
  v_step int := coalesce(v_match[4]::int, 1);
begin
  if place = 3 and part = 'L' then
    return array[32];
  end if;
  -- Sunday is 0, and 7 where a range ends with it.
  if place = 5 and v_to = 0 and v_from > 0 then
    v_to := 7;
  end if;
  return case
    when v_match is null
      or v_from is null
      or v_to is null
      or v_from < v_low
      or v_to < v_from
      or v_to > v_high + (place = 5)::int
      or v_step = 0
      or (coalesce(v_match[5], v_match[6]) is not null and (place <> 5 or v_from <> v_to))
    then null
    when v_match[5] is not null then array[10 * v_match[5]::int + v_from % 7]
    when v_match[6] is not null then array[60 + v_from % 7]
    when place = 5 then array(select n % 7 from generate_series(v_from, v_to, v_step) as n)
    else array(select n from generate_series(v_from, v_to, v_step) as n)
  end;
end
$$;

comment on function dripdrop._cron_part(text, int) is
  'The numbers that a part of a field of a cron expression names, or null if it is malformed.';

-- raises  ZD203
create or replace function dripdrop._cron_field(expression text, place int, field text)
returns int[]
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kind text := (array['minute', 'hour', 'day of the month', 'month', 'weekday'])[place];
  v_part text;
  v_named int[];
  v_numbers int[] := '{}'::int[];
begin
  foreach v_part in array string_to_array(split_part(expression, ' ', place), ',') loop
    v_named := dripdrop._cron_part(v_part, place);
    if v_named is null then
      raise exception 'in %, % is no %',
        dripdrop._quoted(expression), dripdrop._quoted(v_part), v_kind using
        errcode = 'ZD203', column = _cron_field.field,
        hint = format(
          'A %s is a number from %s to %s%s, a range (1-5), a step (*/2) or a list of these (1,3).',
          v_kind, (array[0, 0, 1, 1, 0])[place], (array[59, 23, 31, 12, 6])[place],
          case place
            when 3 then ' or L for the last'
            when 4 then ' or a name (JAN)'
            when 5 then ', a name (MON), 1#2 for the second Monday, 1L for the last'
            else ''
          end
        );
    end if;
    v_numbers := v_numbers || v_named;
  end loop;
  return array(select distinct n from unnest(v_numbers) as n order by n);
end
$$;

comment on function dripdrop._cron_field(text, int, text) is
  'The numbers that a field of a cron expression names, sorted.';

-- Postgres reads a time that a clock change leaves out by the offset before it, and takes the
-- second of two that it repeats. A schedule means the first instant after the gap, and the first
-- of the two. Clocks change on whole seconds.
create or replace function dripdrop._first_instant(wall_time timestamp, time_zone text)
returns timestamptz
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_at timestamptz := wall_time at time zone time_zone;
  v_skipped float8 := extract(epoch from (v_at at time zone time_zone) - wall_time);
  v_day_before timestamptz := v_at - interval '24 hours';
  v_repeated interval;
  v_low float8;
  v_high float8;
  v_middle float8;
begin
  if v_skipped = 0 then
    v_repeated := make_interval(secs => extract(epoch from
      ((v_day_before at time zone time_zone) - (v_day_before at time zone 'UTC'))
      - ((v_at at time zone time_zone) - (v_at at time zone 'UTC'))
    ));
    if v_repeated > interval '0'
      and (v_at - v_repeated) at time zone time_zone = wall_time
    then
      return v_at - v_repeated;
    end if;
    return v_at;
  end if;

  -- The clock changes after v_low and no later than v_high.
  v_high := extract(epoch from v_at);
  v_low := v_high - v_skipped;
  while v_high - v_low > 1 loop
    v_middle := floor((v_low + v_high) / 2);
    if to_timestamp(v_middle) at time zone time_zone - to_timestamp(v_middle) at time zone 'UTC'
      = v_at at time zone time_zone - v_at at time zone 'UTC'
    then
      v_high := v_middle;
    else
      v_low := v_middle;
    end if;
  end loop;
  return to_timestamp(v_high);
end
$$;

comment on function dripdrop._first_instant(timestamp, text) is
  'The first instant at which the wall clocks of a zone show a time or have passed it.';

-- Both day fields restricted means either, as in Vixie cron; one that begins with * restricts the
-- other.
create or replace function dripdrop._cron_days(
  month date,
  days int[],
  weekdays int[],
  restricts boolean
)
returns setof date
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select month + d.number - 1
  from (select extract(day from month + interval '1 month - 1 day')::int as length) as m
  cross join generate_series(1, m.length) as d (number)
  cross join lateral (
    select extract(dow from month + d.number - 1)::int as weekday
  ) as w
  cross join lateral (
    select
      d.number = any (days) or (d.number = m.length and 32 = any (days)) as by_day,
      w.weekday = any (weekdays)
      or 10 * ((d.number + 6) / 7) + w.weekday = any (weekdays)
      or (d.number > m.length - 7 and 60 + w.weekday = any (weekdays)) as by_weekday
  ) as matches
  where case when restricts then by_day and by_weekday else by_day or by_weekday end
  order by d.number
$$;

comment on function dripdrop._cron_days(date, int[], int[], boolean) is
  'The days of a month that the day fields of a cron expression name; restricts: both of '
  'them must.';

-- Month by month, so that 29 February costs no more than tomorrow. Leap days fall on a given
-- weekday at least every 40 years.
create or replace function dripdrop._cron_wall_time(expression text, start timestamp, field text)
returns timestamp
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_minutes int[] := dripdrop._cron_field(expression, 1, field);
  v_hours int[] := dripdrop._cron_field(expression, 2, field);
  v_days int[] := dripdrop._cron_field(expression, 3, field);
  v_months int[] := dripdrop._cron_field(expression, 4, field);
  v_weekdays int[] := dripdrop._cron_field(expression, 5, field);
  v_both boolean := split_part(expression, ' ', 3) like '*%'
    or split_part(expression, ' ', 5) like '*%';
  v_month date;
  v_day date;
  v_wall_time timestamp;
begin
  for v_month in
    select m.first
    from generate_series(
      date_trunc('month', start), start + interval '41 years', interval '1 month'
    ) as m (first)
    where extract(month from m.first) = any (v_months)
    order by m.first
  loop
    for v_day in
      select d
      from dripdrop._cron_days(v_month, v_days, v_weekdays, v_both) as d
      where d >= start::date
    loop
      select v_day + make_time(h, m, 0) into v_wall_time
      from unnest(v_hours) as h
      cross join unnest(v_minutes) as m
      where v_day + make_time(h, m, 0) >= start
      order by h, m
      limit 1;
      if found then
        return v_wall_time;
      end if;
    end loop;
  end loop;
  return null;
end
$$;

comment on function dripdrop._cron_wall_time(text, timestamp, text) is
  'The first time on a wall clock, from one on, that an expression names; null if none ever does.';

-- A second pass can come next only while clocks show what they show twice. Postgres takes the
-- second of the two.
create or replace function dripdrop._cron_next_repeated(
  expression text,
  time_zone text,
  after timestamptz,
  field text
)
returns timestamptz
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_shown timestamp := after at time zone time_zone;
  v_last timestamptz := v_shown at time zone time_zone;
  v_repeated interval := v_last - dripdrop._first_instant(v_shown, time_zone);
  v_wall_time timestamp;
  v_at timestamptz;
begin
  if v_repeated = interval '0' then
    return null;
  end if;
  v_wall_time := date_trunc('minute', v_shown) - v_repeated;
  loop
    v_wall_time := dripdrop._cron_wall_time(
      expression, v_wall_time + interval '1 minute', field
    );
    v_at := v_wall_time at time zone time_zone;
    exit when v_at > after or v_at is null;
  end loop;
  return v_at;
end
$$;

comment on function dripdrop._cron_next_repeated(text, text, timestamptz, text) is
  'When an expression next comes, strictly after a time whose hour is there twice, if it is the '
  'second time that counts; null of any other time.';

-- Where clocks go back, an hour is there twice. What names its hours comes in the first only; what
-- comes in every one of them, or every second, in both, as in cron.
--
-- raises  ZD201 no time to count from, ZD203 malformed, or a date that never comes
create or replace function dripdrop._cron_next(
  expression text,
  time_zone text,
  after timestamptz,
  field text
)
returns timestamptz
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_wall_time timestamp := date_trunc('minute', after at time zone time_zone);
  v_at timestamptz;
begin
  if not isfinite(after) then
    raise exception 'nothing comes after %', after using
      errcode = 'ZD201', column = 'after', hint = 'Count from a time.';
  end if;

  loop
    v_wall_time := dripdrop._cron_wall_time(
      expression, v_wall_time + interval '1 minute', field
    );
    if v_wall_time is null then
      raise exception 'the date in % never comes', dripdrop._quoted(expression) using
        errcode = 'ZD203', column = _cron_next.field,
        hint = 'The months it names do not have the days it names.';
    end if;
    v_at := dripdrop._first_instant(v_wall_time, time_zone);
    exit when v_at > after;
  end loop;
  if split_part(expression, ' ', 2) ~ '^[*](/[0-9]+)?$' then
    return least(v_at, dripdrop._cron_next_repeated(expression, time_zone, after, field));
  end if;
  return v_at;
end
$$;

comment on function dripdrop._cron_next(text, text, timestamptz, text) is
  'When an expression in its stored form next comes, strictly after a time.';

-- raises  ZD201 no time to count from, ZD203 no schedule, ZD204 unknown time zone
create or replace function dripdrop.cron_next(
  expression text,
  time_zone text,
  after timestamptz
)
returns timestamptz
language plpgsql
stable
strict
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_time_zone(time_zone, 'time_zone');
  perform dripdrop._check_time(after, 'after');
  return dripdrop._cron_next(
    dripdrop._parse_schedule(expression, 'expression'), time_zone, after, 'expression'
  );
end
$$;

comment on function dripdrop.cron_next(text, text, timestamptz) is
  'When a schedule next comes, strictly after a time, on the wall clocks of a time zone. '
  'expression: five cron fields, @daily and the like, or "every monday at 9am". A time that a '
  'clock change leaves out comes at the first instant after the gap; one that it repeats comes '
  'once, the first time, unless the hour field is * or */n: then both times.';
