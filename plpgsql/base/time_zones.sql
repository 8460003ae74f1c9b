create or replace function dripdrop._check_time_zone(time_zone text, field text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not dripdrop._is_time_zone(time_zone) then
    raise exception 'time zone % is unknown', dripdrop._quoted(time_zone) using
      errcode = 'ZD204', column = _check_time_zone.field,
      hint = 'Use a name from pg_timezone_names, for example Europe/Berlin.';
  end if;
end
$$;

comment on function dripdrop._check_time_zone(text, text) is
  'Raises ZD204 for a name that is not in pg_timezone_names.';

-- Postgres accepts 'foo5' as a zone (a POSIX rule), so trying a name is no check; being listed is.
-- PL/pgSQL keeps the plan: one of SQL would be planned for each subscriber before 18.
create or replace function dripdrop._is_time_zone(name text)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (select from dripdrop.time_zones as z where z.name = _is_time_zone.name)
    or exists (select from pg_catalog.pg_timezone_names as z where z.name = _is_time_zone.name);
end
$$;

comment on function dripdrop._is_time_zone(text) is 'Whether a name is in pg_timezone_names.';

-- PL/pgSQL keeps the plan, as above.
create or replace function dripdrop._default_time_zone(tenant_key text)
returns text
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(
    (
      select s.time_zone
      from dripdrop.tenant_settings as s
      where (s.tenant_key = _default_time_zone.tenant_key or s.tenant_key is null)
        and s.time_zone is not null
      order by s.tenant_key nulls last
      limit 1
    ),
    'UTC'
  );
end
$$;

comment on function dripdrop._default_time_zone(text) is
  'The zone of local times of a tenant where subscriber, step and sequence name none.';
