create table dripdrop.subscriptions (
  id uuid not null default dripdrop._uuidv7(),
  tenant_key text,
  topic_id uuid not null,
  subscriber_type text not null,
  subscriber_id text not null,
  state text not null,
  source text not null,
  at timestamptz not null,
  constraint subscriptions_pkey primary key (id),
  constraint subscriptions_to_a_topic foreign key (topic_id) references dripdrop.topics (id),
  constraint subscriptions_one_per_topic unique (subscriber_id, subscriber_type, topic_id),
  constraint subscriptions_state_is_known check (state in ('subscribed', 'unsubscribed'))
);

comment on table dripdrop.subscriptions is
  'What subscribers said about topics; who said nothing has no row.';
comment on column dripdrop.subscriptions.id is 'Time-ordered uuid.';
comment on column dripdrop.subscriptions.tenant_key is 'The tenant of the topic.';
comment on column dripdrop.subscriptions.topic_id is 'The topic.';
comment on column dripdrop.subscriptions.subscriber_type is
  'What kind of subscriber: User, Lead, ….';
comment on column dripdrop.subscriptions.subscriber_id is
  'The application''s id of the subscriber, as text.';
comment on column dripdrop.subscriptions.state is 'subscribed or unsubscribed.';
comment on column dripdrop.subscriptions.source is 'Where it was said: signup, preferences, ….';
comment on column dripdrop.subscriptions.at is 'Since when the state holds.';
