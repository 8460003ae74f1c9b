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
  v_words text := lower(btrim(regexp_replace(left(expression, 500), '[[:space:]]+', ' ', 'g')));
  v_delay text[] := coalesce(
    regexp_match(v_words, '^in ([1-9][0-9]{0,5}) (second|minute|hour|day|week)s?$'),
    regexp_match(v_words, '^in ([1-9][0-9]{0,2}) (business day)s?$')
  );
begin
  if v_words = 'immediate' then
    return jsonb '{"type": "immediate"}';
  end if;
  if v_delay is not null then
    return jsonb_build_object(
      'type', 'delay',
      'delay_amount', v_delay[1]::int,
      'delay_unit', replace(v_delay[2], ' ', '_') || 's'
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
  v_text text := case
    when length(expression) <= 500
    then lower(btrim(regexp_replace(expression, '[[:space:]]+', ' ', 'g')))
  end;
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
    raise exception 'timing % does not parse', dripdrop._quoted(expression) using
      errcode = 'ZD203', column = _parse_schedule.field,
      hint = case
        when v_text ~ 'business day' then
          'Write "in 3 business days", from 1 to 999, or "every weekday at 9am".'
        when v_text ~ '^every .* at [0-9]' then
          'Write the time as 9am, 9:30pm or 08:30.'
        else
          'Write for example "in 3 days", "in 2 business days", "every monday at 9am", '
          '"every weekday at 08:30", "@daily", or five cron fields such as "0 9 * * MON".'
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
  'A timing in words as the document a step holds: "in 3 days", "in 2 business days", '
  '"every monday at 9am", "every weekday at 08:30", "every day at 9am", "@daily", "immediate", or '
  'five cron fields.';

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
        '"days"}, {"type": "cron", "cron_expression": "0 9 * * MON"}, {"type": "event", '
        '"trigger_event": "order_completed"} or "in 3 days".';
  end if;
  if not exists (select from dripdrop._kinds() as k where k.kind = 'timing.' || v_type) then
    raise exception 'timing type % is unknown', dripdrop._quoted(v_type) using
      errcode = 'ZD203', column = 'timing.type',
      hint = 'Use immediate, delay, cron or event.';
  end if;
  perform dripdrop._check_document(timing, 'timing.' || v_type, 'timing.');

  v_given := dripdrop._fields_given(timing);
  if v_given -> 'recurring' = 'false' then
    v_given := v_given - 'recurring';
  end if;
  return case v_type
    when 'immediate' then v_given
    when 'delay' then dripdrop._canonical_delay(v_given)
    when 'cron' then dripdrop._canonical_cron(v_given)
    when 'event' then dripdrop._canonical_event_timing(v_given)
  end;
end
$$;

comment on function dripdrop._canonical_timing(jsonb) is 'A timing checked and in its stored form.';

-- Of a delay, and of an event with a delay after it.
--
-- raises  ZD203
create or replace function dripdrop._canonical_delay(timing jsonb)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_amount int := (timing ->> 'delay_amount')::int;
  v_unit text := timing ->> 'delay_unit';
  v_calendar text := timing ->> 'calendar';
begin
  if v_unit = 'business_days' and v_amount > 999 then
    raise exception '% business days are more than 999', v_amount using
      errcode = 'ZD203', column = 'timing.delay_amount',
      hint = 'Count so long a time in weeks.';
  end if;
  if v_unit <> 'business_days' and v_calendar is not null then
    raise exception '% do not go by a calendar', v_unit using
      errcode = 'ZD203', column = 'timing.calendar',
      hint = 'Leave calendar out, or count business_days.';
  end if;
  return (timing - 'calendar')
    || jsonb_build_object('delay_amount', v_amount)
    || case
      when v_calendar <> 'default' then jsonb_build_object('calendar', v_calendar)
      else '{}'
    end;
end
$$;

comment on function dripdrop._canonical_delay(jsonb) is
  'A timing with the fields of its delay checked and in their stored form.';

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
  where d.field in ('delay_amount', 'delay_unit', 'calendar');
  if v_delay is not null then
    perform dripdrop._check_document(
      v_delay || '{"type": "delay"}', 'timing.delay', 'timing.'
    );
    v_canonical := dripdrop._canonical_delay(v_canonical);
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
