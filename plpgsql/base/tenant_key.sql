create or replace function dripdrop._check_tenant_key(tenant_key text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if tenant_key = ''
    or tenant_key like ':%'
    or octet_length(tenant_key) > 500
    or dripdrop._is_blank(tenant_key)
    or dripdrop._has_unseen(tenant_key)
  then
    raise exception 'tenant key % is not valid', dripdrop._quoted(tenant_key) using
      errcode = 'ZD207', column = 'tenant_key',
      hint = 'Pass null for the global scope, or a text that is not empty, not longer than 500 '
        'bytes, does not begin with a colon and has no control characters or others that cannot be '
        'seen.';
  end if;
end
$$;

comment on function dripdrop._check_tenant_key(text) is
  'Raises ZD207 for a text that is no tenant key.';
