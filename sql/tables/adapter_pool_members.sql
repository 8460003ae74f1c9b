create table dripdrop.adapter_pool_members (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  pool_id uuid not null,
  adapter_id uuid not null,
  class text not null default 'mailbox',
  weight int not null default 1,
  active boolean not null default true,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint adapter_pool_members_pkey primary key (id),
  constraint adapter_pool_members_of_a_pool foreign key (pool_id)
  references dripdrop.adapter_pools (id) on delete cascade,
  constraint adapter_pool_members_are_adapters foreign key (adapter_id)
  references dripdrop.channel_adapters (id) on delete cascade,
  constraint adapter_pool_members_once unique (pool_id, adapter_id),
  constraint adapter_pool_members_class_is_known check (class in ('mailbox', 'esp_api')),
  constraint adapter_pool_members_weight_is_positive check (weight > 0)
);

comment on table dripdrop.adapter_pool_members is
  'A sender in a pool. Nothing reads it yet, but the validation of a version.';
comment on column dripdrop.adapter_pool_members.id is 'Time-ordered uuid.';
comment on column dripdrop.adapter_pool_members.tenant_key is 'The tenant of the pool.';
comment on column dripdrop.adapter_pool_members.pool_id is 'The pool.';
comment on column dripdrop.adapter_pool_members.adapter_id is 'The sender.';
comment on column dripdrop.adapter_pool_members.class is 'mailbox or esp_api.';
comment on column dripdrop.adapter_pool_members.weight is 'Its share of new enrolments.';
comment on column dripdrop.adapter_pool_members.active is 'False takes no new enrolments.';
comment on column dripdrop.adapter_pool_members.inserted_at is 'When the row was made.';
comment on column dripdrop.adapter_pool_members.updated_at is 'When the row last changed.';
