create table dripdrop.channels (
  channel text not null,
  address_form text not null default 'none',
  recipient_key text,
  one_of text[],
  own_headers text,
  retry_for interval not null default '4 hours',
  unsubscribe boolean not null default false,
  topics boolean not null default true,
  own_hosts boolean not null default false,
  shipped boolean not null default false,
  constraint channels_pkey primary key (channel),
  constraint channels_name_fits_a_queue check (channel ~ '^[a-z][a-z0-9_]{0,30}$'),
  constraint channels_address_form_is_known check (
    address_form in ('mailbox', 'phone', 'name', 'none')
  ),
  constraint channels_with_addresses_say_where_they_stand check (
    (address_form = 'none') = (recipient_key is null)
  ),
  constraint channels_retry_for_is_positive check (retry_for > interval '0')
);

comment on table dripdrop.channels is
  'What messages are sent over: how it addresses people and what it can. What its templates hold '
  'is in fields, under template and its name.';
comment on column dripdrop.channels.channel is 'Its name; dripdrop_send_… is its queue.';
comment on column dripdrop.channels.address_form is
  'mailbox, phone or name (compared in small letters), or none: the channel has no addresses.';
comment on column dripdrop.channels.recipient_key is
  'Which field of an enrolment''s data holds the address, unless the step says so.';
comment on column dripdrop.channels.one_of is
  'Fields of the template of which at least one has to say something.';
comment on column dripdrop.channels.own_headers is
  'A regular expression of the headers that the message sets itself, and no template may.';
comment on column dripdrop.channels.retry_for is
  'How long a message is worth trying, from its first failure on, unless the step says so.';
comment on column dripdrop.channels.unsubscribe is
  'Whether its marketing messages carry a link to unsubscribe.';
comment on column dripdrop.channels.topics is 'Whether its messages may be about a topic.';
comment on column dripdrop.channels.own_hosts is
  'Whether a message may name its own server, by the url of its template.';
comment on column dripdrop.channels.shipped is
  'Whether it comes with DripDrop; others were registered, and upgrades leave them alone.';
