-- Null leaves a setting as it is, an empty text takes an address away.
--
-- locks   the tenant's settings
-- raises  ZD201 bad address, ZD204 unknown time zone, ZD207 bad tenant key
create or replace function dripdrop.update_tenant_settings(
  tenant_key text,
  time_zone text default null,
  unsubscribe_url text default null,
  unsubscribe_mailto text default null
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
  perform dripdrop._check_unsubscribe_addresses(unsubscribe_url, unsubscribe_mailto);

  insert into dripdrop.tenant_settings as s (
    tenant_key, time_zone, unsubscribe_url, unsubscribe_mailto
  )
  values (
    update_tenant_settings.tenant_key,
    update_tenant_settings.time_zone,
    nullif(rtrim(update_tenant_settings.unsubscribe_url, '/'), ''),
    nullif(update_tenant_settings.unsubscribe_mailto, '')
  )
  on conflict on constraint tenant_settings_one_per_tenant do update
  set time_zone = coalesce(excluded.time_zone, s.time_zone),
      unsubscribe_url = case
        when update_tenant_settings.unsubscribe_url is null then s.unsubscribe_url
        else excluded.unsubscribe_url
      end,
      unsubscribe_mailto = case
        when update_tenant_settings.unsubscribe_mailto is null then s.unsubscribe_mailto
        else excluded.unsubscribe_mailto
      end,
      updated_at = dripdrop._now()
  returning s.* into v_settings;
  return v_settings;
end
$$;

comment on function dripdrop.update_tenant_settings(text, text, text, text) is
  'Changes what holds for a whole tenant and returns it; what null says holds for the tenants that '
  'say nothing. time_zone: of the subscribers for whom neither their data nor the step nor the '
  'sequence names one. unsubscribe_url: where recipients reach dripdrop web, https; without it no '
  'message carries a link. unsubscribe_mailto: an address that takes requests too.';

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
