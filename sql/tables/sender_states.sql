-- How a sender, or the endpoint of an HTTP hook, is doing, as its server's answers tell. What
-- operators and thresholds do to a sender is in channel_adapters and adapter_rests: neither
-- touches the other. Each spell, from the first fault to the success that ends it, is one row:
-- the row without an end is the present, those with one are the history.
create table dripdrop.sender_states (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  kind text not null default 'circuit',
  adapter_id uuid,
  http_hook_id uuid,
  host text not null default '',
  state text not null,
  reason text not null,
  detail text,
  openings int not null default 0,
  faults int not null default 1,
  probes int not null default 0,
  until timestamptz,
  probe_id uuid,
  tried_id uuid,
  started_at timestamptz not null default dripdrop._now(),
  changed_at timestamptz not null default dripdrop._now(),
  ended_at timestamptz,
  constraint sender_states_pkey primary key (id),
  constraint sender_states_of_an_adapter foreign key (adapter_id)
  references dripdrop.channel_adapters (id) on delete cascade,
  constraint sender_states_of_a_hook foreign key (http_hook_id)
  references dripdrop.http_hooks (id) on delete cascade,
  constraint sender_states_have_one_subject check (num_nonnulls(adapter_id, http_hook_id) = 1),
  constraint sender_states_kind_is_known check (kind in ('circuit')),
  constraint sender_states_state_is_known check (state in ('closed', 'resting', 'probing')),
  constraint sender_states_rest_until_a_time check (state = 'closed' or until is not null),
  constraint sender_states_probe_with_a_message check (probe_id is null or state = 'probing')
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create unique index sender_states_one_at_present
on dripdrop.sender_states (adapter_id, http_hook_id, host, kind) nulls not distinct
where ended_at is null;

-- What has ended not long ago: who waited for it is released.
create index sender_states_ended on dripdrop.sender_states (ended_at) where ended_at is not null;

comment on table dripdrop.sender_states is
  'Circuits of senders and of hooks'' endpoints: since when a server is away, why, and when it is '
  'tried again. No row without an end: all is well.';
comment on column dripdrop.sender_states.id is 'Time-ordered uuid.';
comment on column dripdrop.sender_states.tenant_key is 'The tenant of the sender or hook.';
comment on column dripdrop.sender_states.kind is 'circuit.';
comment on column dripdrop.sender_states.adapter_id is 'The sender, unless it is a hook.';
comment on column dripdrop.sender_states.http_hook_id is 'The HTTP hook, unless it is a sender.';
comment on column dripdrop.sender_states.host is
  'The host, where each message or call has a URL of its own; else empty.';
comment on column dripdrop.sender_states.state is
  'resting: nothing leaves before until. probing: one message, probe_id, tries. closed: all '
  'leaves, and some faults are counted.';
comment on column dripdrop.sender_states.reason is
  'The code of the last fault: connect_error, smtp_421, http_429, ….';
comment on column dripdrop.sender_states.detail is 'The server''s words, redacted.';
comment on column dripdrop.sender_states.openings is
  'How often in a row it was found away: the rest doubles with each.';
comment on column dripdrop.sender_states.faults is 'Faults counted in this spell.';
comment on column dripdrop.sender_states.probes is 'Messages that were let through to try it.';
comment on column dripdrop.sender_states.until is
  'When the next message may try; while probing, when the answer is given up.';
comment on column dripdrop.sender_states.probe_id is 'The execution that tries.';
comment on column dripdrop.sender_states.tried_id is
  'The execution that failed or tried last: next time it is another''s turn.';
comment on column dripdrop.sender_states.started_at is 'When the spell began.';
comment on column dripdrop.sender_states.changed_at is 'When its state last changed.';
comment on column dripdrop.sender_states.ended_at is 'When a success ended it.';
