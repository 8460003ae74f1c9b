create table dripdrop.adapter_sequence_budgets (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  adapter_id uuid not null,
  sequence_version_id uuid not null,
  weight int not null default 1,
  max_share_pct int not null default 100,
  daily_volume_target int,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint adapter_sequence_budgets_pkey primary key (id),
  constraint adapter_sequence_budgets_of_an_adapter foreign key (adapter_id)
  references dripdrop.channel_adapters (id) on delete cascade,
  constraint adapter_sequence_budgets_of_a_version foreign key (sequence_version_id)
  references dripdrop.sequence_versions (id) on delete cascade,
  constraint adapter_sequence_budgets_once unique (adapter_id, sequence_version_id),
  constraint adapter_sequence_budgets_weight_is_positive check (weight > 0),
  constraint adapter_sequence_budgets_share_is_a_percentage check (max_share_pct between 1 and 100),
  constraint adapter_sequence_budgets_target_is_positive check (daily_volume_target > 0)
);

comment on table dripdrop.adapter_sequence_budgets is
  'How much of a sender''s capacity one version may use.';
comment on column dripdrop.adapter_sequence_budgets.id is 'Time-ordered uuid.';
comment on column dripdrop.adapter_sequence_budgets.tenant_key is 'The tenant of the adapter.';
comment on column dripdrop.adapter_sequence_budgets.adapter_id is 'The sender.';
comment on column dripdrop.adapter_sequence_budgets.sequence_version_id is 'The version.';
comment on column dripdrop.adapter_sequence_budgets.inserted_at is 'When the row was made.';
comment on column dripdrop.adapter_sequence_budgets.updated_at is 'When the row last changed.';
