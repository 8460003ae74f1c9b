-- raises  ZD201 bad window, thresholds or address, ZD202 unknown channel, ZD204 unknown time zone
create or replace function dripdrop._check_tenant_settings(
  time_zone text,
  rate_limits jsonb,
  send_window jsonb,
  channel_send_windows jsonb,
  thresholds jsonb,
  unsubscribe_url text,
  unsubscribe_mailto text,
  retention jsonb
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(rate_limits, 'rate_limits');
  perform dripdrop._check_json(send_window, 'send_window');
  perform dripdrop._check_json(channel_send_windows, 'channel_send_windows');
  perform dripdrop._check_json(thresholds, 'thresholds');
  perform dripdrop._check_json(retention, 'retention');
  perform dripdrop._check_document(
    jsonb_build_object(
      'time_zone', time_zone, 'rate_limits', rate_limits, 'send_window', send_window,
      'channel_send_windows', channel_send_windows, 'thresholds', thresholds,
      'retention', retention,
      'unsubscribe_url', nullif(unsubscribe_url, ''),
      'unsubscribe_mailto', nullif(unsubscribe_mailto, '')
    ),
    'tenant_settings'
  );
  if thresholds is not null then
    perform dripdrop._check_document(thresholds, 'thresholds', 'thresholds.');
  end if;
  if retention is not null then
    perform dripdrop._check_document(retention, 'retention', 'retention.');
  end if;
  if send_window <> 'null' then
    perform dripdrop._check_send_window(send_window, 'send_window');
  end if;
  perform dripdrop._check_channel_send_windows(channel_send_windows);
end
$$;

comment on function dripdrop._check_tenant_settings(
  text, jsonb, jsonb, jsonb, jsonb, text, text, jsonb
) is
  'Raises on settings of a tenant that cannot work; rates are looked at where they are written.';

-- Null leaves a setting as it is, an empty text takes an address away.
--
-- locks   executions that wait for a limit, skipping what is locked, then the tenant's settings
-- raises  ZD124 templates name the link, ZD201 bad window, thresholds or address, ZD202 unknown
--         channel, ZD204 unknown time zone, ZD207 bad tenant key, ZD209 bad rate
create or replace function dripdrop.update_tenant_settings(
  tenant_key text,
  time_zone text default null,
  rate_limits jsonb default null,
  send_window jsonb default null,
  channel_send_windows jsonb default null,
  thresholds jsonb default null,
  unsubscribe_url text default null,
  unsubscribe_mailto text default null,
  retention jsonb default null
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
  perform dripdrop._check_tenant_settings(
    time_zone, rate_limits, send_window, channel_send_windows, thresholds, unsubscribe_url,
    unsubscribe_mailto, retention
  );
  if rate_limits is not null then
    rate_limits := dripdrop._canonical_rate_limits(rate_limits, 'rate_limits');
  end if;

  insert into dripdrop.tenant_settings (tenant_key)
  values (update_tenant_settings.tenant_key)
  on conflict on constraint tenant_settings_one_per_tenant do nothing;
  update dripdrop.tenant_settings as s
  set time_zone = coalesce(update_tenant_settings.time_zone, s.time_zone),
      rate_limits = coalesce(update_tenant_settings.rate_limits, s.rate_limits),
      send_window = case
        when update_tenant_settings.send_window is null then s.send_window
        else nullif(update_tenant_settings.send_window, 'null')
      end,
      channel_send_windows = coalesce(
        update_tenant_settings.channel_send_windows, s.channel_send_windows
      ),
      thresholds = coalesce(update_tenant_settings.thresholds, s.thresholds),
      retention = coalesce(update_tenant_settings.retention, s.retention),
      unsubscribe_url = case
        when update_tenant_settings.unsubscribe_url is null then s.unsubscribe_url
        else nullif(rtrim(update_tenant_settings.unsubscribe_url, '/'), '')
      end,
      unsubscribe_mailto = case
        when update_tenant_settings.unsubscribe_mailto is null then s.unsubscribe_mailto
        else nullif(update_tenant_settings.unsubscribe_mailto, '')
      end,
      updated_at = dripdrop._now()
  where s.tenant_key is not distinct from update_tenant_settings.tenant_key
  returning s.* into v_settings;
  if unsubscribe_url = '' then
    perform dripdrop._check_links(tenant_key);
  end if;
  if rate_limits is not null then
    perform dripdrop._ask_again(tenant_key, null, dripdrop._now());
  end if;
  return v_settings;
end
$$;

comment on function dripdrop.update_tenant_settings(
  text, text, jsonb, jsonb, jsonb, jsonb, text, text, jsonb
) is
  'Changes what holds for a whole tenant and returns it; what null says holds for the tenants that '
  'say nothing. time_zone: of the subscribers for whom neither their data nor the step nor the '
  'sequence names one. rate_limits: by scope, as of a sender; senders and steps may set their '
  'own. send_window: when messages may leave where the step says nothing, false for '
  'always, JSON null to say nothing again. channel_send_windows: the same by channel, replaced as '
  'a whole. thresholds: the bounce and complaint rates at which its senders rest, or false. '
  'unsubscribe_url: where recipients reach dripdrop web, https; without it no message carries a '
  'link. unsubscribe_mailto: an address that takes requests too. retention: how long things are '
  'kept, by table, replaced as a whole; see prune().';

-- raises  ZD124
create or replace function dripdrop._check_links(tenant_key text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step text := (
    select dripdrop._named('step', s.key, s.tenant_key)
    from dripdrop.sequence_versions as v
    join dripdrop.steps as s on s.sequence_version_id = v.id and s.active
    where v.state = 'active'
      and (v.tenant_key = _check_links.tenant_key or _check_links.tenant_key is null)
      and dripdrop._links_nowhere(s)
    order by s.tenant_key nulls first, s.key
    limit 1
  );
begin
  if v_step is not null then
    raise exception 'the template of % names unsubscribe_url', v_step using
      errcode = 'ZD124', column = 'unsubscribe_url',
      hint = 'Its messages would carry a link that leads nowhere: change the template first.';
  end if;
end
$$;

comment on function dripdrop._check_links(text) is
  'Raises ZD124 where the link to unsubscribe is gone that active templates of a tenant, or with '
  'null of any, name.';
