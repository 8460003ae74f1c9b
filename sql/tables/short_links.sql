create table dripdrop.short_links (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  step_execution_id uuid,
  provider text not null,
  original_url text not null,
  destination_url text not null,
  short_url text,
  external_id text,
  idempotency_key text not null,
  metadata jsonb not null default '{}',
  inserted_at timestamptz not null default dripdrop._now(),
  updated_at timestamptz not null default dripdrop._now(),
  constraint short_links_pkey primary key (id),
  constraint short_links_in_an_execution foreign key (step_execution_id)
  references dripdrop.step_executions (id) on delete set null,
  constraint short_links_one_per_key unique nulls not distinct (tenant_key, idempotency_key)
);

comment on table dripdrop.short_links is
  'Links that are rewritten in a message. Nothing writes or reads them yet.';
comment on column dripdrop.short_links.id is 'Time-ordered uuid.';
comment on column dripdrop.short_links.tenant_key is 'The tenant.';
comment on column dripdrop.short_links.step_execution_id is 'The message.';
comment on column dripdrop.short_links.provider is 'Who shortens.';
comment on column dripdrop.short_links.original_url is 'The link as written.';
comment on column dripdrop.short_links.destination_url is 'Where it leads, parameters added.';
comment on column dripdrop.short_links.short_url is 'The short form.';
comment on column dripdrop.short_links.external_id is 'The provider''s id.';
comment on column dripdrop.short_links.idempotency_key is 'One link per message and URL.';
comment on column dripdrop.short_links.metadata is 'Details.';
comment on column dripdrop.short_links.inserted_at is 'When the row was made.';
comment on column dripdrop.short_links.updated_at is 'When the row last changed.';
