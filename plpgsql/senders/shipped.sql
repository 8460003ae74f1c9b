-- What comes with DripDrop, written anew with every installation. Rows that were registered stay as
-- they are, also where a release brings a channel of the same name. A channel that no provider
-- serves can be suppressed: lists of those who opted out come from elsewhere.
insert into dripdrop.channels as c (
  channel, address_form, recipient_key, one_of, own_headers, retry_for, unsubscribe, own_hosts,
  shipped
)
values
(
  'email', 'mailbox', 'email', '{html,text}',
  '^(from|sender|reply-to|to|cc|bcc|subject|date|message-id|mime-version|return-path|received'
  '|dkim-signature|content-.*|resent-.*|x-smtpapi|x-msys-api|x-mc-.*)$',
  -- RFC 5321, section 4.5.4.1
  '2 days', true, false, true
),
(
  'webhook', 'none', null, null,
  '^(host|connection|content-(length|type)|transfer-encoding|webhook-(id|timestamp|signature))$',
  '1 day', false, true, true
),
('sms', 'phone', 'phone', null, null, '4 hours', false, false, true),
('whatsapp', 'phone', 'phone', null, null, '4 hours', false, false, true),
('slack', 'name', 'slack', null, null, '4 hours', false, false, true),
('telegram', 'name', 'telegram', null, null, '4 hours', false, false, true),
('pubsub', 'none', null, null, null, '4 hours', false, false, true)
on conflict on constraint channels_pkey do update
set (
  address_form, recipient_key, one_of, own_headers, retry_for, unsubscribe, topics, own_hosts
) = (
  excluded.address_form, excluded.recipient_key, excluded.one_of, excluded.own_headers,
  excluded.retry_for, excluded.unsubscribe, excluded.topics, excluded.own_hosts
)
where c.shipped;

insert into dripdrop.providers as p (channel, provider, idempotent, shipped)
values
('email', 'smtp', false, true),
('email', 'postmark', false, true),
('webhook', 'default', true, true)
on conflict on constraint providers_pkey do update
set idempotent = excluded.idempotent
where p.shipped;
