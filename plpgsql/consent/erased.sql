-- What is left of an address or a subscriber that was erased: enough to know it again, for whoever
-- has the secret, and nothing to read.
create or replace function dripdrop._erasure_hash(salt bytea, value text)
returns text
language sql
immutable
parallel safe
return 'erased:' || encode(sha256(salt || sha256(salt || convert_to(value, 'UTF8'))), 'hex');

comment on function dripdrop._erasure_hash(bytea, text) is
  'The hash that stands for a value that was erased.';

-- As long as nobody was erased there is no secret, and nothing to compare with.
create or replace function dripdrop._erased(value text)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._erasure_hash(s.salt, _erased.value)
  from dripdrop.erasure_secret as s
  where s.only_one
$$;

comment on function dripdrop._erased(text) is
  'The hash that stands for a value that was erased here, or null where nothing was.';

-- locks   the secret's row, if it is the first
create or replace function dripdrop._make_erasure_secret()
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.erasure_secret (salt)
  values (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
  on conflict do nothing
$$;

comment on function dripdrop._make_erasure_secret() is
  'Makes the secret of this database, unless there is one.';
