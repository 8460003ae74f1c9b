-- Also for channels that no provider serves yet: lists of those who opted out come from elsewhere.
create or replace function dripdrop._suppression_fault(tenant_key text, suppression jsonb)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when jsonb_typeof(suppression) <> 'object' then 'object'
    when suppression - '{channel,recipient,reason,source,metadata,topic,expires_at}'::text[] <> '{}'
    then 'field'
    when c.channel is null then 'channel'
    when coalesce(btrim(dripdrop._address(c.address_form, suppression ->> 'recipient')), '') = ''
    then 'recipient'
    when not dripdrop._can_be_suppressed(c.address_form, suppression ->> 'recipient') then 'address'
    when suppression ->> 'expires_at' is not null
      and not dripdrop._is_time_to_come(suppression ->> 'expires_at')
    then 'expires_at'
    when suppression ? 'reason' and dripdrop._severity(suppression ->> 'reason') is null
    then 'reason'
    when jsonb_typeof(suppression -> 'metadata') not in ('object', 'null') then 'metadata'
    when suppression ->> 'topic' is not null and not exists (
      select from dripdrop.topics as t
      where t.key = suppression ->> 'topic'
        and t.tenant_key is not distinct from _suppression_fault.tenant_key
    )
    then 'topic'
  end
  from (values (1)) as one
  left join dripdrop.channels as c on c.channel = suppression ->> 'channel'
$$;

comment on function dripdrop._suppression_fault(text, jsonb) is
  'What is wrong with an element of a list of suppressions, as _refuse_suppression() knows it, or '
  'null.';

create or replace function dripdrop._address_hint(channel text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case c.address_form
    when 'mailbox' then 'For example sam@example.com, or @example.com for a whole domain.'
    when 'phone' then 'A number with its country, for example +4915123456789.'
    when 'name' then 'A name of at most 500 bytes.'
    else 'Its messages go to nobody by an address.'
  end
  from dripdrop.channels as c
  where c.channel = _address_hint.channel
$$;

comment on function dripdrop._address_hint(text) is 'What an address of a channel looks like.';

-- raises  ZD131 unknown topic, ZD201 bad argument, ZD202 unknown channel; with the element in the
--         detail
create or replace function dripdrop._refuse_suppression(
  fault text,
  suppression jsonb,
  place bigint
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_place text := format('Element %s of the suppressions.', place);
  v_value text := dripdrop._quoted(suppression ->> fault);
begin
  case fault
    when 'object' then
      raise exception 'a suppression is not an object' using
        errcode = 'ZD201', column = 'suppressions', detail = v_place,
        hint = 'Write {"channel": "email", "recipient": …}.';
    when 'field' then
      raise exception 'a suppression has an unknown field' using
        errcode = 'ZD201', column = 'suppressions', detail = v_place,
        hint = 'The fields are channel, recipient, reason, source, metadata, topic and expires_at.';
    when 'channel' then
      raise exception 'channel % is unknown', v_value using
        errcode = 'ZD202', column = 'channel', detail = v_place,
        hint = 'select * from dripdrop.channels() lists them.';
    when 'recipient' then
      raise exception 'a recipient is needed' using
        errcode = 'ZD201', column = 'recipient', detail = v_place,
        hint = dripdrop._address_hint(suppression ->> 'channel');
    when 'address' then
      raise exception '% is no address of channel %',
        dripdrop._quoted(suppression ->> 'recipient'), suppression ->> 'channel' using
        errcode = 'ZD201', column = 'recipient', detail = v_place,
        hint = case
          when suppression ->> 'recipient' like '%*%'
          then 'Write @example.com for a whole domain, and each of its subdomains by itself.'
          else dripdrop._address_hint(suppression ->> 'channel')
        end;
    when 'expires_at' then
      raise exception 'expires_at % is not a time to come', v_value using
        errcode = 'ZD201', column = 'expires_at', detail = v_place,
        hint = 'For example 2026-12-24T18:00:00Z, within 100 years; leave it out for a suppression '
          'for good.';
    when 'reason' then
      raise exception 'reason % is unknown', v_value using
        errcode = 'ZD201', column = 'reason', detail = v_place,
        hint = 'Use unsubscribe, bounce, complaint, manual or provider_block.';
    when 'metadata' then
      raise exception 'metadata is not an object' using
        errcode = 'ZD201', column = 'metadata', detail = v_place,
        hint = 'Pass an object, for example ''{}''.';
    when 'topic' then
      raise exception 'topic % not found', v_value using
        errcode = 'ZD131', column = 'topic', detail = v_place,
        hint = 'list_topics() shows those of the tenant that is named first; leave it out for '
          'every message.';
  end case;
end
$$;

comment on function dripdrop._refuse_suppression(text, jsonb, bigint) is
  'Raises what is wrong with an element of a list of suppressions.';

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
  v_bad record;
begin
  if jsonb_typeof(suppressions) is distinct from 'array' then
    raise exception 'suppressions is not a list' using
      errcode = 'ZD201', column = 'suppressions',
      hint = 'Pass [{"channel": "email", "recipient": …, "reason": …}, …].';
  end if;
  select f.fault, s.suppression, s.place into v_bad
  from jsonb_array_elements(suppressions) with ordinality as s (suppression, place)
  cross join lateral (
    select dripdrop._suppression_fault(_check_suppressions.tenant_key, s.suppression) as fault
    offset 0
  ) as f
  where f.fault is not null
  order by s.place
  limit 1;
  if found then
    perform dripdrop._refuse_suppression(v_bad.fault, v_bad.suppression, v_bad.place);
  end if;
end
$$;

comment on function dripdrop._check_suppressions(text, jsonb) is
  'Raises on the first element of a list of suppressions that makes no sense.';

-- A suppression may name an address that could never be sent to, such as one of another script:
-- it does no harm. What could match nothing at all is a mistake.
create or replace function dripdrop._can_be_suppressed(form text, recipient text)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when form = 'mailbox'
    then dripdrop._address(form, recipient) ~ '^[^@[:space:]]*@[^@[:space:]]+$'
      and dripdrop._address(form, recipient) !~ E'[][()<>,;:"\\\\*]|[.]$'
    else dripdrop._is_address(form, dripdrop._address(form, recipient))
  end
$$;

comment on function dripdrop._can_be_suppressed(text, text) is
  'Whether this is an address of its form or, for a mailbox, a domain with its @.';
