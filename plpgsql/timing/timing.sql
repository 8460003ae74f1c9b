-- What people write, once: a delay, or a schedule that is no delay.
--
-- raises  ZD203
create or replace function dripdrop._parse_timing(expression text, field text)
returns jsonb
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_delay text[] := regexp_match(
    expression, '^\s*in\s+([1-9][0-9]{0,5})\s+(second|minute|hour|day|week)s?\s*$', 'i'
  );
begin
  if expression ~* '^\s*immediate\s*$' then
    return jsonb '{"type": "immediate"}';
  end if;
  if v_delay is not null then
    return jsonb_build_object(
      'type', 'delay',
      'delay_amount', v_delay[1]::int,
      'delay_unit', lower(v_delay[2]) || 's'
    );
  end if;
  return jsonb_build_object(
    'type', 'cron',
    'cron_expression', dripdrop._parse_schedule(expression, field)
  );
end
$$;

comment on function dripdrop._parse_timing(text, text) is
  'A timing in words, in its stored form.';

-- The five fields in capitals, so that the pipeline reads one form only.
--
-- raises  ZD203 does not parse, or names a date that never comes
create or replace function dripdrop._parse_schedule(expression text, field text)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := lower(btrim(regexp_replace(expression, '\s+', ' ', 'g')));
  v_words text[] := regexp_match(
    v_text,
    '^every (day|weekday|sunday|monday|tuesday|wednesday|thursday|friday|saturday) at '
    '(?:([01]?[0-9]|2[0-3]):([0-5][0-9])|(0?[1-9]|1[0-2])(?::([0-5][0-9]))? ?([ap])m)$'
  );
  v_schedule text := case
    when v_words is not null then concat_ws(
      ' ',
      coalesce(v_words[3], v_words[5], '0')::int,
      coalesce(v_words[2]::int, v_words[4]::int % 12 + 12 * (v_words[6] = 'p')::int),
      '* *',
      case v_words[1]
        when 'day' then '*'
        when 'weekday' then '1-5'
        else upper(left(v_words[1], 3))
      end
    )
    when v_text = '@hourly' then '0 * * * *'
    when v_text in ('@daily', '@midnight') then '0 0 * * *'
    when v_text = '@weekly' then '0 0 * * 0'
    when v_text = '@monthly' then '0 0 1 * *'
    when v_text in ('@yearly', '@annually') then '0 0 1 1 *'
    when v_text ~ '^[0-9*,/-]+( [^ ]+){4}$' then upper(v_text)
  end;
begin
  if v_schedule is null then
    raise exception 'timing "%" does not parse', expression using
      errcode = 'ZD203', column = _parse_schedule.field,
      hint = case
        when v_text ~ 'business day' then
          'Business days are not counted yet: use days, or "every weekday at 9am".'
        when v_text ~ '^every .* at [0-9]' then
          'Write the time as 9am, 9:30pm or 08:30.'
        else
          'Write for example "in 3 days", "every monday at 9am", "every weekday at 08:30", '
          '"@daily", or five cron fields such as "0 9 * * MON".'
      end;
  end if;
  perform dripdrop._cron_next(v_schedule, 'UTC', timestamptz '2000-01-01 00:00:00+00', field);
  return v_schedule;
end
$$;

comment on function dripdrop._parse_schedule(text, text) is
  'A schedule in words or cron fields as five cron fields, checked.';

-- raises  ZD203
create or replace function dripdrop.parse_timing(expression text)
returns jsonb
language sql
immutable
strict
security definer
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._parse_timing(expression, 'expression')
$$;

comment on function dripdrop.parse_timing(text) is
  'A timing in words as the document a step holds: "in 3 days", "every monday at 9am", '
  '"every weekday at 08:30", "every day at 9am", "@daily", "immediate", or five cron fields.';

