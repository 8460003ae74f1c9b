create table dripdrop.hooks (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  key text not null,
  function text not null,
  timeout_ms int not null default 1000,
  description text,
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint hooks_pkey primary key (id),
  constraint hooks_one_key_per_tenant unique nulls not distinct (tenant_key, key),
  constraint hooks_tenant_key_is_valid check (tenant_key <> '' and tenant_key not like ':%'),
  constraint hooks_key_is_a_name check (key ~ '^[a-z][a-z0-9_]*$'),
  constraint hooks_timeout_is_bounded check (timeout_ms between 1 and 30000)
);

comment on table dripdrop.hooks is
  'SQL functions of the application whose values conditions and templates use.';
comment on column dripdrop.hooks.id is 'Time-ordered uuid.';
comment on column dripdrop.hooks.tenant_key is
  'The tenant; null is shared by all tenants that have no hook of this key.';
comment on column dripdrop.hooks.key is 'What conditions and templates call its value.';
comment on column dripdrop.hooks.function is
  'As regprocedure prints it: schema.name(dripdrop.enrollments,jsonb).';
comment on column dripdrop.hooks.timeout_ms is 'Milliseconds a call may take, 1 to 30000.';
comment on column dripdrop.hooks.description is 'What it is for.';
comment on column dripdrop.hooks.inserted_at is 'When the row was made.';
comment on column dripdrop.hooks.updated_at is 'When the row last changed.';
