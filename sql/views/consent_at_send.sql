-- The proof that whoever was written to had agreed to it, as of the moment the fence was passed.
create or replace view dripdrop.consent_at_send
with (security_invoker = true) as
select
  x.tenant_key,
  x.id as execution_id,
  x.enrollment_id,
  e.subscriber_type,
  e.subscriber_id,
  t.key as topic,
  x.claimed_at as sent_at,
  coalesce(c.state, case when t.opt_in then 'unsubscribed' else 'subscribed' end)
  = 'subscribed' as had_consent,
  c.state,
  c.source,
  c.at as said_at
from dripdrop.step_executions as x
join dripdrop.enrollments as e on e.id = x.enrollment_id
join dripdrop.steps as s on s.id = x.step_id
join dripdrop.topics as t
  on t.key = s.config ->> 'topic' and t.tenant_key is not distinct from x.tenant_key
left join lateral (
  select r.state, r.source, r.at
  from dripdrop.consent_records as r
  where r.subscriber_id = e.subscriber_id
    and r.subscriber_type = e.subscriber_type
    and r.topic_id = t.id
    and r.at <= x.claimed_at
  order by r.at desc, r.id desc
  limit 1
) as c on true
where x.state = 'sent';

comment on view dripdrop.consent_at_send is
  'For each message with a topic that was sent: the consent in force when it left.';
comment on column dripdrop.consent_at_send.tenant_key is 'The tenant.';
comment on column dripdrop.consent_at_send.execution_id is 'The message.';
comment on column dripdrop.consent_at_send.enrollment_id is 'The enrolment.';
comment on column dripdrop.consent_at_send.subscriber_type is 'What kind of subscriber.';
comment on column dripdrop.consent_at_send.subscriber_id is 'The subscriber.';
comment on column dripdrop.consent_at_send.topic is 'The topic of its step.';
comment on column dripdrop.consent_at_send.sent_at is 'When it passed the fence.';
comment on column dripdrop.consent_at_send.had_consent is
  'Whether the subscriber had subscribed or, unless the topic is opt-in, had not opted out.';
comment on column dripdrop.consent_at_send.state is
  'What the subscriber had said last; null for nothing.';
comment on column dripdrop.consent_at_send.source is 'Where that was said.';
comment on column dripdrop.consent_at_send.said_at is 'When that was said.';
