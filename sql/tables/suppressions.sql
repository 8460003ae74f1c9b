create table dripdrop.suppressions (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  channel text not null,
  recipient text not null,
  recipient_normalized text not null,
  topic text,
  reason text not null,
  source text,
  metadata jsonb not null default '{}',
  expires_at timestamptz,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint suppressions_pkey primary key (id),
  constraint suppressions_one_per_recipient
  unique nulls not distinct (recipient_normalized, channel, tenant_key, topic),
  constraint suppressions_tenant_key_is_valid check (tenant_key <> '' and tenant_key not like ':%'),
  constraint suppressions_reason_is_known
  check (reason in ('unsubscribe', 'bounce', 'complaint', 'manual', 'provider_block'))
);

comment on table dripdrop.suppressions is
  'Who must not be written to, over which channel, and why.';
comment on column dripdrop.suppressions.id is 'Time-ordered uuid.';
comment on column dripdrop.suppressions.tenant_key is 'The tenant; null holds for every tenant.';
comment on column dripdrop.suppressions.channel is 'The channel.';
comment on column dripdrop.suppressions.recipient is
  'The address as it was first given; erased: and a hash, where it was erased.';
comment on column dripdrop.suppressions.recipient_normalized is
  'The address as it is compared; for email also a domain with its @, which holds for every '
  'address of exactly this domain. Of an erased one the hash.';
comment on column dripdrop.suppressions.topic is
  'The key of the topic it is limited to; null holds for every message.';
comment on column dripdrop.suppressions.reason is
  'unsubscribe, bounce, complaint, manual or provider_block.';
comment on column dripdrop.suppressions.source is 'Who said so.';
comment on column dripdrop.suppressions.metadata is 'Details.';
comment on column dripdrop.suppressions.expires_at is
  'From when on it no longer holds; null is never.';
comment on column dripdrop.suppressions.inserted_at is 'When the row was made.';
comment on column dripdrop.suppressions.updated_at is 'When the row last changed.';
