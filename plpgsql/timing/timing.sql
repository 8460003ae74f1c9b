-- A timing in its one stored form. Authoring pays for parsing,
-- so that the pipeline never meets a bad one.
--
-- raises  ZD203 with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_timing(timing jsonb)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_type text := timing ->> 'type';
  v_unknown text;
begin
  if jsonb_typeof(timing) is distinct from 'object' then
    raise exception 'timing is not an object' using
      errcode = 'ZD203', column = 'timing',
      hint = 'Write {"type": "immediate"} or {"type": "delay", "delay_amount": 3, "delay_unit": '
        '"days"}.';
  end if;

  select field into v_unknown
  from jsonb_object_keys(timing) as field
  where not field = any (
    case v_type
      when 'immediate' then array['type']
      when 'delay' then array['type', 'delay_amount', 'delay_unit']
      else array(select jsonb_object_keys(timing))
    end
  )
  limit 1;
  if v_unknown is not null then
    raise exception 'a timing of type "%" has no field "%"', v_type, v_unknown using
      errcode = 'ZD203', column = 'timing.' || v_unknown,
      hint = 'immediate has no fields; delay has delay_amount and delay_unit.';
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
    else
      raise exception 'timing type "%" is unknown', v_type using
        errcode = 'ZD203', column = 'timing.type',
        hint = 'Use immediate or delay.';
  end case;
end
$$;

comment on function dripdrop._canonical_timing(jsonb) is 'A timing checked and in its stored form.';

-- Days and weeks pass on the wall clock of the subscriber, so that 09:00 stays 09:00 over a change
-- to or from summer time; seconds, minutes and hours are absolute. A plain expression,
-- so that it is inlined per row.
create or replace function dripdrop._next_time(timing jsonb, time_zone text, from_time timestamptz)
returns timestamptz
language sql
stable
parallel safe
return case
  when timing ->> 'type' = 'immediate' then from_time
  when timing ->> 'delay_unit' in ('days', 'weeks') then
    (
      from_time at time zone time_zone
      + ((timing ->> 'delay_amount') || ' ' || (timing ->> 'delay_unit'))::interval
    ) at time zone time_zone
  else from_time + ((timing ->> 'delay_amount') || ' ' || (timing ->> 'delay_unit'))::interval
end;

comment on function dripdrop._next_time(jsonb, text, timestamptz) is
  'When a step with this timing is due, counted from a time, for a subscriber in a time zone.';

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
