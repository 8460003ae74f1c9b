create table dripdrop.topics (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  key text not null,
  name text not null,
  description text,
  opt_in boolean not null default false,
  inserted_at timestamptz not null default dripdrop._now(),
  constraint topics_pkey primary key (id),
  constraint topics_one_key_per_tenant unique nulls not distinct (key, tenant_key),
  constraint topics_tenant_key_is_valid check (tenant_key <> '' and tenant_key not like ':%'),
  constraint topics_key_is_a_slug check (key ~ '^[a-z0-9][a-z0-9_-]*$')
);

comment on table dripdrop.topics is 'What messages are about, so that one can opt out of each.';
comment on column dripdrop.topics.id is 'Time-ordered uuid.';
comment on column dripdrop.topics.tenant_key is 'The tenant; null is the global scope.';
comment on column dripdrop.topics.key is 'What the config of steps calls it.';
comment on column dripdrop.topics.name is 'What subscribers read.';
comment on column dripdrop.topics.description is 'What it is about.';
comment on column dripdrop.topics.opt_in is
  'True: only who subscribed gets it. False: whoever did not opt out.';
comment on column dripdrop.topics.inserted_at is 'When the row was made.';
