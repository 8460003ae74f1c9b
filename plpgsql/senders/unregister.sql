create or replace function dripdrop._user_of_provider(channel text, provider text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select u.name
  from (
    select 1 as place, dripdrop._named('sender', a.name, a.tenant_key) as name
    from dripdrop.channel_adapters as a
    where a.channel = _user_of_provider.channel and a.provider = _user_of_provider.provider
    union all
    select 2, dripdrop._named('step', s.key, s.tenant_key)
    from dripdrop.steps as s
    where s.channel = _user_of_provider.channel
      and not exists (
        select from dripdrop.providers as p
        where p.channel = _user_of_provider.channel and p.provider <> _user_of_provider.provider
      )
  ) as u
  order by u.place
  limit 1
$$;

comment on function dripdrop._user_of_provider(text, text) is
  'A sender that needs a provider, or a step that needs one of its channel, or null.';

create or replace function dripdrop._user_of_channel(channel text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select u.name
  from (
    select 1 as place, dripdrop._named('provider', p.provider, null) as name
    from dripdrop.providers as p
    where p.channel = _user_of_channel.channel
    union all
    select 2, dripdrop._named('step', s.key, s.tenant_key)
    from dripdrop.steps as s
    where s.channel = _user_of_channel.channel
    union all
    select 3, dripdrop._named('frequency cap', c.key, c.tenant_key)
    from dripdrop.frequency_caps as c
    where c.channel = _user_of_channel.channel
    union all
    select 4, dripdrop._named('pause', p.subject, p.tenant_key)
    from dripdrop.sending_pauses as p
    where p.scope = 'channel' and p.subject = _user_of_channel.channel
    union all
    select 5, dripdrop._named('send window', _user_of_channel.channel, s.tenant_key)
    from dripdrop.tenant_settings as s
    where s.channel_send_windows ? _user_of_channel.channel
    union all
    -- Not by its address, which is somebody's.
    (
      select 6, 'a suppression'
      from dripdrop.suppressions as p
      where p.channel = _user_of_channel.channel
      limit 1
    )
  ) as u
  order by u.place
  limit 1
$$;

comment on function dripdrop._user_of_channel(text) is 'Something that needs a channel, or null.';

create or replace function dripdrop._named(kind text, name text, tenant_key text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format('%s %s', kind, dripdrop._quoted(name)) || case
    when tenant_key is null then ''
    else ' of tenant ' || dripdrop._quoted(tenant_key)
  end
$$;

comment on function dripdrop._named(text, text, text) is
  'What a row is called in a message: its kind, its name, and the tenant that it belongs to.';

-- A sender that is being created shares the provider's row, so that one of the two waits, and sees
-- what the other did.
--
-- raises  ZD110 it comes with DripDrop, ZD124 it is still used, ZD202 unknown provider
create or replace function dripdrop.unregister_provider(channel text, provider text)
returns dripdrop.providers
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider dripdrop.providers;
  v_user text;
begin
  select p.* into v_provider
  from dripdrop.providers as p
  where p.channel = unregister_provider.channel and p.provider = unregister_provider.provider
  for update;
  if not found then
    raise exception 'provider % is unknown for channel %',
      dripdrop._quoted(provider), dripdrop._quoted(channel) using
      errcode = 'ZD202', column = 'provider',
      hint = 'select * from dripdrop.providers() lists them.';
  end if;
  if v_provider.shipped then
    raise exception 'provider % comes with DripDrop', dripdrop._quoted(provider) using
      errcode = 'ZD110', column = 'provider', hint = 'Without a sender of it, it is not used.';
  end if;
  v_user := dripdrop._user_of_provider(channel, provider);
  if v_user is not null then
    raise exception 'provider % is used by %', dripdrop._quoted(provider), v_user using
      errcode = 'ZD124', column = 'provider',
      hint = 'Delete its senders first, and give steps of the channel another provider; '
        'register_provider() changes it.';
  end if;

  perform dripdrop._put_fields(channel || '.' || provider, '[]');
  delete from dripdrop.providers as p
  where p.channel = unregister_provider.channel and p.provider = unregister_provider.provider;
  return v_provider;
end
$$;

comment on function dripdrop.unregister_provider(text, text) is
  'Removes a provider that was registered, and returns it as it was. One that a sender is of is '
  'refused, and so is the last one of a channel that a step is of. start() removes the queue of a '
  'channel that nobody serves.';

-- A step that is being made shares the channel's row.
--
-- raises  ZD110 it comes with DripDrop, ZD124 it is still used, ZD202 unknown channel
create or replace function dripdrop.unregister_channel(channel text)
returns dripdrop.channels
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_channel dripdrop.channels;
  v_user text;
begin
  select c.* into v_channel
  from dripdrop.channels as c
  where c.channel = unregister_channel.channel
  for update;
  if not found then
    raise exception 'channel % is unknown', dripdrop._quoted(channel) using
      errcode = 'ZD202', column = 'channel',
      hint = 'select * from dripdrop.channels() lists them.';
  end if;
  if v_channel.shipped then
    raise exception 'channel % comes with DripDrop', dripdrop._quoted(channel) using
      errcode = 'ZD110', column = 'channel', hint = 'Without a step of it, it is not used.';
  end if;
  v_user := dripdrop._user_of_channel(channel);
  if v_user is not null then
    raise exception 'channel % is used by %', dripdrop._quoted(channel), v_user using
      errcode = 'ZD124', column = 'channel',
      hint = 'Remove what uses it first, providers with unregister_provider(); '
        'register_channel() changes it.';
  end if;

  perform dripdrop._put_fields('template.' || channel, '[]');
  delete from dripdrop.channels as c where c.channel = unregister_channel.channel;
  return v_channel;
end
$$;

comment on function dripdrop.unregister_channel(text) is
  'Removes a channel that was registered, and returns it as it was. One that a provider, a step, a '
  'frequency cap, a pause, a send window or a suppression is of is refused.';
