create table dripdrop.suppression_history (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  suppression_id uuid not null,
  action text not null,
  channel text not null,
  recipient_normalized text not null,
  topic text,
  reason text not null,
  source text,
  expires_at timestamptz,
  removed_by text,
  why text,
  login text not null default session_user,
  at timestamptz not null default dripdrop._now(),
  constraint suppression_history_pkey primary key (id),
  constraint suppression_history_action_is_known
  check (action in ('suppressed', 'changed', 'unsuppressed')),
  constraint suppression_history_removal_is_explained
  check ((action = 'unsuppressed') = (removed_by is not null and why is not null))
);

create index suppression_history_by_recipient
on dripdrop.suppression_history (recipient_normalized, channel);

comment on table dripdrop.suppression_history is
  'What became of suppressions, appended and never changed, but that an erased address becomes a '
  'hash.';
comment on column dripdrop.suppression_history.id is 'Time-ordered uuid.';
comment on column dripdrop.suppression_history.tenant_key is
  'The tenant; null for a suppression of every tenant.';
comment on column dripdrop.suppression_history.suppression_id is
  'The suppression, which is gone after its removal.';
comment on column dripdrop.suppression_history.action is 'suppressed, changed or unsuppressed.';
comment on column dripdrop.suppression_history.channel is 'The channel.';
comment on column dripdrop.suppression_history.recipient_normalized is
  'The address, or the domain with its @; erased: and a hash, where it was erased.';
comment on column dripdrop.suppression_history.topic is 'The topic it is limited to.';
comment on column dripdrop.suppression_history.reason is 'The reason from then on, or until then.';
comment on column dripdrop.suppression_history.source is 'Who gave that reason.';
comment on column dripdrop.suppression_history.expires_at is
  'The end it then had; null is never.';
comment on column dripdrop.suppression_history.removed_by is
  'Who removed it, as unsuppress() says.';
comment on column dripdrop.suppression_history.why is 'Why it was removed.';
comment on column dripdrop.suppression_history.login is 'The database login that did it.';
comment on column dripdrop.suppression_history.at is 'When.';
