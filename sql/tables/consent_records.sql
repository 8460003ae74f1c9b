create table dripdrop.consent_records (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  topic_id uuid not null,
  subscriber_type text not null,
  subscriber_id text not null,
  state text not null,
  source text not null,
  login text not null default session_user,
  at timestamptz not null,
  constraint consent_records_pkey primary key (id),
  constraint consent_records_of_a_topic foreign key (topic_id) references dripdrop.topics (id),
  constraint consent_records_state_is_known check (state in ('subscribed', 'unsubscribed'))
);

create index consent_records_by_subscriber
on dripdrop.consent_records (subscriber_id, subscriber_type, topic_id, at);

comment on table dripdrop.consent_records is
  'Every change of a subscription, appended and never changed, but that an erased subscriber '
  'becomes a hash.';
comment on column dripdrop.consent_records.id is 'Time-ordered uuid.';
comment on column dripdrop.consent_records.tenant_key is 'The tenant of the topic.';
comment on column dripdrop.consent_records.topic_id is 'The topic.';
comment on column dripdrop.consent_records.subscriber_type is
  'What kind of subscriber: User, Lead, ….';
comment on column dripdrop.consent_records.subscriber_id is
  'The application''s id of the subscriber, as text; erased: and a hash, where they were erased.';
comment on column dripdrop.consent_records.state is 'subscribed or unsubscribed, from then on.';
comment on column dripdrop.consent_records.source is 'Where it was said.';
comment on column dripdrop.consent_records.login is 'The database login that recorded it.';
comment on column dripdrop.consent_records.at is 'When.';
