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

-- The one place that says how the addresses of a channel are compared.
create or replace function dripdrop._normalized(channel text, recipient text)
returns text
language sql
immutable
parallel safe
return case channel when 'email' then lower(btrim(recipient)) else btrim(recipient) end;

comment on function dripdrop._normalized(text, text) is
  'An address as it is compared with others of its channel.';

-- The one place that says which address a channel uses. Null: the channel has none.
create or replace function dripdrop._recipient(channel text, config jsonb, data jsonb)
returns text
language sql
immutable
parallel safe
return case channel
  when 'email'
  then dripdrop._normalized(channel, data ->> coalesce(config ->> 'recipient_key', 'email'))
end;

comment on function dripdrop._recipient(text, jsonb, jsonb) is
  'The normalised address an enrolment''s data holds for a channel.';

-- What a browser's e-mail field accepts (https://html.spec.whatwg.org/#valid-e-mail-address),
-- and RFC 5321's length.
create or replace function dripdrop._is_recipient(channel text, recipient text)
returns boolean
language sql
immutable
parallel safe
return case channel
  when 'email' then coalesce(
    length(recipient) <= 254
    and recipient ~ '^[a-zA-Z0-9.!#$%&''*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*$',
    false
  )
  else true
end;

comment on function dripdrop._is_recipient(text, text) is 'Whether a channel can use this address.';
