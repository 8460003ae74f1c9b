-- Also for channels that no provider serves yet: lists of those who opted out come from elsewhere.
-- One pass looks at all elements; the first fault is the one reported.
--
-- raises  ZD131 unknown topic, ZD201 bad argument, ZD202 unknown channel
create or replace function dripdrop._check_suppressions(tenant_key text, suppressions jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
  v_place text;
begin
  if jsonb_typeof(suppressions) is distinct from 'array' then
    raise exception 'suppressions is not a list' using
      errcode = 'ZD201', column = 'suppressions',
      hint = 'Pass [{"channel": "email", "recipient": …, "reason": …}, …].';
  end if;
  select s.place, s.suppression, fault.* into v_fault
  from jsonb_array_elements(suppressions) with ordinality as s (suppression, place)
  cross join lateral (
    values
    (
      1, 'suppressions', jsonb_typeof(s.suppression) <> 'object',
      'a suppression is not an object', 'Write {"channel": "email", "recipient": …}.'
    ),
    (
      2, 'suppressions',
      jsonb_typeof(s.suppression) = 'object'
      and s.suppression
        - '{channel,recipient,reason,source,metadata,topic,expires_at}'::text[] <> '{}',
      'a suppression has an unknown field',
      'The fields are channel, recipient, reason, source, metadata, topic and expires_at.'
    ),
    (
      3, 'channel',
      coalesce(
        s.suppression ->> 'channel' <> all (
          '{email,sms,webhook,pubsub,slack,telegram,whatsapp}'::text[]
        ),
        true
      ),
      format('channel %s is unknown', dripdrop._quoted(s.suppression ->> 'channel')),
      'Use email, sms, webhook, pubsub, slack, telegram or whatsapp.'
    ),
    (
      4, 'recipient',
      coalesce(
        btrim(dripdrop._normalized(s.suppression ->> 'channel', s.suppression ->> 'recipient')), ''
      ) = '',
      'a recipient is needed', 'For example sam@example.com.'
    ),
    (
      5, 'recipient',
      not dripdrop._can_be_suppressed(
        s.suppression ->> 'channel', s.suppression ->> 'recipient'
      ),
      format(
        '%s is no address of channel %s',
        dripdrop._quoted(s.suppression ->> 'recipient'), s.suppression ->> 'channel'
      ),
      case
        when s.suppression ->> 'recipient' like '%*%'
        then 'Write @example.com for a whole domain, and each of its subdomains by itself.'
        else 'For email sam@example.com or a whole domain as @example.com, for sms and whatsapp a '
          'number with its country as +4915123456789.'
      end
    ),
    (
      6, 'expires_at',
      s.suppression ->> 'expires_at' is not null
      and not dripdrop._is_time_to_come(s.suppression ->> 'expires_at'),
      format(
        'expires_at %s is not a time to come', dripdrop._quoted(s.suppression ->> 'expires_at')
      ),
      'For example 2026-12-24T18:00:00Z, within 100 years; leave it out for a suppression for good.'
    ),
    (
      7, 'reason',
      s.suppression ? 'reason' and dripdrop._severity(s.suppression ->> 'reason') is null,
      format('reason %s is unknown', dripdrop._quoted(s.suppression ->> 'reason')),
      'Use unsubscribe, bounce, complaint, manual or provider_block.'
    ),
    (
      8, 'metadata',
      jsonb_typeof(s.suppression -> 'metadata') not in ('object', 'null'),
      'metadata is not an object', 'Pass an object, for example ''{}''.'
    ),
    (
      9, 'topic',
      s.suppression ->> 'topic' is not null and not exists (
        select from dripdrop.topics as t
        where t.key = s.suppression ->> 'topic'
          and t.tenant_key is not distinct from _check_suppressions.tenant_key
      ),
      format('topic %s not found', dripdrop._quoted(s.suppression ->> 'topic')),
      'list_topics() shows those of the tenant that is named first; leave it out for every message.'
    )
  ) as fault (rule, field, closed, message, hint)
  where fault.closed
  order by s.place, fault.rule
  limit 1;
  if not found then
    return;
  end if;

  v_place := format('Element %s of the suppressions.', v_fault.place);
  if v_fault.field = 'channel' then
    raise exception '%', v_fault.message using
      errcode = 'ZD202', column = v_fault.field, hint = v_fault.hint, detail = v_place;
  elsif v_fault.field = 'topic' then
    raise exception '%', v_fault.message using
      errcode = 'ZD131', column = v_fault.field, hint = v_fault.hint, detail = v_place;
  end if;
  raise exception '%', v_fault.message using
    errcode = 'ZD201', column = v_fault.field, hint = v_fault.hint, detail = v_place;
end
$$;

comment on function dripdrop._check_suppressions(text, jsonb) is
  'Raises on the first element of a list of suppressions that makes no sense.';

-- A suppression may name an address that could never be sent to, such as one of another script:
-- it does no harm. What could match nothing at all is a mistake.
create or replace function dripdrop._can_be_suppressed(channel text, recipient text)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when channel = 'email'
    then dripdrop._normalized(channel, recipient) ~ '^[^@[:space:]]*@[^@[:space:]]+$'
      and dripdrop._normalized(channel, recipient) !~ E'[][()<>,;:"\\\\*]|[.]$'
    else dripdrop._is_recipient(channel, dripdrop._normalized(channel, recipient))
  end
$$;

comment on function dripdrop._can_be_suppressed(text, text) is
  'Whether this is an address of the channel or, for email, a domain with its @.';
