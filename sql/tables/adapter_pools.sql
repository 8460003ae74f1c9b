create table dripdrop.adapter_pools (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  name text not null,
  on_pin_unavailable text not null default 'pause',
  metadata jsonb not null default '{}',
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint adapter_pools_pkey primary key (id),
  constraint adapter_pools_one_name_per_tenant unique nulls not distinct (tenant_key, name),
  constraint adapter_pools_tenant_key_is_valid check (
    tenant_key <> '' and tenant_key not like ':%'
  ),
  constraint adapter_pools_policy_is_known check (on_pin_unavailable in ('pause', 'reassign'))
);

comment on table dripdrop.adapter_pools is
  'Senders that outbound enrolments are to be spread over. Nothing reads them yet, but the '
  'validation of a version.';
comment on column dripdrop.adapter_pools.id is 'Time-ordered uuid.';
comment on column dripdrop.adapter_pools.tenant_key is 'The tenant; null is the global scope.';
comment on column dripdrop.adapter_pools.name is 'Unique in the tenant.';
comment on column dripdrop.adapter_pools.on_pin_unavailable is
  'What is to happen when an enrolment''s sender is gone: pause or reassign. Nothing reads it yet.';
comment on column dripdrop.adapter_pools.metadata is 'The application''s own.';
comment on column dripdrop.adapter_pools.inserted_at is 'When the row was made.';
comment on column dripdrop.adapter_pools.updated_at is 'When the row last changed.';
