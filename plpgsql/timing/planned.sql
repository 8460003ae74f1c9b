-- A time in an enrolment's data without an offset is one on the subscriber's clock, a day its
-- beginning. What is no time is none.
create or replace function dripdrop._time_in_data(timing jsonb, data jsonb, time_zone text)
returns timestamptz
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
set datestyle = iso
as $$
declare
  v_text text := btrim(data #>> (string_to_array(timing ->> 'relative_to', '.'))[2:]);
  v_day text := '^[0-9]{4}-[0-9]{2}-[0-9]{2}';
  v_clock text := '[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?';
  v_at timestamptz;
begin
  if v_text ~ (v_day || '([Tt ]' || v_clock || ')?$') then
    v_at := dripdrop._first_instant(v_text::timestamp, time_zone);
  elsif v_text ~ (v_day || '[Tt ]' || v_clock || ' ?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$') then
    v_at := v_text::timestamptz;
  end if;
  return case when extract(year from v_at) between 1900 and 2200 then v_at end;
exception
  when data_exception then
    return null;
end
$$;

comment on function dripdrop._time_in_data(jsonb, jsonb, text) is
  'The time in an enrolment''s data that a timing is counted from, or null.';

-- What a step's time depends on beside the step and the zone: when the enrolment began, or a time
-- in its data, -infinity if that has none; of all others the time that is given.
create or replace function dripdrop._counts_from(
  timing jsonb,
  data jsonb,
  time_zone text,
  started_at timestamptz,
  at timestamptz
)
returns timestamptz
language sql
stable
parallel safe
return case timing ->> 'type'
  when 'interval' then started_at
  when 'relative' then coalesce(dripdrop._time_in_data(timing, data, time_zone), '-infinity')
  else at
end;

comment on function dripdrop._counts_from(jsonb, jsonb, text, timestamptz, timestamptz) is
  'The time from which a step of an enrolment is counted.';

-- What goes by a time that the data does not have is due at once: the gate says why it is skipped.
create or replace function dripdrop._planned_at(
  timing jsonb,
  time_zone text,
  counted_from timestamptz,
  at timestamptz,
  tenant_key text
)
returns timestamptz
language sql
stable
parallel safe
return case
  when timing ->> 'type' = 'relative' then
    case
      when counted_from = '-infinity' then at
      else dripdrop._next_time(timing, time_zone, counted_from, tenant_key)
    end
  else dripdrop._next_time(timing, time_zone, at, tenant_key, counted_from)
end;

comment on function dripdrop._planned_at(jsonb, text, timestamptz, timestamptz, text) is
  'When a step is due that is planned at a time; counted_from: by _counts_from().';

-- The same for one enrolment.
create or replace function dripdrop._planned_for(
  timing jsonb,
  config jsonb,
  enrollment dripdrop.enrollments,
  at timestamptz
)
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._planned_at(
    _planned_for.timing,
    z.time_zone,
    dripdrop._counts_from(
      _planned_for.timing, enrollment.data, z.time_zone, enrollment.started_at, _planned_for.at
    ),
    _planned_for.at,
    enrollment.tenant_key
  )
  from (
    select dripdrop._time_zone_of(enrollment, _planned_for.config) as time_zone
    offset 0
  ) as z
$$;

comment on function dripdrop._planned_for(jsonb, jsonb, dripdrop.enrollments, timestamptz) is
  'When a step is due for an enrolment if it is planned at a time.';
