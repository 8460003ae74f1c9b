-- What can be sent with. A provider is idempotent when a second request with our key delivers
-- nothing twice, so that an uncertain send may simply be repeated.
create or replace function dripdrop.providers()
returns table (channel text, provider text, idempotent boolean)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  values
    ('email', 'smtp', false),
    ('email', 'postmark', false),
    ('webhook', 'default', true)
$$;

comment on function dripdrop.providers() is
  'The channels and their providers, and whether the provider deduplicates on the idempotency key.';

create or replace function dripdrop._check_channel(channel text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from dripdrop.providers() as p
    where p.channel = _check_channel.channel
  ) then
    raise exception 'channel "%" is unknown', channel using
      errcode = 'ZD202', column = 'channel',
      hint = 'select distinct channel from dripdrop.providers() lists the channels.';
  end if;
end
$$;

comment on function dripdrop._check_channel(text) is
  'Raises ZD202 for a channel no provider serves.';

-- The one place that says how the addresses of a channel are compared. A domain in another script
-- stays as it is written; what a telephone number is written with goes, and 00 is a +.
create or replace function dripdrop._normalized(channel text, recipient text)
returns text
language sql
immutable
parallel safe
return case
  when channel = 'email' then lower(btrim(recipient, E' \t\r\n'))
  when channel in ('sms', 'whatsapp')
  then regexp_replace(translate(recipient, E' .-()\t\r\n', ''), '^00', '+')
  when channel in ('slack', 'telegram') then lower(btrim(recipient, E' \t\r\n'))
  else btrim(recipient, E' \t\r\n')
end;

comment on function dripdrop._normalized(text, text) is
  'An address as it is compared with others of its channel.';

-- The one place that says which address a channel uses. Null: the channel has none.
create or replace function dripdrop._recipient(channel text, config jsonb, data jsonb)
returns text
language sql
immutable
parallel safe
return dripdrop._normalized(
  channel,
  data ->> case
    when channel = 'email' then coalesce(config ->> 'recipient_key', 'email')
    when channel in ('sms', 'whatsapp') then coalesce(config ->> 'recipient_key', 'phone')
    when channel in ('slack', 'telegram') then coalesce(config ->> 'recipient_key', channel)
  end
);

comment on function dripdrop._recipient(text, jsonb, jsonb) is
  'The normalised address an enrolment''s data holds for a channel.';

-- What a browser's e-mail field accepts (https://html.spec.whatwg.org/#valid-e-mail-address),
-- and RFC 5321's length. A telephone number is one of E.164.
create or replace function dripdrop._is_recipient(channel text, recipient text)
returns boolean
language sql
immutable
parallel safe
return case
  when channel = 'email' then coalesce(
    length(recipient) <= 254
    and recipient ~ '^[a-zA-Z0-9.!#$%&''*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*$',
    false
  )
  when channel in ('sms', 'whatsapp') then coalesce(recipient ~ '^\+[1-9][0-9]{6,14}$', false)
  when channel in ('slack', 'telegram') then coalesce(recipient <> '', false)
  else true
end;

comment on function dripdrop._is_recipient(text, text) is 'Whether a channel can use this address.';
