-- What people write, once, in its stored form. What comes again is a schedule if five fields say
-- it, and counted from the enrolment if they do not.
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
  v_words text := btrim(regexp_replace(left(expression, 500), '[[:space:]]+', ' ', 'g'));
  v_said record;
  v_timing jsonb;
begin
  if lower(v_words) = 'immediate' then
    return jsonb '{"type": "immediate"}';
  end if;
  select s.said, s.at into v_said from dripdrop._split_time_of_day(lower(v_words)) as s;
  v_timing := coalesce(
    dripdrop._delay_in_words(v_said.said, v_said.at),
    dripdrop._interval_in_words(v_said.said, v_said.at),
    dripdrop._relative_in_words(left(v_words, length(v_said.said)), v_said.at)
  );
  return case v_timing ->> 'type'
    when 'delay' then dripdrop._canonical_delay(v_timing, field)
    when 'interval' then dripdrop._canonical_interval(v_timing, field)
    when 'relative' then dripdrop._canonical_relative(v_timing, field)
    else jsonb_build_object(
      'type', 'cron', 'cron_expression', dripdrop._parse_schedule(expression, field)
    )
  end;
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
  v_text text := case
    when length(expression) <= 500
    then lower(btrim(regexp_replace(expression, '[[:space:]]+', ' ', 'g')))
  end;
  v_schedule text := case
    when v_text = '@hourly' then '0 * * * *'
    when v_text in ('@daily', '@midnight') then '0 0 * * *'
    when v_text = '@weekly' then '0 0 * * 0'
    when v_text = '@monthly' then '0 0 1 * *'
    when v_text in ('@yearly', '@annually') then '0 0 1 1 *'
    when v_text ~ '^[0-9*,/-]+( [^ ]+){4}$' then upper(v_text)
    else dripdrop._schedule_in_words(v_text)
  end;
begin
  if v_schedule is null then
    raise exception 'timing % does not parse', dripdrop._quoted(expression) using
      errcode = 'ZD203', column = _parse_schedule.field,
      hint = case
        when v_text ~ 'business day' then
          'Write "in 3 business days", from 1 to 999, or "every weekday at 9am".'
        when v_text ~ '^(every|on|in) .* at [0-9]' then
          'Write the time as 9am, 9:30pm or 08:30.'
        when v_text ~ '^every (month|weekday)|of every month' then
          'Write for example "every month on the 1st at 9am", "every month on the last day at '
          '9am" or "every weekday at 08:30", with the time.'
        when v_text ~ 'before|after|data' then
          'Write for example "3 days before data.appointment_at at 9am" or "2 hours after '
          'data.starts_at".'
        else
          'Write for example "in 3 days", "in 1 day at 9am", "every monday at 9am", "every 2 '
          'days", "3 days before data.starts_at", or five cron fields such as "0 9 * * MON".'
      end;
  end if;
  perform dripdrop._cron_next(v_schedule, 'UTC', timestamptz '2000-01-01 00:00:00+00', field);
  return v_schedule;
end
$$;

comment on function dripdrop._parse_schedule(text, text) is
  'A schedule in words or cron fields as five cron fields, checked.';