-- A timing in its one stored form. Authoring pays for parsing,
-- so that the pipeline never meets a bad one.
--
-- raises  ZD203, ZD204, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_timing(timing jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_type text := timing ->> 'type';
  v_unknown text;
begin
  if jsonb_typeof(timing) = 'string' then
    return dripdrop._parse_timing(timing #>> '{}', 'timing');
  end if;
  if jsonb_typeof(timing) is distinct from 'object' then
    raise exception 'timing is neither an object nor a text' using
      errcode = 'ZD203', column = 'timing',
      hint = 'Write {"type": "immediate"}, {"type": "delay", "delay_amount": 3, "delay_unit": '
        '"days"}, {"type": "cron", "cron_expression": "0 9 * * MON"} or "in 3 days".';
  end if;

  select field into v_unknown
  from jsonb_object_keys(timing) as field
  where not field = any (
    case v_type
      when 'immediate' then array['type']
      when 'delay' then array['type', 'delay_amount', 'delay_unit']
      when 'cron' then array['type', 'cron_expression', 'timezone']
      else array(select jsonb_object_keys(timing))
    end
  )
  limit 1;
  if v_unknown is not null then
    raise exception 'a timing of type "%" has no field "%"', v_type, v_unknown using
      errcode = 'ZD203', column = 'timing.' || v_unknown,
      hint = 'immediate has no fields; delay has delay_amount and delay_unit; cron has '
        'cron_expression and timezone.';
  end if;

  case v_type
    when 'immediate' then
      return jsonb '{"type": "immediate"}';
    when 'delay' then
      if coalesce(timing ->> 'delay_amount' !~ '^[1-9][0-9]{0,5}$', true) then
        raise exception 'delay_amount "%" is not a whole number from 1 to 999999',
          timing ->> 'delay_amount' using
          errcode = 'ZD203', column = 'timing.delay_amount',
          hint = 'Write for example {"type": "delay", "delay_amount": 3, "delay_unit": "days"}.';
      end if;
      if coalesce(
        timing ->> 'delay_unit' not in ('seconds', 'minutes', 'hours', 'days', 'weeks'), true
      ) then
        raise exception 'delay_unit "%" is unknown', timing ->> 'delay_unit' using
          errcode = 'ZD203', column = 'timing.delay_unit',
          hint = 'Use seconds, minutes, hours, days or weeks.';
      end if;
      return jsonb_build_object(
        'type', 'delay',
        'delay_amount', (timing ->> 'delay_amount')::int,
        'delay_unit', timing ->> 'delay_unit'
      );
    when 'cron' then
      if timing -> 'timezone' <> 'null' then
        perform dripdrop._check_time_zone(timing ->> 'timezone', 'timing.timezone');
      end if;
      return jsonb_strip_nulls(
        jsonb_build_object(
          'type', 'cron',
          'cron_expression', dripdrop._parse_schedule(
            timing ->> 'cron_expression', 'timing.cron_expression'
          ),
          'timezone', timing -> 'timezone'
        )
      );
    else
      raise exception 'timing type "%" is unknown', v_type using
        errcode = 'ZD203', column = 'timing.type',
        hint = 'Use immediate, delay or cron.';
  end case;
end
$$;

comment on function dripdrop._canonical_timing(jsonb) is 'A timing checked and in its stored form.';

-- Days and weeks pass on the wall clock of the subscriber, so that 09:00 stays 09:00 over a change
-- to or from summer time; seconds, minutes and hours are absolute. A schedule that names its own
-- zone keeps to it. A plain expression, so that it is inlined per row.
create or replace function dripdrop._next_time(timing jsonb, time_zone text, from_time timestamptz)
returns timestamptz
language sql
stable
parallel safe
return case
  when timing ->> 'type' = 'immediate' then from_time
  when timing ->> 'type' = 'cron' then
    dripdrop._cron_next(
      timing ->> 'cron_expression', coalesce(timing ->> 'timezone', time_zone), from_time, 'timing'
    )
  when timing ->> 'delay_unit' in ('days', 'weeks') then
    (
      from_time at time zone time_zone
      + ((timing ->> 'delay_amount') || ' ' || (timing ->> 'delay_unit'))::interval
    ) at time zone time_zone
  else from_time + ((timing ->> 'delay_amount') || ' ' || (timing ->> 'delay_unit'))::interval
end;

comment on function dripdrop._next_time(jsonb, text, timestamptz) is
  'When a step with this timing is due, counted from a time, for a subscriber in a time zone.';

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
  perform dripdrop._check_time_zone(time_zone, 'time_zone');
  return dripdrop._next_time(dripdrop._canonical_timing(timing), time_zone, from_time);
end
$$;

comment on function dripdrop.next_time(jsonb, text, timestamptz) is
  'When a step with this timing is due, counted from a time, for a subscriber in a time zone. '
  'timing: as in create_step(). A schedule with a timezone of its own keeps to that.';

-- The subscriber's own zone wins, then the step's, then the sequence's.
create or replace function dripdrop._time_zone(data jsonb, config jsonb, sequence_time_zone text)
returns text
language sql
immutable
parallel safe
return coalesce(
  data ->> 'time_zone',
  data ->> 'timezone',
  config ->> 'time_zone',
  sequence_time_zone,
  'UTC'
);

comment on function dripdrop._time_zone(jsonb, jsonb, text) is
  'The zone a step''s local times are meant in.';

-- Postgres accepts 'foo5' as a zone (a POSIX rule), so trying a name is no check; being listed is.
create or replace function dripdrop._is_time_zone(name text)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from dripdrop.time_zones as z where z.name = _is_time_zone.name)
    or exists (select from pg_catalog.pg_timezone_names as z where z.name = _is_time_zone.name)
$$;

comment on function dripdrop._is_time_zone(text) is 'Whether a name is in pg_timezone_names.';
