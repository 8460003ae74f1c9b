-- How people say when. Each function reads one way to say it, and is null for any other.

-- raises  nothing: a time that is none is null
create or replace function dripdrop._time_of_day(words text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select to_char(
    make_time(
      coalesce(t.m[1]::int, t.m[3]::int % 12 + 12 * (t.m[5] = 'p')::int),
      coalesce(t.m[2], t.m[4], '0')::int,
      0
    ),
    'HH24:MI'
  )
  from regexp_match(
    case _time_of_day.words
      when 'noon' then '12:00' when 'midnight' then '00:00' else _time_of_day.words
    end,
    '^(?:([01]?[0-9]|2[0-3]):([0-5][0-9])|(0?[1-9]|1[0-2])(?::([0-5][0-9]))? ?([ap])m)$'
  ) as t (m)
  where t.m is not null
$$;

comment on function dripdrop._time_of_day(text) is
  'A time of day in words, "9am", "9:30 pm", "08:30" or "noon", as HH:MM, or null.';

-- What is said before and after the last " at ": a time of day follows it.
create or replace function dripdrop._split_time_of_day(
  words text,
  out said text,
  out at text
)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select
    case when t.at is null then _split_time_of_day.words else t.m[1] end,
    t.at
  from (
    select s.m, dripdrop._time_of_day(s.m[2]) as at
    from regexp_match(_split_time_of_day.words, '^(.*[^ ]) at (.*)$') as s (m)
  ) as t
$$;

comment on function dripdrop._split_time_of_day(text) is
  'Words, and the time of day at their end as HH:MM, if there is one.';

-- "in 3 days", "in 1 month at 9am", "tomorrow at noon".
create or replace function dripdrop._delay_in_words(said text, at text)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._fields_given(jsonb_build_object(
    'type', 'delay',
    'delay_amount', coalesce(substring(d.m[1] from '[0-9]+')::int, 1) * d.per_unit,
    'delay_unit', d.unit || 's',
    'at', _delay_in_words.at
  ))
  from (
    select
      w.m,
      case w.m[2] when 'year' then 'month' else replace(w.m[2], ' ', '_') end as unit,
      case w.m[2] when 'year' then 12 else 1 end as per_unit
    from regexp_match(
      case
        when _delay_in_words.said ~ '^(tomorrow|(the )?next day)$' then 'in 1 day'
        else _delay_in_words.said
      end,
      '^in ([1-9][0-9]{0,5}|an?) (second|minute|hour|day|week|month|year|business day)s?$'
    ) as w (m)
    where w.m is not null
  ) as d
$$;

comment on function dripdrop._delay_in_words(text, text) is 'A delay in words, or null.';

-- "3 days before data.appointment_at at 9am", "2 hours after data.starts_at", "at data.starts_at".
-- The path keeps its capitals.
create or replace function dripdrop._relative_in_words(said text, at text)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._fields_given(jsonb_build_object(
    'type', 'relative',
    'relative_to', w.m[5],
    'delay_amount', case
      when w.m[1] is not null
      then coalesce(substring(w.m[1] from '[0-9]+')::int, 1)
        * case lower(w.m[2]) when 'year' then 12 else 1 end
        * case lower(w.m[3]) when 'before' then -1 else 1 end
    end,
    'delay_unit', case lower(w.m[2])
      when 'year' then 'months' else replace(lower(w.m[2]), ' ', '_') || 's'
    end,
    'at', _relative_in_words.at
  ))
  from regexp_match(
    _relative_in_words.said,
    '^(?:([1-9][0-9]{0,5}|an?) (second|minute|hour|day|week|month|year|business day)s? '
    '(before|after)|(at|on)) (data(?:[.][A-Za-z_][A-Za-z0-9_-]*)+)$',
    'i'
  ) as w (m)
  where w.m is not null
$$;

comment on function dripdrop._relative_in_words(text, text) is
  'A time that is counted from one in the data, in words, or null.';

-- "monday", "monday and thursday", "monday, wednesday and friday": as numbers, Monday is 1.
create or replace function dripdrop._weekdays_in_words(said text)
returns int[]
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(distinct d.number order by d.number)
  from regexp_split_to_table(_weekdays_in_words.said, '(, and |, | and )') as w (word)
  left join lateral (
    select array_position(
      '{monday,tuesday,wednesday,thursday,friday,saturday,sunday}'::text[], w.word
    ) as number
  ) as d on true
  having bool_and(d.number is not null)
$$;

comment on function dripdrop._weekdays_in_words(text) is
  'The numbers of a list of weekdays, sorted, or null.';

-- "every 2 days", "every other monday at 9am", "every week".
create or replace function dripdrop._interval_in_words(said text, at text)
returns jsonb
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_match text[] := regexp_match(said, '^every (?:([1-9][0-9]{0,2}|other|second) )?(.*)$');
  v_amount int := case
    when v_match[1] ~ '^[0-9]' then v_match[1]::int
    when v_match[1] is not null then 2
    else 1
  end;
  v_unit text := substring(v_match[2] from '^(minute|hour|day|week|month|year)s?$');
  v_weekdays int[] := case
    when v_unit is null and coalesce(v_match[1] !~ '^[0-9]', true)
    then dripdrop._weekdays_in_words(v_match[2])
  end;
begin
  if v_unit is null and v_weekdays is null then
    return null;
  end if;
  return dripdrop._fields_given(jsonb_build_object(
    'type', 'interval',
    'interval_amount', v_amount * case v_unit when 'year' then 12 else 1 end,
    'interval_unit', case v_unit
      when 'year' then 'months' else coalesce(v_unit || 's', 'weeks')
    end,
    'days', (
      select jsonb_agg(('{mon,tue,wed,thu,fri,sat,sun}'::text[])[n] order by n)
      from unnest(v_weekdays) as n
    ),
    'at', _interval_in_words.at
  ));
end
$$;

comment on function dripdrop._interval_in_words(text, text) is
  'A time that comes again after so many days, or every other Monday, in words, or null.';

-- "every weekday", "every month on the 1st and the 15th", "… on the last day", "… on the second
-- monday": the day fields of a schedule, which then needs a time of day.
create or replace function dripdrop._cron_days_in_words(said text)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_days text := coalesce(
    substring(said from '^every month on (?:the )?(.*)$'),
    substring(said from '^on the (.*) of every month$')
  );
  v_weekday text[] := regexp_match(
    v_days,
    '^(first|1st|second|2nd|third|3rd|fourth|4th|fifth|5th|last) '
    '(sunday|monday|tuesday|wednesday|thursday|friday|saturday)$'
  );
  v_numbers int[];
begin
  if said = 'every weekday' then
    return '* * 1-5';
  elsif v_days = 'last day' then
    return 'L * *';
  elsif v_weekday is not null then
    return '* * ' || upper(left(v_weekday[2], 3)) || case
      when v_weekday[1] = 'last' then 'L'
      else '#' || (array_position(
        '{first,second,third,fourth,fifth,1st,2nd,3rd,4th,5th}'::text[], v_weekday[1]
      ) - 1) % 5 + 1
    end;
  end if;
  select array_agg(distinct d.number order by d.number) into v_numbers
  from regexp_split_to_table(v_days, '(?:, and |, | and )(?:the )?') as w (word)
  cross join lateral (
    select substring(w.word from '^([1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)$')::int as number
  ) as d
  having bool_and(d.number is not null);
  return array_to_string(v_numbers, ',') || ' * *';
end
$$;

comment on function dripdrop._cron_days_in_words(text) is
  'The last three fields of a schedule whose days are said in words, or null.';
