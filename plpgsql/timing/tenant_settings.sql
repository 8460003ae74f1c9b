-- Null leaves a setting as it is.
--
-- locks   the tenant's settings
-- raises  ZD201 bad thresholds, ZD204 unknown time zone, ZD207 bad tenant key
create or replace function dripdrop.update_tenant_settings(
  tenant_key text,
  time_zone text default null,
  thresholds jsonb default null
)
returns dripdrop.tenant_settings
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_settings dripdrop.tenant_settings;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  if time_zone is not null then
    perform dripdrop._check_time_zone(time_zone, 'time_zone');
  end if;
  if thresholds is not null then
    perform dripdrop._check_thresholds(thresholds, 'thresholds');
  end if;

  insert into dripdrop.tenant_settings as s (tenant_key, time_zone, thresholds)
  values (
    update_tenant_settings.tenant_key,
    update_tenant_settings.time_zone,
    update_tenant_settings.thresholds
  )
  on conflict on constraint tenant_settings_one_per_tenant do update
  set time_zone = coalesce(excluded.time_zone, s.time_zone),
      thresholds = coalesce(excluded.thresholds, s.thresholds),
      updated_at = dripdrop._now()
  returning s.* into v_settings;
  return v_settings;
end
$$;

comment on function dripdrop.update_tenant_settings(text, text, jsonb) is
  'Changes what holds for a whole tenant and returns it; what null says holds for the tenants that '
  'say nothing. time_zone: of the subscribers for whom neither their data nor the step nor the '
  'sequence names one. thresholds: the bounce and complaint rates at which its senders rest, or '
  'false.';

create or replace function dripdrop._default_time_zone(tenant_key text)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (
      select s.time_zone
      from dripdrop.tenant_settings as s
      where (s.tenant_key = _default_time_zone.tenant_key or s.tenant_key is null)
        and s.time_zone is not null
      order by s.tenant_key nulls last
      limit 1
    ),
    'UTC'
  )
$$;

comment on function dripdrop._default_time_zone(text) is
  'The zone of local times of a tenant where subscriber, step and sequence name none.';
