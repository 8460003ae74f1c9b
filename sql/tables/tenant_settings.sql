create table dripdrop.tenant_settings (
  tenant_key text,
  time_zone text,
  rate_limits jsonb not null default '{}',
  send_window jsonb,
  channel_send_windows jsonb,
  thresholds jsonb,
  retention jsonb,
  unsubscribe_url text,
  unsubscribe_mailto text,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint tenant_settings_one_per_tenant unique nulls not distinct (tenant_key),
  constraint tenant_settings_tenant_key_is_valid check (
    tenant_key <> '' and tenant_key not like ':%'
  ),
  constraint tenant_settings_unsubscribe_url_is_https check (unsubscribe_url like 'https://%')
);

comment on table dripdrop.tenant_settings is
  'What holds for a whole tenant unless a sequence or a step says otherwise.';
comment on column dripdrop.tenant_settings.tenant_key is
  'The tenant; what null says holds for the tenants that say nothing.';
comment on column dripdrop.tenant_settings.rate_limits is
  'Rates by scope, each {"count", "seconds"} or false.';
comment on column dripdrop.tenant_settings.send_window is
  'When messages may leave, on the subscriber''s wall clock, where the step says nothing; false '
  'for always.';
comment on column dripdrop.tenant_settings.channel_send_windows is
  'The same by channel, before send_window: {"sms": {"start": "09:00", "end": "20:00"}}.';
comment on column dripdrop.tenant_settings.thresholds is
  'Bounce and complaint rates at which a sender rests; false is off.';
comment on column dripdrop.tenant_settings.retention is
  'How long things are kept, by table: {"events": "90 days"}; without a word, for ever.';
comment on column dripdrop.tenant_settings.inserted_at is 'When the row was made.';
comment on column dripdrop.tenant_settings.updated_at is 'When the row last changed.';
