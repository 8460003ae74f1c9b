-- What only Postgres, Python and ECMAScript read alike is used.
create or replace function dripdrop._pattern(name text)
returns text
language sql
immutable
parallel safe
begin atomic
  with pattern as (
    select
      p.*,
      '(?=.{1,253}$)(?!([0-9A-Za-z_-]+\.)*(0[Xx][0-9A-Fa-f]*|[0-9]+)$)'
      || p.label || '(\.' || p.label || ')*' as name,
      '(' || p.octet || '\.){3}' || p.octet as ipv4,
      '[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}(:(' || p.octet || '\.){3}' || p.octet || ')?'
      as ipv6,
      '(?=[^@]{1,64}@)[!#-''*+/-9=?A-Z^-~-]+(\.[!#-''*+/-9=?A-Z^-~-]+)*'
      '@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*'
      as address
    from (
      values (
        '[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?',
        '([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])',
        '([1-9][0-9]{0,2}|1000)',
        '(25[0-5]|(2[0-4]|1[0-9]|[1-9])?[0-9])'
      )
    ) as p (label, port, count, octet)
  )
  select case _pattern.name
    -- What ends in a number is an address (RFC 1123 section 2.1).
    when 'host' then
      '^(' || p.name || '|' || p.ipv4 || '|' || p.ipv6 || ')$'
    when 'port' then
      '^' || p.port || '$'
    when 'count' then
      '^' || p.count || '$'
    when 'url' then
      '^https?://(' || p.label || '(\.' || p.label || ')*|\[' || p.ipv6 || '\])(:' || p.port || ')?'
      '([/?][!"$-~]*)?$'
    when 'mailbox' then
      '^(' || p.address || '|("([^"\\\x01-\x1f\x7f]|\\["\\])*"|[^\[\]()<>:;@\\,"\x01-\x1f\x7f]+)?'
      ' ?<' || p.address || '>)$'
    when 'helo' then
      '^(' || p.label || '(\.' || p.label || ')+|\[' || p.ipv4 || '\]|\[IPv6:' || p.ipv6 || '\])$'
    when 'line' then
      '^[^\x01-\x1f\x7f]+$'
    when 'token' then
      '^[!-~]+$'
  end
  from pattern as p;
end;

comment on function dripdrop._pattern(text) is
  'What a host, a port, a count, a url, a mailbox, a helo, a line or a token looks like.';

create or replace function dripdrop._account_fields(kind text, since text default '0.1.0')
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._field(
    kind, 'max_in_flight', 'integer',
    'How many messages a worker has at the provider at once, from 1 to 1000.',
    pattern => dripdrop._pattern('count'), since => _account_fields.since
  );
  perform dripdrop._field(
    kind, 'thresholds', 'switch',
    'When it rests for bounces and complaints, see docs/senders.md; false is never.',
    holds => 'thresholds', since => _account_fields.since
  );
end
$$;

comment on function dripdrop._account_fields(text, text) is
  'Adds the settings that every sender has to those of a provider''s.';

-- What an account has to say about itself. What is secret stands in the sealed credentials,
-- anything else there or in config.
do $$
begin
  perform dripdrop._field(
    'email.smtp', 'host', 'text',
    'The name or address of the mail server, such as "smtp.example.com".',
    maximum => 1000, pattern => dripdrop._pattern('host'), required => true, destination => true
  );
  perform dripdrop._field(
    'email.smtp', 'port', 'integer',
    'From 1 to 65535; left out it is 587, 465 or 25, as security says.',
    pattern => dripdrop._pattern('port'), destination => true
  );
  perform dripdrop._field(
    'email.smtp', 'security', 'text',
    'starttls (the default), tls from the first byte, or none.',
    choices => '{starttls,tls,none}', destination => true
  );
  perform dripdrop._field(
    'email.smtp', 'allow_plain', 'boolean',
    'true lets the password leave without TLS, for a server on this machine.',
    destination => true
  );
  perform dripdrop._field(
    'email.smtp', 'username', 'text',
    'The account''s name, if the server wants a login.',
    maximum => 1000, pattern => dripdrop._pattern('line'), destination => true
  );
  perform dripdrop._field(
    'email.smtp', 'password', 'text',
    'The account''s password.',
    maximum => 1000, pattern => dripdrop._pattern('line'), secret => true
  );
  perform dripdrop._field(
    'email.smtp', 'from', 'text',
    'One address, such as "Acme <hello@acme.example>"; a name with a comma stands in quotes.',
    maximum => 1000, pattern => dripdrop._pattern('mailbox'), required => true
  );
  perform dripdrop._field(
    'email.smtp', 'helo', 'text',
    'The full name of this machine for EHLO, such as "mail.acme.example", or "[192.0.2.1]".',
    maximum => 1000, pattern => dripdrop._pattern('helo')
  );
  perform dripdrop._field(
    'email.smtp', 'connections', 'integer',
    'How many connections a worker holds, from 1 to 1000: max_in_flight, else 8.',
    pattern => dripdrop._pattern('count')
  );
  perform dripdrop._account_fields('email.smtp');
end
$$;

do $$
begin
  perform dripdrop._field(
    'email.postmark', 'api_key', 'text',
    'The token of the Postmark server.',
    maximum => 1000, pattern => dripdrop._pattern('token'), required => true, secret => true
  );
  perform dripdrop._field(
    'email.postmark', 'from', 'text',
    'One address, such as "Acme <hello@acme.example>"; a name with a comma stands in quotes.',
    maximum => 1000, pattern => dripdrop._pattern('mailbox'), required => true
  );
  perform dripdrop._field(
    'email.postmark', 'base_url', 'text',
    'Another address of the API, such as "https://api.postmarkapp.com".',
    maximum => 1000, pattern => dripdrop._pattern('url'), destination => true
  );
  perform dripdrop._field(
    'email.postmark', 'message_stream', 'text',
    'The stream''s id, such as "broadcast".',
    maximum => 1000, pattern => dripdrop._pattern('token')
  );
  perform dripdrop._field(
    'email.postmark', 'tag', 'text',
    'A tag for all messages.',
    maximum => 1000, pattern => dripdrop._pattern('line')
  );
  perform dripdrop._field(
    'email.postmark', 'track_opens', 'boolean',
    'true or false.'
  );
  perform dripdrop._field(
    'email.postmark', 'track_links', 'text',
    'None, HtmlAndText, HtmlOnly or TextOnly.',
    choices => '{None,HtmlAndText,HtmlOnly,TextOnly}'
  );
  perform dripdrop._account_fields('email.postmark');
end
$$;

do $$
begin
  perform dripdrop._field(
    'webhook.default', 'secret', 'text',
    'What receivers verify with: whsec_ and base64.',
    maximum => 1000, pattern => '^(whsec_)?[A-Za-z0-9+/_-]+=*$', required => true, secret => true
  );
  perform dripdrop._field(
    'webhook.default', 'url', 'text',
    'Where messages go that name no url themselves, such as "https://example.com/hook".',
    maximum => 1000, pattern => dripdrop._pattern('url'), destination => true
  );
  perform dripdrop._account_fields('webhook.default');
end
$$;
