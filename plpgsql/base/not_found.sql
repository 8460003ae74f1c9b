create or replace function dripdrop._get_version(tenant_key text, sequence_version_id uuid)
returns dripdrop.sequence_versions
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions;
begin
  select v.* into v_version
  from dripdrop.sequence_versions as v
  where v.id = _get_version.sequence_version_id
    and v.tenant_key is not distinct from _get_version.tenant_key;
  if not found then
    raise exception 'version "%" not found', sequence_version_id using
      errcode = 'ZD103', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_version;
end
$$;

comment on function dripdrop._get_version(text, uuid) is 'A version of the tenant, or ZD103.';