create or replace function dripdrop._schedule_in_words(words text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._minute_and_hour(s.at) || ' ' || coalesce(
    dripdrop._cron_days_in_words(s.said),
    dripdrop._cron_days_of_interval(dripdrop._interval_in_words(s.said, s.at))
  )
  from dripdrop._split_time_of_day(_schedule_in_words.words) as s
$$;

comment on function dripdrop._schedule_in_words(text) is
  'A schedule in words as five cron fields, or null.';

create or replace function dripdrop._minute_and_hour(at text)
returns text
language sql
immutable
parallel safe
return extract(minute from at::time)::int || ' ' || extract(hour from at::time)::int;

comment on function dripdrop._minute_and_hour(text) is
  'The first two fields of a schedule, of a time of day.';

-- Every day, or every week on these days, at a time of day, is a schedule like any other.
create or replace function dripdrop._cron_days_of_interval(timing jsonb)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when timing ->> 'interval_amount' <> '1' or not timing ? 'at' then null
    when timing ->> 'interval_unit' = 'days' then '* * *'
    when timing ->> 'interval_unit' = 'weeks' and timing ? 'days' then '* * ' || (
      select string_agg(upper(d.day), ',' order by d.place)
      from jsonb_array_elements_text(timing -> 'days') with ordinality as d (day, place)
    )
  end
$$;

comment on function dripdrop._cron_days_of_interval(jsonb) is
  'The last three fields of the schedule that an interval is, or null if it is none.';

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
  'A timing in words as the document a step holds: "in 3 days", "in 2 business days", "in 1 month '
  'at 9am", "tomorrow at 9am", "every monday and thursday at 9am", "every weekday at 08:30", '
  '"every 2 days", "every other monday", "every month on the 1st at 9am", "3 days before '
  'data.appointment_at at 9am", "@daily", "immediate", or five cron fields.';

-- A timing in its one stored form: fields that are null or say what holds anyway are dropped.
-- Authoring pays for parsing, so that the pipeline never meets a bad one.
--
-- raises  ZD203, ZD204, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_timing(timing jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_type text := coalesce(timing ->> 'type', '');
  v_given jsonb;
begin
  if jsonb_typeof(timing) = 'string' then
    return dripdrop._parse_timing(timing #>> '{}', 'timing');
  end if;
  if jsonb_typeof(timing) is distinct from 'object' then
    raise exception 'timing is neither an object nor a text' using
      errcode = 'ZD203', column = 'timing',
      hint = 'Write {"type": "immediate"}, {"type": "delay", "delay_amount": 3, "delay_unit": '
        '"days"}, {"type": "cron", "cron_expression": "0 9 * * MON"}, {"type": "interval", '
        '"interval_amount": 2, "interval_unit": "days"}, {"type": "event", "trigger_event": '
        '"order_completed"} or "in 3 days".';
  end if;
  if not exists (select from dripdrop._kinds() as k where k.kind = 'timing.' || v_type) then
    raise exception 'timing type % is unknown', dripdrop._quoted(v_type) using
      errcode = 'ZD203', column = 'timing.type',
      hint = 'Use immediate, delay, cron, interval, relative or event.';
  end if;
  perform dripdrop._check_document(timing, 'timing.' || v_type, 'timing.');

  v_given := dripdrop._fields_given(timing);
  if v_given -> 'recurring' = 'false' then
    v_given := v_given - 'recurring';
  end if;
  return case v_type
    when 'immediate' then v_given
    when 'delay' then dripdrop._canonical_delay(v_given, 'timing.delay_amount')
    when 'cron' then dripdrop._canonical_cron(v_given)
    when 'interval' then dripdrop._canonical_interval(v_given, 'timing.interval_amount')
    when 'relative' then dripdrop._canonical_relative(v_given, 'timing.delay_amount')
    when 'event' then dripdrop._canonical_event_timing(v_given)
  end;
end
$$;

comment on function dripdrop._canonical_timing(jsonb) is 'A timing checked and in its stored form.';

-- Of a delay, and of what has a delay after an event or from a time in the data. field: what is
-- wrong where there are too many.
--
-- raises  ZD203
create or replace function dripdrop._canonical_delay(timing jsonb, field text)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_amount int := (timing ->> 'delay_amount')::int;
  v_unit text := timing ->> 'delay_unit';
  v_calendar text := timing ->> 'calendar';
  v_at text := timing ->> 'at';
begin
  if v_unit = 'business_days' and v_amount > 999 or v_unit = 'months' and abs(v_amount) > 1200 then
    raise exception '% % are more than %',
      v_amount, replace(v_unit, '_', ' '), case v_unit when 'months' then 1200 else 999 end using
      errcode = 'ZD203', column = _canonical_delay.field,
      hint = 'Count so long a time in weeks.';
  end if;
  if v_unit <> 'business_days' and v_calendar is not null then
    raise exception '% do not go by a calendar', v_unit using
      errcode = 'ZD203', column = 'timing.calendar',
      hint = 'Leave calendar out, or count business_days.';
  end if;
  if v_at is not null and v_unit in ('seconds', 'minutes', 'hours') then
    raise exception '% lead to no time of day', v_unit using
      errcode = 'ZD203',
      column = replace(_canonical_delay.field, '.delay_amount', '.at'),
      hint = 'Leave at out, or count days, weeks, months or business_days.';
  end if;
  return dripdrop._fields_given((timing - 'calendar') || jsonb_build_object(
    'delay_amount', v_amount,
    'at', to_char(v_at::time, 'HH24:MI'),
    'calendar', nullif(v_calendar, 'default')
  ));
end
$$;

comment on function dripdrop._canonical_delay(jsonb, text) is
  'A timing with the fields of its delay checked and in their stored form.';

-- raises  ZD203
create or replace function dripdrop._canonical_interval(timing jsonb, field text)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_unit text := timing ->> 'interval_unit';
  v_timing jsonb := dripdrop._fields_given(timing || jsonb_build_object(
    'interval_amount', (timing ->> 'interval_amount')::int,
    'at', to_char((timing ->> 'at')::time, 'HH24:MI'),
    'days', (
      select jsonb_agg(d.day order by d.place)
      from unnest('{mon,tue,wed,thu,fri,sat,sun}'::text[]) with ordinality as d (day, place)
      where timing -> 'days' ? d.day
    )
  ));
  v_days_of_schedule text := dripdrop._cron_days_of_interval(v_timing);
begin
  if v_timing ? 'at' and v_unit in ('minutes', 'hours')
    or v_timing ? 'days' and v_unit <> 'weeks'
  then
    raise exception 'what comes again after % has no %',
      v_unit, case when v_timing ? 'days' then 'weekdays' else 'time of day' end using
      errcode = 'ZD203',
      column = replace(
        field, '.interval_amount', case when v_timing ? 'days' then '.days' else '.at' end
      ),
      hint = 'Weekdays go with weeks, a time of day with days, weeks and months.';
  end if;
  if v_days_of_schedule is not null then
    return v_timing - array['interval_amount', 'interval_unit', 'days', 'at']
      || jsonb_build_object(
        'type', 'cron',
        'cron_expression',
        dripdrop._minute_and_hour(v_timing ->> 'at') || ' ' || v_days_of_schedule
      );
  end if;
  return v_timing;
end
$$;

comment on function dripdrop._canonical_interval(jsonb, text) is
  'What comes again after a while, checked and in its stored form: as a schedule if it is one.';

-- raises  ZD203
create or replace function dripdrop._canonical_relative(timing jsonb, field text)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if timing ? 'delay_amount' <> (timing ? 'delay_unit') then
    raise exception 'delay_amount and delay_unit go together' using
      errcode = 'ZD203',
      column = replace(
        field, 'amount', case when timing ? 'delay_unit' then 'amount' else 'unit' end
      ),
      hint = 'Write for example "delay_amount": -3, "delay_unit": "days" for three days before.';
  end if;
  if timing ->> 'delay_unit' = 'business_days' and (timing ->> 'delay_amount')::int < 1 then
    raise exception 'business days are counted forward' using
      errcode = 'ZD203', column = _canonical_relative.field,
      hint = 'Count days before it, or business days after it.';
  end if;
  if not timing ? 'delay_unit' then
    return timing || dripdrop._fields_given(jsonb_build_object(
      'at', to_char((timing ->> 'at')::time, 'HH24:MI')
    ));
  end if;
  return dripdrop._canonical_delay(timing, field);
end
$$;

comment on function dripdrop._canonical_relative(jsonb, text) is
  'A time that is counted from one in the data, checked and in its stored form.';

-- raises  ZD203
create or replace function dripdrop._canonical_cron(timing jsonb)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select timing || jsonb_build_object(
    'cron_expression',
    dripdrop._parse_schedule(timing ->> 'cron_expression', 'timing.cron_expression')
  )
$$;

comment on function dripdrop._canonical_cron(jsonb) is
  'A schedule checked and in its stored form.';

-- Whether the step that on_timeout names is there is for the version to say. The interval is stored
-- as Postgres prints it, in one style, so that "2 weeks" and "14 days" are no change.
--
-- raises  ZD203
create or replace function dripdrop._canonical_event_timing(timing jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set intervalstyle = postgres
as $$
declare
  v_match jsonb := coalesce(timing -> 'match', timing -> 'trigger_data', '{}');
  v_timeout text := timing ->> 'timeout';
  v_canonical jsonb := timing - array['match', 'trigger_data'];
  v_fault record;
  v_delay jsonb;
begin
  if timing ?& array['match', 'trigger_data'] then
    raise exception 'match and trigger_data are the same field' using
      errcode = 'ZD203', column = 'timing.trigger_data', hint = 'Give only one of them.';
  end if;
  if timing ? 'on_timeout' and v_timeout is null then
    raise exception 'on_timeout needs a timeout' using
      errcode = 'ZD203', column = 'timing.on_timeout',
      hint = 'Write for example "timeout": "3 days", "on_timeout": "exit".';
  end if;
  if timing ? 'recurring' and timing ?| array['since', 'timeout'] then
    raise exception 'a recurring step waits for no one event' using
      errcode = 'ZD203',
      column = 'timing.' || case when timing ? 'since' then 'since' else 'timeout' end,
      hint = 'Leave since, timeout and on_timeout out: it fires on every event, beside the path.';
  end if;

  select f.* into v_fault
  from dripdrop._match_faults(
    v_match, 'timing.' || case when timing ? 'match' then 'match' else 'trigger_data' end
  ) as f
  limit 1;
  if found then
    raise exception '% is no path into the data', dripdrop._quoted(v_fault.value) using
      errcode = 'ZD203', column = v_fault.field,
      hint = 'Write for example {"order_id": "$.data.order_id"} for the order_id that the '
        'enrolment''s data holds.';
  end if;
  if v_match <> '{}' then
    v_canonical := v_canonical || jsonb_build_object('match', v_match);
  end if;
  if v_timeout is not null then
    v_canonical := '{"on_timeout": "continue"}'
      || v_canonical
      || jsonb_build_object('timeout', v_timeout::interval::text);
  end if;
  select jsonb_object_agg(d.field, d.value) into v_delay
  from jsonb_each(timing) as d (field, value)
  where d.field in ('delay_amount', 'delay_unit', 'calendar', 'at');
  if v_delay is not null then
    perform dripdrop._check_document(
      v_delay || '{"type": "delay"}', 'timing.delay', 'timing.'
    );
    v_canonical := dripdrop._canonical_delay(v_canonical, 'timing.delay_amount');
  end if;
  return v_canonical;
end
$$;

comment on function dripdrop._canonical_event_timing(jsonb) is
  'The timing of a step that waits for an event, checked and in its stored form.';

-- Rows of a table or of a file have a column for it, which is often empty.
create or replace function dripdrop._own_time_zone(data jsonb)
returns text
language sql
immutable
parallel safe
return coalesce(
  nullif(btrim(data ->> 'time_zone'), ''),
  nullif(btrim(data ->> 'timezone'), '')
);

comment on function dripdrop._own_time_zone(jsonb) is
  'The zone that an enrolment''s data names, or null.';

-- The subscriber's own zone wins, then the step's, then the sequence's.
create or replace function dripdrop._time_zone(data jsonb, config jsonb, sequence_time_zone text)
returns text
language sql
immutable
parallel safe
return coalesce(
  dripdrop._own_time_zone(data),
  config ->> 'time_zone',
  sequence_time_zone,
  'UTC'
);

comment on function dripdrop._time_zone(jsonb, jsonb, text) is
  'The zone a step''s local times are meant in.';

create or replace function dripdrop._time_zone_of(
  enrollment dripdrop.enrollments,
  step_config jsonb
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._time_zone(
    enrollment.data,
    _time_zone_of.step_config,
    coalesce(q.time_zone, dripdrop._default_time_zone(q.tenant_key))
  )
  from dripdrop.sequences as q
  where q.id = enrollment.sequence_id
$$;

comment on function dripdrop._time_zone_of(dripdrop.enrollments, jsonb) is
  'The time zone of a step of an enrolment: the subscriber''s, the step''s, the sequence''s or the '
  'tenant''s.';
