create table dripdrop.channel_adapters (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  name text not null,
  channel text not null,
  provider text not null,
  credentials bytea,
  config jsonb not null default '{}',
  is_default boolean not null default false,
  active boolean not null default true,
  health_state text,
  health_score numeric,
  resting_until timestamptz,
  resting_reason text,
  last_send_at timestamptz,
  daily_cap int,
  ramp_started_at timestamptz,
  ramp_increment int,
  ramp_floor int,
  min_gap_seconds int,
  concurrency int,
  rate_limits jsonb not null default '{}',
  time_zone text,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint channel_adapters_pkey primary key (id),
  constraint channel_adapters_of_a_provider foreign key (channel, provider)
  references dripdrop.providers (channel, provider),
  constraint channel_adapters_one_name_per_tenant unique nulls not distinct (tenant_key, name),
  constraint channel_adapters_tenant_key_is_valid check (
    tenant_key <> '' and tenant_key not like ':%'
  ),
  constraint channel_adapters_name_is_not_empty check (name <> ''),
  constraint channel_adapters_config_is_an_object check (jsonb_typeof(config) = 'object'),
  constraint channel_adapters_health_state_is_known
  check (health_state in ('active', 'resting', 'probing', 'ramping')),
  constraint channel_adapters_health_score_is_a_share check (health_score between 0 and 1),
  constraint channel_adapters_daily_cap_is_positive check (daily_cap > 0),
  constraint channel_adapters_ramp_increment_is_positive check (ramp_increment > 0),
  constraint channel_adapters_ramp_floor_is_not_negative check (ramp_floor >= 0),
  constraint channel_adapters_min_gap_is_not_negative check (min_gap_seconds >= 0),
  constraint channel_adapters_concurrency_is_positive check (concurrency > 0),
  constraint channel_adapters_rate_limits_are_an_object check (jsonb_typeof(rate_limits) = 'object')
)
with (fillfactor = 70);

-- One default per tenant and channel. Promoting another demotes the old one in the same statement.
create unique index channel_adapters_one_default
on dripdrop.channel_adapters (tenant_key, channel) nulls not distinct
where is_default;

comment on table dripdrop.channel_adapters is
  'A sender: an account at a provider, with its sealed credentials and its limits.';
comment on column dripdrop.channel_adapters.id is 'Time-ordered uuid.';
comment on column dripdrop.channel_adapters.tenant_key is
  'The tenant; null is shared by all tenants that have no adapter of their own.';
comment on column dripdrop.channel_adapters.name is
  'Unique in the tenant; bound into the sealed credentials.';
comment on column dripdrop.channel_adapters.channel is 'email, sms, webhook, …: see providers().';
comment on column dripdrop.channel_adapters.provider is 'smtp, postmark, …: see providers().';
comment on column dripdrop.channel_adapters.credentials is
  'AES-256-GCM envelope made by the driver; the database never holds the key.';
comment on column dripdrop.channel_adapters.config is
  'What is not secret: host, port, from, max_in_flight, thresholds, ….';
comment on column dripdrop.channel_adapters.is_default is
  'Used for the channel when a step and its sequence name none.';
comment on column dripdrop.channel_adapters.active is 'False takes the sender out of every choice.';
comment on column dripdrop.channel_adapters.health_state is
  'active, resting, probing or ramping; null is not managed. Resting without resting_until is '
  'paused until resume_adapter().';
comment on column dripdrop.channel_adapters.health_score is
  'From 0 to 1, as an outside signal reports it. Nothing reads it yet.';
comment on column dripdrop.channel_adapters.resting_until is
  'Nothing leaves through this sender before this time, whatever its health state.';
comment on column dripdrop.channel_adapters.resting_reason is
  'Why it rests or last rested: rate_limited, auth_error, bounce_threshold, manual, ….';
comment on column dripdrop.channel_adapters.last_send_at is 'When a message last left.';
comment on column dripdrop.channel_adapters.rate_limits is
  'Rates by scope, each {"count", "seconds"} or false.';
comment on column dripdrop.channel_adapters.inserted_at is 'When the row was made.';
comment on column dripdrop.channel_adapters.updated_at is 'When the row last changed.';
