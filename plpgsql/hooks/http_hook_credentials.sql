-- raises  ZD201 when the text cannot be an envelope
create or replace function dripdrop._sealed_hook(auth_config text)
returns bytea
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return dripdrop._sealed(auth_config);
exception
  when sqlstate 'ZD201' then
    raise exception 'auth_config is not sealed' using
      errcode = 'ZD201', column = 'auth_config',
      hint = 'Pass what "dripdrop seal hook:SEQUENCE:KEY" prints; plain credentials never enter '
        'the database.';
end
$$;

comment on function dripdrop._sealed_hook(text) is
  'The envelope in a hook''s sealed text, checked for its form.';

-- The name its credentials are sealed for. Both keys are for good, and known before the rows are.
create or replace function dripdrop._hook_seal_name(sequence_key text, key text)
returns text
language sql
immutable
parallel safe
return 'hook:' || sequence_key || ':' || key;

comment on function dripdrop._hook_seal_name(text, text) is
  'What the vault binds a hook''s credentials to, beside the tenant.';

create or replace function dripdrop.sealed_http_hooks()
returns table (http_hook_id uuid, tenant_key text, name text, auth_config bytea)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select h.id, h.tenant_key, dripdrop._hook_seal_name(q.key, h.key), h.auth_config
  from dripdrop.http_hooks as h
  join dripdrop.sequences as q on q.id = h.sequence_id
  where h.auth_config is not null
  order by h.id
$$;

comment on function dripdrop.sealed_http_hooks() is
  'Every sealed credential of an HTTP hook, of all tenants: what key rotation reads.';

-- Compare-and-set, as reseal_adapter().
create or replace function dripdrop.reseal_http_hook(
  tenant_key text,
  http_hook_id uuid,
  auth_config bytea,
  previous bytea
)
returns boolean
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  with resealed as (
    update dripdrop.http_hooks as h
    set auth_config = reseal_http_hook.auth_config,
        updated_at = dripdrop._now()
    where h.id = reseal_http_hook.http_hook_id
      and h.tenant_key is not distinct from reseal_http_hook.tenant_key
      and h.auth_config = reseal_http_hook.previous
    returning h.id
  )
  select exists (select from resealed)
$$;

comment on function dripdrop.reseal_http_hook(text, uuid, bytea, bytea) is
  'Replaces a hook''s envelope if it is still the previous one; says whether it did.';
