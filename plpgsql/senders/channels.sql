create or replace function dripdrop._channel(channel text)
returns dripdrop.channels
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select c from dripdrop.channels as c where c.channel = _channel.channel
$$;

comment on function dripdrop._channel(text) is 'A channel by its name, or null.';

create or replace function dripdrop.channels()
returns table (
  channel text, address_form text, recipient_key text, retry_for interval, unsubscribe boolean,
  topics boolean, providers text[], shipped boolean
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    c.channel, c.address_form, c.recipient_key, c.retry_for, c.unsubscribe, c.topics,
    array(
      select p.provider from dripdrop.providers as p where p.channel = c.channel order by p.provider
    ),
    c.shipped
  from dripdrop.channels as c
  order by c.channel
$$;

comment on function dripdrop.channels() is
  'The channels, how they address people, what they can, and who serves them; nothing is sent over '
  'one without a provider. What their templates hold is in fields(), under template.CHANNEL.';

-- raises  ZD201
create or replace function dripdrop._check_channel_fits(
  template jsonb,
  address_form text,
  recipient_key text,
  one_of text[],
  unsubscribe boolean,
  own_hosts boolean
)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if (address_form = 'none') <> (recipient_key is null) then
    raise exception 'recipient_key and address_form do not go together' using
      errcode = 'ZD201', column = 'recipient_key',
      hint = 'Say in which field of the data an address stands; a channel without has none.';
  end if;
  if unsubscribe and address_form = 'none' then
    raise exception 'a channel without addresses has nobody who could unsubscribe' using
      errcode = 'ZD201', column = 'unsubscribe',
      hint = 'Say how its addresses are compared: address_form mailbox, phone or name.';
  end if;
  if own_hosts and not template @> '[{"field": "url"}]' then
    raise exception 'own_hosts needs a field url, which the template does not have' using
      errcode = 'ZD201', column = 'own_hosts',
      hint = 'Describe a field url, in which a message names its server.';
  end if;
  if exists (
    select from unnest(one_of) as o (field)
    where template @> jsonb_build_array(jsonb_build_object('field', o.field)) is not true
  ) then
    raise exception 'one_of names a field that the template does not have' using
      errcode = 'ZD201', column = 'one_of', hint = 'Name fields of the template.';
  end if;
end
$$;

comment on function dripdrop._check_channel_fits(
  jsonb, text, text, text[], boolean, boolean
) is
  'Raises where what is said of a channel does not go together.';

-- Senders of any program claim what goes over it: its queue is made by start(). Registering it
-- again changes it, for what is decided and rendered from now on.
--
-- raises  ZD113 it comes with DripDrop, ZD201 bad argument
create or replace function dripdrop.register_channel(
  channel text,
  template jsonb,
  address_form text default 'none',
  recipient_key text default null,
  one_of text[] default null,
  own_headers text default null,
  retry_for interval default '4 hours',
  unsubscribe boolean default false,
  topics boolean default true,
  own_hosts boolean default false
)
returns dripdrop.channels
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_channel dripdrop.channels;
begin
  perform dripdrop._check_json(template, 'template');
  perform dripdrop._check_document(
    jsonb_build_object(
      'channel', channel, 'address_form', address_form, 'recipient_key', recipient_key,
      'own_headers', own_headers, 'retry_for', retry_for, 'unsubscribe', unsubscribe,
      'topics', topics, 'own_hosts', own_hosts
    ),
    'channel'
  );
  perform dripdrop._check_described(template, 'template_field', 'template');
  perform dripdrop._check_channel_fits(
    template, address_form, recipient_key, one_of, unsubscribe, own_hosts
  );

  insert into dripdrop.channels as c (
    channel, address_form, recipient_key, one_of, own_headers, retry_for, unsubscribe, topics,
    own_hosts
  )
  values (
    register_channel.channel, register_channel.address_form, register_channel.recipient_key,
    register_channel.one_of, register_channel.own_headers, register_channel.retry_for,
    register_channel.unsubscribe, register_channel.topics, register_channel.own_hosts
  )
  on conflict on constraint channels_pkey do update
  set (
    address_form, recipient_key, one_of, own_headers, retry_for, unsubscribe, topics, own_hosts
  ) = (
    excluded.address_form, excluded.recipient_key, excluded.one_of, excluded.own_headers,
    excluded.retry_for, excluded.unsubscribe, excluded.topics, excluded.own_hosts
  )
  where not c.shipped
  returning c.* into v_channel;
  if not found then
    raise exception 'channel % comes with DripDrop', dripdrop._quoted(channel) using
      errcode = 'ZD113', column = 'channel',
      hint = 'Choose another name, or give it a provider with register_provider().';
  end if;
  perform dripdrop._put_fields('template.' || channel, template);
  return v_channel;
end
$$;

comment on function dripdrop.register_channel(
  text, jsonb, text, text, text[], text, interval, boolean, boolean, boolean
) is
  'Adds a channel, or changes one that was added; then register_provider(), and start() for its '
  'queue. template: what its templates hold, [{"field", "type", "description", "hint", '
  '"choices", "pattern", "required"}, …]; one_of: fields of which at least one has to say '
  'something. address_form: mailbox, phone, name or none; recipient_key: which field of the data '
  'holds the address. own_headers: a regular expression of headers that no template may set. '
  'own_hosts: a message may name its own server, by the url of its template.';

-- raises  ZD113 it comes with DripDrop, ZD201 bad argument, ZD202 unknown channel
create or replace function dripdrop.register_provider(
  channel text,
  provider text,
  settings jsonb default '[]',
  idempotent boolean default false,
  batch_size int default 1
)
returns dripdrop.providers
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_provider dripdrop.providers;
begin
  perform dripdrop._check_json(settings, 'settings');
  perform dripdrop._check_document(
    jsonb_build_object(
      'provider', provider, 'idempotent', idempotent, 'batch_size', batch_size
    ),
    'provider'
  );
  perform dripdrop._check_described(settings, 'setting', 'settings');
  if dripdrop._channel(channel) is null then
    raise exception 'channel % is unknown', dripdrop._quoted(channel) using
      errcode = 'ZD202', column = 'channel',
      hint = 'select * from dripdrop.channels() lists them; register_channel() adds one.';
  end if;

  insert into dripdrop.providers as p (channel, provider, idempotent, batch_size)
  values (
    register_provider.channel, register_provider.provider, register_provider.idempotent,
    register_provider.batch_size
  )
  on conflict on constraint providers_pkey do update
  set (idempotent, batch_size) = (excluded.idempotent, excluded.batch_size)
  where not p.shipped
  returning p.* into v_provider;
  if not found then
    raise exception 'provider % comes with DripDrop', dripdrop._quoted(provider) using
      errcode = 'ZD113', column = 'provider', hint = 'Choose another name.';
  end if;
  perform dripdrop._put_fields(channel || '.' || provider, settings);
  perform dripdrop._account_fields(channel || '.' || provider, null);
  return v_provider;
end
$$;

comment on function dripdrop.register_provider(text, text, jsonb, boolean, int) is
  'Adds a provider to a channel, or changes one that was added; what sends for it claims the '
  'channel''s messages. settings: what an account says about itself, [{"field", "type", '
  '"description", "hint", "choices", "pattern", "required", "secret", "destination"}, …]. '
  'idempotent: a second request with the same idempotency key delivers nothing twice.';

-- raises  ZD201 with the path of the fault
create or replace function dripdrop._check_described(list jsonb, kind text, path text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
begin
  if jsonb_typeof(list) is distinct from 'array' then
    raise exception '% is not a list', path using
      errcode = 'ZD201', column = path,
      hint = 'Write [{"field": "text", "description": "the message", "required": true}].';
  end if;
  perform dripdrop._check_document(e.field, kind, format('%s[%s].', path, e.place - 1))
  from jsonb_array_elements(list) with ordinality as e (field, place);
  if (
    select count(distinct e.field ->> 'field') < count(*)
    from jsonb_array_elements(list) as e (field)
  ) then
    raise exception 'a field stands twice' using
      errcode = 'ZD201', column = path, hint = 'Describe each field once.';
  end if;
  select format('%s[%s].%s', path, e.place - 1, f.fault) as place, f.problem, f.hint
  into v_fault
  from jsonb_array_elements(list) with ordinality as e (field, place)
  cross join lateral (
    select coalesce(e.field ->> 'type', 'text') as type, e.field ->> 'field' as name
  ) as n
  cross join lateral (
    select
      'choices' as fault, 'a field of type ' || n.type || ' has no choices' as problem,
      'Make it a text, or leave them out.' as hint
    where e.field ? 'choices' and n.type <> 'text'
    union all
    select
      'pattern', 'a field of type ' || n.type || ' matches no pattern',
      'Make it a text or an integer, or leave it out.'
    where e.field ? 'pattern' and n.type not in ('text', 'integer')
    union all
    select
      'field', 'every sender has a setting ' || dripdrop._quoted(n.name), 'Choose another name.'
    where kind = 'setting' and n.name in ('max_in_flight', 'thresholds')
  ) as f
  order by e.place
  limit 1;
  if found then
    raise exception '%', v_fault.problem using
      errcode = 'ZD201', column = v_fault.place, hint = v_fault.hint;
  end if;
end
$$;

comment on function dripdrop._check_described(jsonb, text, text) is
  'Raises ZD201 on a list of described fields that is none.';

-- Fields without a release are those that were registered: no upgrade touches them.
create or replace function dripdrop._put_fields(kind text, list jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from dripdrop.fields as f where f.kind = _put_fields.kind and f.since is null;
  perform dripdrop._field(
    _put_fields.kind, e.field, coalesce(e.type, 'text'), e.description, e.hint,
    choices => e.choices, pattern => e.pattern, nullable => e.required is not true,
    required => e.required is true, secret => e.secret is true,
    destination => e.destination is true, since => null,
    maximum => case
      when coalesce(e.type, 'text') = 'text' and _put_fields.kind not like 'template.%' then 1000
    end
  )
  from jsonb_to_recordset(list) as e (
    field text, type text, description text, hint text, choices text[], pattern text,
    required boolean, secret boolean, destination boolean
  );
end
$$;

comment on function dripdrop._put_fields(text, jsonb) is
  'Replaces the registered fields of a kind of document.';
