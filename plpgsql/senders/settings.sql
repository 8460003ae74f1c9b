-- What each provider's account has to say about itself: the one description that is read where a
-- sender is written, by startup_check(), by the driver before it opens an account, and by the
-- documentation. kind is channel and provider; type is text, integer, boolean or object; a value
-- is one of choices, or matches pattern, in which only what Postgres and Python read alike is used.
-- What is secret stands in the sealed credentials, anything else there or in config. Credentials
-- go to a destination: it changes only together with them.
create or replace function dripdrop.provider_settings()
returns table (
  kind text,
  field text,
  type text,
  choices text[],
  pattern text,
  hint text,
  secret boolean,
  required boolean,
  destination boolean
)
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
  ),
  named as (
    select
      -- What ends in a number is an address (RFC 1123 section 2.1).
      '^(' || p.name || '|' || p.ipv4 || '|' || p.ipv6 || ')$' as host,
      '^' || p.port || '$' as port,
      '^' || p.count || '$' as count,
      '^https?://(' || p.label || '(\.' || p.label || ')*|\[' || p.ipv6 || '\])(:' || p.port || ')?'
      '([/?][!"$-~]*)?$' as url,
      '^(' || p.address || '|("([^"\\\x01-\x1f\x7f]|\\["\\])*"|[^\[\]()<>:;@\\,"\x01-\x1f\x7f]+)?'
      ' ?<' || p.address || '>)$' as mailbox,
      '^(' || p.label || '(\.' || p.label || ')+|\[' || p.ipv4 || '\]|\[IPv6:' || p.ipv6 || '\])$'
      as helo,
      '^[^\x01-\x1f\x7f]+$' as line,
      '^[!-~]+$' as token
    from pattern as p
  )
  select s.*
  from named as p
  cross join lateral (
    values
      (
        'email.smtp', 'host', 'text', null::text[], p.host,
        'The name or address of the mail server, such as "smtp.example.com".', false, true, true
      ),
      (
        'email.smtp', 'port', 'integer', null, p.port,
        'From 1 to 65535; left out it is 587, 465 or 25, as security says.', false, false, true
      ),
      (
        'email.smtp', 'security', 'text', array['starttls', 'tls', 'none'], null,
        'starttls (the default), tls from the first byte, or none.', false, false, true
      ),
      (
        'email.smtp', 'allow_plain', 'boolean', null, null,
        'true lets the password leave without TLS, for a server on this machine.',
        false, false, true
      ),
      (
        'email.smtp', 'username', 'text', null, p.line,
        'The account''s name, if the server wants a login.', false, false, true
      ),
      (
        'email.smtp', 'password', 'text', null, p.line,
        'The account''s password.', true, false, false
      ),
      (
        'email.smtp', 'from', 'text', null, p.mailbox,
        'One address, such as "Acme <hello@acme.example>"; a name with a comma stands in quotes.',
        false, true, false
      ),
      (
        'email.smtp', 'helo', 'text', null, p.helo,
        'The full name of this machine for EHLO, such as "mail.acme.example", or "[192.0.2.1]".',
        false, false, false
      ),
      (
        'email.smtp', 'connections', 'integer', null, p.count,
        'How many connections a worker holds, from 1 to 1000: max_in_flight, else 8.',
        false, false, false
      ),
      (
        'email.postmark', 'api_key', 'text', null, p.token, 'The token of the Postmark server.',
        true, true, false
      ),
      (
        'email.postmark', 'from', 'text', null, p.mailbox,
        'One address, such as "Acme <hello@acme.example>"; a name with a comma stands in quotes.',
        false, true, false
      ),
      (
        'email.postmark', 'base_url', 'text', null, p.url,
        'Another address of the API, such as "https://api.postmarkapp.com".', false, false, true
      ),
      (
        'email.postmark', 'message_stream', 'text', null, p.token,
        'The stream''s id, such as "broadcast".', false, false, false
      ),
      (
        'email.postmark', 'tag', 'text', null, p.line,
        'A tag for all messages.', false, false, false
      ),
      (
        'email.postmark', 'track_opens', 'boolean', null, null, 'true or false.',
        false, false, false
      ),
      (
        'email.postmark', 'track_links', 'text',
        array['None', 'HtmlAndText', 'HtmlOnly', 'TextOnly'], null,
        'None, HtmlAndText, HtmlOnly or TextOnly.', false, false, false
      ),
      (
        'webhook.default', 'secret', 'text', null, '^(whsec_)?[A-Za-z0-9+/_-]+=*$',
        'What receivers verify with: whsec_ and base64.', true, true, false
      ),
      (
        'webhook.default', 'url', 'text', null, p.url,
        'Where messages go that name no url themselves, such as "https://example.com/hook".',
        false, false, true
      )
  ) as s (kind, field, type, choices, pattern, hint, secret, required, destination)
  union all
  select
    v.channel || '.' || v.provider, s.*
  from dripdrop.providers() as v
  cross join named as p
  cross join lateral (
    values
      (
        'max_in_flight', 'integer', null::text[], p.count,
        'How many messages a worker has at the provider at once, from 1 to 1000.',
        false, false, false
      ),
      (
        'thresholds', 'object', null, null,
        'When it rests for bounces and complaints, see docs/senders.md; false is never.',
        false, false, false
      )
  ) as s (field, type, choices, pattern, hint, secret, required, destination);
end;

comment on function dripdrop.provider_settings() is
  'What a sender of each kind (channel.provider) says about itself: type, choices or pattern, a '
  'hint, whether it is secret, required, or part of where the credentials go.';

-- Required is asked for only where nothing is sealed: what is sealed may hold it.
create or replace function dripdrop._setting_problems(kind text, config jsonb, sealed boolean)
returns table (field text, problem text, hint text)
language sql
immutable
parallel safe
begin atomic
  select
    s.field,
    case
      when v.value is null then format('%s is missing', s.field)
      when s.choices is not null
      then format('%s is none of %s', s.field, array_to_string(s.choices, ', '))
      when s.type = 'text' and jsonb_typeof(v.value) = 'string'
      then format('%s is malformed', s.field)
      else format('%s is no %s', s.field, s.type)
    end,
    s.hint
  from dripdrop.provider_settings() as s
  cross join lateral (
    select nullif(nullif(_setting_problems.config -> s.field, 'null'), '""') as value
  ) as v
  where s.kind = _setting_problems.kind
    and case
      when v.value is null then s.required and not _setting_problems.sealed
      when s.choices is not null then not (v.value #>> '{}' = any(s.choices))
      when s.type = 'boolean' then jsonb_typeof(v.value) <> 'boolean'
      when s.type = 'object' then jsonb_typeof(v.value) <> 'object' and v.value <> 'false'
      when s.type = 'text' and jsonb_typeof(v.value) <> 'string' then true
      when length(v.value #>> '{}') > 1000 then true
      else v.value #>> '{}' !~ s.pattern
    end
  union all
  select
    'security', 'the login would leave without TLS',
    'Choose starttls or tls, or set allow_plain to true for a server on this machine.'
  where _setting_problems.kind = 'email.smtp'
    and _setting_problems.config ->> 'security' = 'none'
    and _setting_problems.config ->> 'username' <> ''
    and _setting_problems.config -> 'allow_plain' is distinct from 'true';
end;

comment on function dripdrop._setting_problems(text, jsonb, boolean) is
  'What keeps a config from working for a provider, field by field.';
