-- The one place that says which suppressions hold for a message: those of the address and of its
-- domain, of the tenant and of all tenants; of an address that was erased by its hash. One index
-- gives all of them.
create or replace function dripdrop._suppressions_of(
  tenant_key text,
  channel text,
  recipient_normalized text,
  topic text,
  at timestamptz
)
returns table (id uuid, tenant_key text, recipient_normalized text, topic text, reason text)
language sql
stable
parallel safe
begin atomic
  select p.id, p.tenant_key, p.recipient_normalized, p.topic, p.reason
  from dripdrop.suppressions as p
  where p.recipient_normalized = any(array[
      _suppressions_of.recipient_normalized,
      -- A domain is suppressed as @example.com; a name may begin so itself.
      case
        when strpos(_suppressions_of.recipient_normalized, '@') > 1
        then substr(
          _suppressions_of.recipient_normalized, strpos(_suppressions_of.recipient_normalized, '@')
        )
      end,
      (
        select dripdrop._erasure_hash(s.salt, _suppressions_of.recipient_normalized)
        from dripdrop.erasure_secret as s
        where s.only_one
      )
    ])
    and p.channel = _suppressions_of.channel
    and (p.tenant_key = _suppressions_of.tenant_key or p.tenant_key is null)
    and (p.topic = _suppressions_of.topic or p.topic is null)
    and (p.expires_at > _suppressions_of.at or p.expires_at is null);
end;

comment on function dripdrop._suppressions_of(text, text, text, text, timestamptz) is
  'The suppressions that stop a message about a topic (null: about none) to a normalised address.';

-- raises  ZD201 bad argument, ZD202 unknown channel, ZD207 bad tenant key
create or replace function dripdrop.is_suppressed(
  tenant_key text,
  channel text,
  recipient text,
  topic text default null
)
returns boolean
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_suppressions(
    tenant_key,
    jsonb_build_array(jsonb_build_object('channel', channel, 'recipient', recipient))
  );
  return exists (
    select from dripdrop._suppressions_of(
      is_suppressed.tenant_key,
      is_suppressed.channel,
      dripdrop._normalized(is_suppressed.channel, is_suppressed.recipient),
      is_suppressed.topic,
      dripdrop._now()
    )
  );
end
$$;

comment on function dripdrop.is_suppressed(text, text, text, text) is
  'Whether a message of the tenant to this address would be stopped, by a suppression of the '
  'tenant or of all tenants, of the address or of its domain. topic: what it is about, if any.';

create or replace function dripdrop.list_suppressions(
  tenant_key text,
  recipient text default null
)
returns setof dripdrop.suppressions
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.*
  from dripdrop.suppressions as p
  where p.tenant_key is not distinct from list_suppressions.tenant_key
    and list_suppressions.recipient is null
  union all
  select p.*
  from dripdrop.suppressions as p
  where p.tenant_key is not distinct from list_suppressions.tenant_key
    and p.recipient_normalized = any (array(
      select a.address
      from (values ('mailbox'), ('phone'), ('name'), ('none')) as f (form)
      cross join lateral (
        values
        (dripdrop._address(f.form, list_suppressions.recipient)),
        (dripdrop._erased(dripdrop._address(f.form, list_suppressions.recipient))),
        (substring(dripdrop._address(f.form, list_suppressions.recipient) from '@.*$'))
      ) as a (address)
    ))
    and exists (
      select from dripdrop.channels as c
      where c.channel = p.channel
        and (
          p.recipient_normalized = dripdrop._address(c.address_form, list_suppressions.recipient)
          or p.recipient_normalized
          = dripdrop._erased(dripdrop._address(c.address_form, list_suppressions.recipient))
          or c.address_form = 'mailbox' and p.recipient_normalized like '@%'
        )
    )
  order by recipient_normalized, channel, topic nulls first
$$;

comment on function dripdrop.list_suppressions(text, text) is
  'The suppressions of exactly this tenant, expired ones included. recipient: only those of this '
  'address, over any channel, and of its domain.';
