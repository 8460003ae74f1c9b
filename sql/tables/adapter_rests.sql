-- What operators and thresholds did to senders, and until when. What a provider asks for by itself,
-- a rate limit of some minutes, is only in channel_adapters.
create table dripdrop.adapter_rests (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  adapter_id uuid not null,
  reason text not null,
  detail jsonb not null default '{}',
  health_state text,
  started_at timestamptz not null default dripdrop._now(),
  started_by text not null default session_user,
  until timestamptz,
  ended_at timestamptz,
  ended_by text,
  constraint adapter_rests_pkey primary key (id),
  constraint adapter_rests_of_an_adapter foreign key (adapter_id)
  references dripdrop.channel_adapters (id) on delete cascade,
  constraint adapter_rests_end_by_somebody check ((ended_at is null) = (ended_by is null))
);

create index adapter_rests_by_adapter on dripdrop.adapter_rests (adapter_id, started_at);

comment on table dripdrop.adapter_rests is
  'When a sender was paused, or rested for its bounces and complaints: by whom, why, until when.';
comment on column dripdrop.adapter_rests.id is 'Time-ordered uuid.';
comment on column dripdrop.adapter_rests.tenant_key is 'The tenant of the sender.';
comment on column dripdrop.adapter_rests.adapter_id is 'The sender.';
comment on column dripdrop.adapter_rests.reason is
  'bounce_threshold, complaint_threshold, or what pause_adapter() was given.';
comment on column dripdrop.adapter_rests.detail is 'What was counted, for a threshold.';
comment on column dripdrop.adapter_rests.health_state is
  'The health state before it, which resume_adapter() gives back.';
comment on column dripdrop.adapter_rests.started_at is 'When it began.';
comment on column dripdrop.adapter_rests.started_by is 'The role that logged in to do it.';
comment on column dripdrop.adapter_rests.until is
  'When it ends by itself; null means by resume_adapter() only.';
comment on column dripdrop.adapter_rests.ended_at is
  'When it was ended before its time, by resume_adapter() or by another rest.';
comment on column dripdrop.adapter_rests.ended_by is 'The role that logged in to end it.';
