-- That a message was sent its own row says, once: it is not written again.
create or replace view dripdrop.message_events
with (security_invoker = true) as
select
  m.id,
  m.tenant_key,
  m.step_execution_id,
  m.adapter_id,
  m.channel,
  m.provider,
  m.provider_message_id,
  m.provider_event_id,
  m.event_type,
  m.event_data,
  m.in_reply_to,
  m.references_list,
  m.occurred_at
from dripdrop.message_reports as m
union all
select
  x.id,
  x.tenant_key,
  x.id,
  x.adapter_id,
  x.channel,
  coalesce(a.provider, 'dripdrop'),
  x.provider_message_id,
  null,
  'sent',
  jsonb_build_object('reason', x.reason),
  null,
  null,
  x.ended_at
from dripdrop.step_executions as x
left join dripdrop.channel_adapters as a on a.id = x.adapter_id
where x.state = 'sent';

comment on view dripdrop.message_events is
  'What became of each message: what was reported of it, and that it was sent.';
comment on column dripdrop.message_events.id is
  'Time-ordered uuid of the report; of a sent message the id of its execution.';
comment on column dripdrop.message_events.tenant_key is 'The tenant.';
comment on column dripdrop.message_events.step_execution_id is 'The execution, where it is known.';
comment on column dripdrop.message_events.adapter_id is 'The sender, where it is known.';
comment on column dripdrop.message_events.channel is 'The channel.';
comment on column dripdrop.message_events.provider is
  'Who reports it; dripdrop for the engine itself.';
comment on column dripdrop.message_events.provider_message_id is
  'The provider''s id of the message.';
comment on column dripdrop.message_events.provider_event_id is
  'The provider''s id of the event; unique per tenant and provider.';
comment on column dripdrop.message_events.event_type is
  'sent, delivered, bounced, deferred, skipped, ….';
comment on column dripdrop.message_events.event_data is
  'Details: reason, code, until; of a bounce, hard.';
comment on column dripdrop.message_events.in_reply_to is
  'The Message-ID a reply answers, without angle brackets. Nothing writes it yet.';
comment on column dripdrop.message_events.references_list is
  'The References of a reply. Nothing writes it yet.';
comment on column dripdrop.message_events.occurred_at is 'When it happened.';
