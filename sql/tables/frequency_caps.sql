create table dripdrop.frequency_caps (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  key text not null,
  channel text,
  topic text,
  kind text not null default 'marketing',
  max_messages int not null,
  per interval not null,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint frequency_caps_pkey primary key (id),
  constraint frequency_caps_one_key_per_tenant unique nulls not distinct (tenant_key, key),
  constraint frequency_caps_tenant_key_is_valid check (
    tenant_key <> '' and tenant_key not like ':%'
  ),
  constraint frequency_caps_key_is_a_slug check (key ~ '^[a-z0-9][a-z0-9_-]*$'),
  constraint frequency_caps_kind_is_known check (kind in ('marketing', 'all')),
  constraint frequency_caps_count_is_bounded check (max_messages between 1 and 100),
  constraint frequency_caps_window_is_positive check (per > interval '0')
);

comment on table dripdrop.frequency_caps is
  'How many messages one subscriber gets in a window, over all sequences.';
comment on column dripdrop.frequency_caps.id is 'Time-ordered uuid.';
comment on column dripdrop.frequency_caps.tenant_key is
  'The tenant; null holds for every tenant, each by itself.';
comment on column dripdrop.frequency_caps.inserted_at is 'When the row was made.';
comment on column dripdrop.frequency_caps.updated_at is 'When the row last changed.';
