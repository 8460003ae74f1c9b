-- locks   executions that wait for it, skipping what is locked, then the adapter
-- raises  ZD107 unknown adapter, ZD201 bad argument, ZD204 unknown time zone, ZD209 bad rate
create or replace function dripdrop.set_adapter_limits(
  tenant_key text,
  adapter_id uuid,
  daily_cap int default null,
  ramp_floor int default null,
  ramp_increment int default null,
  ramp_started_at timestamptz default null,
  min_gap_seconds int default null,
  concurrency int default null,
  rate_limits jsonb default '{}',
  time_zone text default null
)
returns dripdrop.channel_adapters
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_adapter dripdrop.channel_adapters;
begin
  perform dripdrop._check_json(rate_limits, 'rate_limits');
  perform dripdrop._check_document(
    jsonb_build_object(
      'daily_cap', daily_cap, 'ramp_floor', ramp_floor, 'ramp_increment', ramp_increment,
      'ramp_started_at', ramp_started_at, 'min_gap_seconds', min_gap_seconds,
      'concurrency', concurrency, 'rate_limits', rate_limits, 'time_zone', time_zone
    ),
    'adapter_limits'
  );
  if num_nonnulls(ramp_floor, ramp_increment) = 1 then
    raise exception 'a ramp has a floor and an increment' using
      errcode = 'ZD201', column = 'ramp_floor',
      hint = 'Give both, for example ramp_floor => 5, ramp_increment => 3.';
  end if;

  update dripdrop.channel_adapters as a
  set daily_cap = set_adapter_limits.daily_cap,
      ramp_floor = set_adapter_limits.ramp_floor,
      ramp_increment = set_adapter_limits.ramp_increment,
      ramp_started_at = case
        when set_adapter_limits.ramp_floor is not null
        then coalesce(set_adapter_limits.ramp_started_at, a.ramp_started_at, dripdrop._now())
      end,
      min_gap_seconds = set_adapter_limits.min_gap_seconds,
      concurrency = set_adapter_limits.concurrency,
      rate_limits = dripdrop._canonical_rate_limits(
        coalesce(set_adapter_limits.rate_limits, '{}'), 'rate_limits'
      ),
      time_zone = set_adapter_limits.time_zone,
      updated_at = dripdrop._now()
  where a.id = set_adapter_limits.adapter_id
    and a.tenant_key is not distinct from set_adapter_limits.tenant_key
  returning a.* into v_adapter;
  if not found then
    raise exception 'adapter "%" not found', adapter_id using
      errcode = 'ZD107', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform dripdrop._ask_again(v_adapter.tenant_key, v_adapter.id, dripdrop._now());
  v_adapter.credentials := null;
  return v_adapter;
end
$$;

comment on function dripdrop.set_adapter_limits(
  text, uuid, int, int, int, timestamptz, int, int, jsonb, text
) is
  'Sets all limits of a sender; what is left out is no limit. The ramp allows ramp_floor messages '
  'on its first day and ramp_increment more each day, up to daily_cap. Days are those of '
  'time_zone. '
  'rate_limits: {"adapter": "60/m", "recipient_domain": "10/minute", "recipient": "2/24h", …}.';

-- locks   executions that wait for it, skipping what is locked, then the budget
-- raises  ZD103 unknown version, ZD107 unknown adapter, ZD201 bad argument
create or replace function dripdrop.set_adapter_sequence_budget(
  tenant_key text,
  adapter_id uuid,
  sequence_version_id uuid,
  max_share_pct int default 100,
  weight int default 1,
  daily_volume_target int default null
)
returns dripdrop.adapter_sequence_budgets
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions := dripdrop._get_version(tenant_key, sequence_version_id);
  v_budget dripdrop.adapter_sequence_budgets;
begin
  perform dripdrop._check_document(
    jsonb_build_object(
      'max_share_pct', max_share_pct, 'weight', weight, 'daily_volume_target', daily_volume_target
    ),
    'sequence_budget'
  );
  if not exists (
    select from dripdrop.channel_adapters as a
    where a.id = set_adapter_sequence_budget.adapter_id
      and (a.tenant_key is not distinct from v_version.tenant_key or a.tenant_key is null)
  ) then
    raise exception 'adapter "%" not found', adapter_id using
      errcode = 'ZD107', hint = 'Name an adapter of this tenant or a global one.';
  end if;

  insert into dripdrop.adapter_sequence_budgets as b (
    tenant_key, adapter_id, sequence_version_id, max_share_pct, weight, daily_volume_target
  )
  values (
    v_version.tenant_key,
    set_adapter_sequence_budget.adapter_id,
    v_version.id,
    set_adapter_sequence_budget.max_share_pct,
    set_adapter_sequence_budget.weight,
    set_adapter_sequence_budget.daily_volume_target
  )
  on conflict on constraint adapter_sequence_budgets_once do update
  set max_share_pct = excluded.max_share_pct,
      weight = excluded.weight,
      daily_volume_target = excluded.daily_volume_target,
      updated_at = dripdrop._now()
  returning b.* into v_budget;
  perform dripdrop._ask_again(v_version.tenant_key, v_budget.adapter_id, dripdrop._now());
  return v_budget;
