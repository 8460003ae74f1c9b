-- The sealed text is opaque here: the driver makes it (dripdrop seal),
-- and only the driver can open it.
--
-- raises  ZD201 when the text cannot be an envelope
create or replace function dripdrop._sealed(credentials text)
returns bytea
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_envelope bytea;
begin
  v_envelope := decode(credentials, 'base64');
  if length(v_envelope) < 33 or get_byte(v_envelope, 0) <> 1 then
    raise invalid_parameter_value;
  end if;
  return v_envelope;
exception
  when invalid_parameter_value then
    raise exception 'credentials are not sealed' using
      errcode = 'ZD201', column = 'credentials',
      hint = 'Pass the text that "dripdrop seal" prints; plain credentials never enter the '
        'database.';
end
$$;

comment on function dripdrop._sealed(text) is
  'The envelope in a sealed text, checked for its form.';

-- What is secret goes into the sealed credentials; config is stored and shown as it is. What cannot
-- work is refused here, and not by the first message.
--
-- raises  ZD201
create or replace function dripdrop._check_adapter_config(
  channel text,
  provider text,
  config jsonb,
  sealed boolean
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kind text := channel || '.' || provider;
  v_secret text;
  v_unknown text;
  v_fault record;
begin
  if jsonb_typeof(config) is distinct from 'object' then
    raise exception 'config is not an object' using
      errcode = 'ZD201', column = 'config',
      hint = 'Pass an object, for example ''{"from": "hello@example.com"}''.';
  end if;
  select field into v_secret
  from jsonb_object_keys(config) as field
  where field ~* '(key|secret|token|password)$'
  limit 1;
  if v_secret is not null then
    raise exception 'config field % looks like a secret', dripdrop._quoted(v_secret) using
      errcode = 'ZD201', column = 'config.' || v_secret,
      hint = 'Seal it with "dripdrop seal" and pass it as credentials.';
  end if;
  v_unknown := (
    select min(o.field collate "C")
    from jsonb_object_keys(config) as o (field)
    where not exists (
      select from dripdrop.fields as f where f.kind = v_kind and f.field = o.field
    )
  );
  if v_unknown is not null then
    raise exception 'config has no field %', dripdrop._quoted(v_unknown) using
      errcode = 'ZD201', column = 'config.' || v_unknown,
      hint = dripdrop._unknown_setting_hint(v_kind, v_unknown);
  end if;
  if config ? 'thresholds' then
    perform dripdrop._check_document(
      config -> 'thresholds', 'thresholds', 'config.thresholds.'
    );
  end if;
  select p.field, p.problem, p.hint, s.secret into v_fault
  from dripdrop._setting_problems(v_kind, config, sealed) as p
  join dripdrop.provider_settings() as s on s.kind = v_kind and s.field = p.field
  order by s.secret
  limit 1;
  if v_fault.secret then
    raise exception '% needs credentials: %', provider, v_fault.problem using
      errcode = 'ZD201', column = 'credentials',
      hint = v_fault.hint || ' Seal it with "dripdrop seal".';
  end if;
  if v_fault.field is not null then
    raise exception 'config: %', v_fault.problem using
      errcode = 'ZD201', column = 'config.' || v_fault.field, hint = v_fault.hint;
  end if;
end
$$;

comment on function dripdrop._check_adapter_config(text, text, jsonb, boolean) is
  'Raises on a config that is no object, holds a secret or an unknown field, or cannot work for '
  'its provider.';

-- Whoever may change a sender but not read its password could have it sent to a server of their
-- own. The same envelope again is no new credentials.
--
-- raises  ZD303
create or replace function dripdrop._check_destination(
  adapter dripdrop.channel_adapters,
  config jsonb,
  credentials bytea
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_field text;
begin
  if (adapter).credentials is null
    or coalesce(credentials, (adapter).credentials) <> (adapter).credentials
  then
    return;
  end if;
  select s.field into v_field
  from dripdrop.provider_settings() as s
  where s.kind = (adapter).channel || '.' || (adapter).provider
    and s.destination
    and nullif((adapter).config -> s.field, 'null')
    is distinct from nullif(_check_destination.config -> s.field, 'null')
  limit 1;
  if v_field is not null then
    raise exception 'config.% says where the sealed credentials go', v_field using
      errcode = 'ZD303', column = 'config.' || v_field,
      hint = 'Give the credentials again, sealed anew, in the same call; or leave host, port, '
        'security, url and username as they are.';
  end if;
end
$$;

comment on function dripdrop._check_destination(dripdrop.channel_adapters, jsonb, bytea) is
  'Raises when sealed credentials would go to another server than they were given for.';

-- One default per tenant and channel: promoting one demotes the other in the same transaction.
create or replace function dripdrop._demote_default()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  update dripdrop.channel_adapters as a
  set is_default = false,
      updated_at = dripdrop._now()
  where a.channel = new.channel
    and a.tenant_key is not distinct from new.tenant_key
    and a.is_default
    and a.id <> new.id;
  return new;
end
$$;

comment on function dripdrop._demote_default() is
  'Trigger: clears is_default on the former default.';

create or replace trigger channel_adapters_one_default
before insert or update of is_default, channel on dripdrop.channel_adapters
for each row
when (new.is_default)
execute function dripdrop._demote_default();

-- Credentials arrive sealed and leave only through claim_sends();
-- the returned row never shows them.
--
-- locks   the adapter that was the default, where the new one becomes it
-- raises  ZD202 unknown provider, ZD113 name taken, ZD207 bad tenant key,
--         ZD201 credentials not sealed, or a config that cannot work
create or replace function dripdrop.create_channel_adapter(
  tenant_key text,
  name text,
  channel text,
  provider text,
  credentials text default null,
  config jsonb default '{}',
  is_default boolean default false,
  active boolean default true
)
returns dripdrop.channel_adapters
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_adapter dripdrop.channel_adapters;
begin
  perform dripdrop._check_json(config, 'config');
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_channel(channel);
  perform dripdrop._check_provider(channel, provider);
  perform dripdrop._check_name(name, 'name');
  if is_default is null or active is null then
    raise exception 'is_default and active are true or false' using
      errcode = 'ZD201', column = 'active', hint = 'Leave them out for false and true.';
  end if;
  perform dripdrop._check_adapter_config(
    channel, provider, config, dripdrop._sealed(credentials) is not null
  );

  insert into dripdrop.channel_adapters (
    tenant_key, name, channel, provider, credentials, config, is_default, active
  )
  values (
    create_channel_adapter.tenant_key,
    create_channel_adapter.name,
    create_channel_adapter.channel,
    create_channel_adapter.provider,
    dripdrop._sealed(create_channel_adapter.credentials),
    create_channel_adapter.config,
    create_channel_adapter.is_default,
    create_channel_adapter.active
  )
  on conflict on constraint channel_adapters_one_name_per_tenant do nothing
  returning * into v_adapter;
  if v_adapter.id is null then
    raise exception 'adapter % exists already', dripdrop._quoted(name) using
      errcode = 'ZD113', column = 'name',
      hint = 'Choose another name, or change it with update_channel_adapter().';
  end if;

  v_adapter.credentials := null;
  return v_adapter;
end
$$;

comment on function dripdrop.create_channel_adapter(
  text, text, text, text, text, jsonb, boolean, boolean
) is
  'Adds a sender. credentials: the text printed by "dripdrop seal", or null where the provider '
  'needs none.';

-- Null leaves a value as it is. The name stays: it is bound into the sealed credentials.
--
-- locks   the adapter
-- raises  ZD107 unknown adapter, ZD201 credentials not sealed, or a config that cannot work,
--         ZD303 the sealed credentials would go elsewhere
create or replace function dripdrop.update_channel_adapter(
  tenant_key text,
  adapter_id uuid,
  credentials text default null,
  config jsonb default null,
  is_default boolean default null,
  active boolean default null
)
returns dripdrop.channel_adapters
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_adapter dripdrop.channel_adapters;
  v_sealed bytea := dripdrop._sealed(credentials);
begin
  perform dripdrop._check_json(config, 'config');
  select a.* into v_adapter
  from dripdrop.channel_adapters as a
  where a.id = update_channel_adapter.adapter_id
    and a.tenant_key is not distinct from update_channel_adapter.tenant_key
  for no key update;
  if v_adapter.id is null then
    raise exception 'adapter "%" not found', adapter_id using
      errcode = 'ZD107', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  if config is not null then
    perform dripdrop._check_adapter_config(
      v_adapter.channel, v_adapter.provider, config,
      coalesce(v_sealed, v_adapter.credentials) is not null
    );
    perform dripdrop._check_destination(v_adapter, config, v_sealed);
  end if;

  update dripdrop.channel_adapters as a
  set credentials = coalesce(v_sealed, a.credentials),
      config = coalesce(update_channel_adapter.config, a.config),
      is_default = coalesce(update_channel_adapter.is_default, a.is_default),
      active = coalesce(update_channel_adapter.active, a.active),
      updated_at = dripdrop._now()
  where a.id = v_adapter.id
  returning a.* into v_adapter;

  v_adapter.credentials := null;
  return v_adapter;
end
$$;

comment on function dripdrop.update_channel_adapter(text, uuid, text, jsonb, boolean, boolean) is
  'Changes a sender; null leaves a value as it is.';

create or replace function dripdrop.list_channel_adapters(tenant_key text)
returns setof dripdrop.channel_adapters
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select (jsonb_populate_record(a, '{"credentials": null}')).*
  from dripdrop.channel_adapters as a
  where a.tenant_key is not distinct from list_channel_adapters.tenant_key
  order by a.channel, a.name
$$;

comment on function dripdrop.list_channel_adapters(text) is
  'The senders of exactly this tenant (null: the global ones), without credentials: whether they '
  'are on, and until when and why they rest.';

create or replace function dripdrop.get_default_adapter(tenant_key text, channel text)
returns setof dripdrop.channel_adapters
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select (jsonb_populate_record(a, '{"credentials": null}')).*
  from dripdrop.channel_adapters as a
  where (a.tenant_key = get_default_adapter.tenant_key or a.tenant_key is null)
    and a.channel = get_default_adapter.channel
    and a.is_default
    and a.active
  order by a.tenant_key nulls last
  limit 1
$$;

comment on function dripdrop.get_default_adapter(text, text) is
  'The active default sender of a channel: the tenant''s own, else the global one, else no row.';

create or replace function dripdrop.sealed_adapters()
returns table (
  adapter_id uuid,
  tenant_key text,
  name text,
  credentials bytea,
  channel text,
  provider text,
  config jsonb
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.id, a.tenant_key, a.name, a.credentials, a.channel, a.provider, a.config
  from dripdrop.channel_adapters as a
  where a.credentials is not null
  order by a.id
$$;

comment on function dripdrop.sealed_adapters() is
  'Every sealed credential, of all tenants, and what it is for: what key rotation and the check '
  'read.';

-- Compare-and-set, so that a rotation never overwrites credentials that were changed meanwhile.
create or replace function dripdrop.reseal_adapter(
  tenant_key text,
  adapter_id uuid,
  credentials bytea,
  previous bytea
)
returns boolean
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  with resealed as (
    update dripdrop.channel_adapters as a
    set credentials = reseal_adapter.credentials,
        updated_at = dripdrop._now()
    where a.id = reseal_adapter.adapter_id
      and a.tenant_key is not distinct from reseal_adapter.tenant_key
      and a.credentials = reseal_adapter.previous
    returning a.id
  )
  select exists (select from resealed)
$$;

comment on function dripdrop.reseal_adapter(text, uuid, bytea, bytea) is
  'Replaces an envelope if it is still the previous one; says whether it did.';

-- Whoever is pinned to it, or would be sent through it, would wait for ever.
create or replace function dripdrop._user_of_adapter(adapter dripdrop.channel_adapters)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select u.name
  from (
    select 1 as place, dripdrop._named('step', s.key, s.tenant_key) as name
    from dripdrop.steps as s
    where (_user_of_adapter.adapter).id in (s.channel_adapter_id, s.adapter_override_id)
    union all
    select 2, dripdrop._named('sequence', q.key, q.tenant_key)
    from dripdrop.sequences as q
    where q.metadata -> 'channel_adapters' ->> (_user_of_adapter.adapter).channel
      in ((_user_of_adapter.adapter).id::text, (_user_of_adapter.adapter).name)
    union all
    select 3, dripdrop._named('pool', p.name, p.tenant_key)
    from dripdrop.adapter_pool_members as m
    join dripdrop.adapter_pools as p on p.id = m.pool_id
    where m.adapter_id = (_user_of_adapter.adapter).id
    union all
    (
      select 4, 'an enrolment'
      from dripdrop.enrollments as e
      where e.adapter_id = (_user_of_adapter.adapter).id
      limit 1
    )
    union all
    (
      select 5, 'a message under way'
      from dripdrop.step_executions as x
      where x.due_at is null
        and x.ended_at is null
        and x.waits_for is null
        and x.adapter_id = (_user_of_adapter.adapter).id
      limit 1
    )
  ) as u
  order by u.place
  limit 1
$$;

comment on function dripdrop._user_of_adapter(dripdrop.channel_adapters) is
  'Something that needs a sender, or null.';

-- locks   the adapter
-- raises  ZD107 unknown adapter, ZD124 it is still used
create or replace function dripdrop.delete_channel_adapter(tenant_key text, adapter_id uuid)
returns dripdrop.channel_adapters
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_adapter dripdrop.channel_adapters;
  v_user text;
begin
  select a.* into v_adapter
  from dripdrop.channel_adapters as a
  where a.id = delete_channel_adapter.adapter_id
    and a.tenant_key is not distinct from delete_channel_adapter.tenant_key
  for update;
  if v_adapter.id is null then
    raise exception 'adapter "%" not found', adapter_id using
      errcode = 'ZD107', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  v_user := dripdrop._user_of_adapter(v_adapter);
  if v_user is not null then
    raise exception 'adapter % is used by %', dripdrop._quoted(v_adapter.name), v_user using
      errcode = 'ZD124', column = 'adapter_id',
      hint = 'Give that another sender first, or switch this one off: '
        'update_channel_adapter(…, active => false).';
  end if;
  delete from dripdrop.channel_adapters as a where a.id = v_adapter.id;
  v_adapter.credentials := null;
  return v_adapter;
end
$$;

comment on function dripdrop.delete_channel_adapter(text, uuid) is
  'Deletes a sender that nothing names and nothing is being sent through, with its limits and its '
  'credentials, and returns it without these.';
