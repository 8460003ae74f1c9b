-- What the templates of each channel hold: Liquid by field.
do $$
begin
  perform dripdrop._field(
    'template.email', 'subject', 'text', 'one line', hint => 'For example "Welcome {{ name }}!".',
    pattern => '[^ ]', required => true
  );
  perform dripdrop._field(
    'template.email', 'html', 'text', 'the message as HTML; `html`, `text` or both',
    nullable => true
  );
  perform dripdrop._field(
    'template.email', 'text', 'text', 'the message as plain text', nullable => true
  );
  perform dripdrop._field(
    'template.email', 'from', 'mailbox', 'one address, instead of the sender''s', nullable => true
  );
  perform dripdrop._field(
    'template.email', 'reply_to', 'mailbox', 'where answers go', nullable => true
  );
  perform dripdrop._field(
    'template.email', 'headers', 'object', 'headers that the message has besides',
    nullable => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'template.webhook', 'url', 'text', 'where it goes; the sender''s `url` unless given',
    nullable => true
  );
  perform dripdrop._field(
    'template.webhook', 'method', 'text', '`POST` unless given', nullable => true
  );
  perform dripdrop._field(
    'template.webhook', 'type', 'text', 'what the message is called', nullable => true
  );
  perform dripdrop._field(
    'template.webhook', 'body', 'any', 'any JSON, with Liquid in its texts', nullable => true
  );
  perform dripdrop._field(
    'template.webhook', 'headers', 'object', 'headers that the request has besides',
    nullable => true
  );
end
$$;

do $$
begin
  perform dripdrop._field('template.sms', 'text', 'text', 'the message', required => true);
  perform dripdrop._field('template.whatsapp', 'text', 'text', 'the message', required => true);
  perform dripdrop._field('template.slack', 'text', 'text', 'the message', required => true);
  perform dripdrop._field('template.telegram', 'text', 'text', 'the message', required => true);
  perform dripdrop._field(
    'template.pubsub', 'body', 'any', 'any JSON, with Liquid in its texts', required => true
  );
end
$$;