end
$$;

comment on function dripdrop.set_adapter_sequence_budget(text, uuid, uuid, int, int, int) is
  'How much of a sender a version may use: at most max_share_pct of its daily cap; before others '
  'until it had daily_volume_target messages that day, then by weight.';

-- locks   executions that wait for it, skipping what is locked, then the counter
-- raises  ZD131 unknown topic, ZD201 bad argument, ZD202 unknown channel, ZD207 bad tenant key
create or replace function dripdrop.set_frequency_cap(
  tenant_key text,
  key text,
  max_messages int,
  per interval,
  channel text default null,
  topic text default null,
  kind text default 'marketing'
)
returns dripdrop.frequency_caps
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_cap dripdrop.frequency_caps;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_document(
    jsonb_build_object(
      'key', key, 'max_messages', max_messages, 'per', per, 'channel', channel, 'topic', topic,
      'kind', kind
    ),
    'frequency_cap'
  );
  if channel is not null then
    perform dripdrop._check_channel(channel);
  end if;
  if topic is not null and not exists (
    select from dripdrop.topics as t
    where t.key = set_frequency_cap.topic
      and t.tenant_key is not distinct from set_frequency_cap.tenant_key
  ) then
    raise exception 'topic % not found', dripdrop._quoted(topic) using
      errcode = 'ZD131', column = 'topic', hint = 'list_topics() shows the topics of a tenant.';
  end if;

  insert into dripdrop.frequency_caps as f (
    tenant_key, key, channel, topic, kind, max_messages, per
  )
  values (
    set_frequency_cap.tenant_key, set_frequency_cap.key, set_frequency_cap.channel,
    set_frequency_cap.topic, set_frequency_cap.kind, set_frequency_cap.max_messages,
    set_frequency_cap.per
  )
  on conflict on constraint frequency_caps_one_key_per_tenant do update
  set channel = excluded.channel,
      topic = excluded.topic,
      kind = excluded.kind,
      max_messages = excluded.max_messages,
      per = excluded.per,
      updated_at = dripdrop._now()
  returning f.* into v_cap;
  perform dripdrop._ask_again(v_cap.tenant_key, null, dripdrop._now());
  return v_cap;
end
$$;

comment on function dripdrop.set_frequency_cap(text, text, int, interval, text, text, text) is
  'One subscriber gets max_messages in any window of this length at most, over all sequences: on '
  'one channel or all, of one topic or all, marketing only or all. A minimum distance is one '
  'message per interval. Again replaces it.';

-- locks   executions that wait for it, skipping what is locked, then the counter
-- raises  ZD118 unknown cap
create or replace function dripdrop.drop_frequency_cap(tenant_key text, key text)
returns dripdrop.frequency_caps
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_cap dripdrop.frequency_caps;
begin
  delete from dripdrop.frequency_caps as f
  where f.tenant_key is not distinct from drop_frequency_cap.tenant_key
    and f.key = drop_frequency_cap.key
  returning f.* into v_cap;
  if not found then
    raise exception 'frequency cap % not found', dripdrop._quoted(key) using
      errcode = 'ZD118', hint = 'select * from dripdrop.list_frequency_caps(…) shows them.';
  end if;
  perform dripdrop._ask_again(v_cap.tenant_key, null, dripdrop._now());
  return v_cap;
end
$$;

comment on function dripdrop.drop_frequency_cap(text, text) is
  'Removes a frequency cap; what waited for it is due now.';

create or replace function dripdrop.list_frequency_caps(tenant_key text)
returns setof dripdrop.frequency_caps
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select f.*
  from dripdrop.frequency_caps as f
  where f.tenant_key is not distinct from list_frequency_caps.tenant_key
  order by f.key
$$;

comment on function dripdrop.list_frequency_caps(text) is
  'The frequency caps of exactly this tenant; those of null hold for every tenant.';
