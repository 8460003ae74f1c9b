create table dripdrop.sending_pauses (
  tenant_key text,
  scope text not null,
  subject text,
  reason text,
  paused_by text not null,
  paused_at timestamptz not null default dripdrop._now(),
  constraint sending_pauses_one_per_scope
  unique nulls not distinct (tenant_key, scope, subject),
  constraint sending_pauses_tenant_key_is_valid check (
    tenant_key <> '' and tenant_key not like ':%'
  ),
  constraint sending_pauses_scope_is_known check (
    scope in ('everything', 'tenant', 'sequence', 'channel', 'adapter')
  ),
  constraint sending_pauses_of_everything_have_no_tenant check (
    scope <> 'everything' or tenant_key is null
  ),
  constraint sending_pauses_have_the_subject_of_their_scope check (
    (scope in ('sequence', 'channel', 'adapter')) = (subject is not null)
  )
);

comment on table dripdrop.sending_pauses is
  'What must not send at the moment: while a row is here, the messages it covers are held.';
comment on column dripdrop.sending_pauses.tenant_key is
  'The tenant; null is the global scope or, with scope everything, all tenants.';
comment on column dripdrop.sending_pauses.scope is
  'everything, tenant, sequence, channel or adapter.';
comment on column dripdrop.sending_pauses.subject is
  'The key of the sequence, or the name of the channel or adapter.';
comment on column dripdrop.sending_pauses.reason is 'Why, in words.';
comment on column dripdrop.sending_pauses.paused_by is 'The role that paused.';
comment on column dripdrop.sending_pauses.paused_at is 'Since when.';
