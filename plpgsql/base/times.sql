-- No time plus or minus what is given may be out of range, and no loop over it without an end.
--
-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_interval(
  value interval,
  field text,
  least_value interval default '1 microsecond'
)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not (isfinite(value) and value >= least_value and value <= interval '100 years') then
    raise exception '% % is out of range', field, value using
      errcode = 'ZD201', column = _check_interval.field,
      hint = 'For example interval ''30 days''; 100 years are the most.';
  end if;
end
$$;

comment on function dripdrop._check_interval(interval, text, interval) is
  'Raises ZD201 for an interval that is shorter than another one or longer than 100 years.';

-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_time(value timestamptz, field text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if value not between
    dripdrop._now() - interval '100 years' and dripdrop._now() + interval '100 years'
  then
    raise exception '% % is not within 100 years', field, value using
      errcode = 'ZD201', column = _check_time.field, hint = 'For example 2026-12-24T18:00:00Z.';
  end if;
end
$$;

comment on function dripdrop._check_time(timestamptz, text) is
  'Raises ZD201 for a time that is further away than 100 years.';

-- Where a text in a document says when.
create or replace function dripdrop._is_near(value text)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return value::timestamptz between
    dripdrop._now() - interval '100 years' and dripdrop._now() + interval '100 years';
exception
  when data_exception then
    return false;
end
$$;

comment on function dripdrop._is_near(text) is 'Whether a text is a time within 100 years.';

-- Where a text in a document says until when.
create or replace function dripdrop._is_time_to_come(value text)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return value::timestamptz > dripdrop._now()
    and value::timestamptz <= dripdrop._now() + interval '100 years';
exception
  when data_exception then
    return false;
end
$$;

comment on function dripdrop._is_time_to_come(text) is
  'Whether a text is a time in the future, within 100 years.';

create or replace function dripdrop._interval(value text)
returns interval
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  return value::interval;
exception
  when invalid_datetime_format or datetime_field_overflow or interval_field_overflow then
    return null;
end
$$;

comment on function dripdrop._interval(text) is 'A text as the interval that it is, or null.';
