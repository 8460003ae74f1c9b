-- What can be sent with.
create or replace function dripdrop.providers()
returns table (channel text, provider text, idempotent boolean)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.channel, p.provider, p.idempotent
  from dripdrop.providers as p
  order by p.channel, p.provider
$$;

comment on function dripdrop.providers() is
  'The channels and their providers, and whether the provider deduplicates on the idempotency key.';

create or replace function dripdrop._check_channel(channel text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from dripdrop.providers as p
    where p.channel = _check_channel.channel
  ) then
    if exists (select from dripdrop.channels as c where c.channel = _check_channel.channel) then
      raise exception 'no provider serves channel %', dripdrop._quoted(channel) using
        errcode = 'ZD202', column = 'channel',
        hint = 'register_provider() gives it one; select * from dripdrop.providers() lists them.';
    end if;
    raise exception 'channel % is unknown', dripdrop._quoted(channel) using
      errcode = 'ZD202', column = 'channel',
      hint = 'select * from dripdrop.channels() lists the channels, and who serves them.';
  end if;
end
$$;

comment on function dripdrop._check_channel(text) is
  'Raises ZD202 for a channel no provider serves.';

create or replace function dripdrop._check_provider(channel text, provider text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from dripdrop.providers as p
    where p.channel = _check_provider.channel
      and p.provider = _check_provider.provider
  ) then
    raise exception 'provider % is unknown for channel %',
      dripdrop._quoted(provider), dripdrop._quoted(channel) using
      errcode = 'ZD202', column = 'provider',
      hint = format('Known for %s: %s.', channel, (
        select string_agg(p.provider, ', ' order by p.provider) from dripdrop.providers as p
        where p.channel = _check_provider.channel
      ));
  end if;
end
$$;

comment on function dripdrop._check_provider(text, text) is
  'Raises ZD202 for a provider that a channel does not have.';
