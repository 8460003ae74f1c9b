-- What a daemon needs before it begins, so that it ends at once and not at its first message.

-- Runs with the caller's rights, for it is about them.
--
-- raises  nothing
create or replace function dripdrop.missing_permissions(functions text[])
returns table (function text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select f.name
  from unnest(missing_permissions.functions) as f (name)
  where not exists (
    select
    from pg_catalog.pg_proc as p
    where p.pronamespace = to_regnamespace('dripdrop')
      and p.proname = f.name
      and has_function_privilege(p.oid, 'execute')
  )
  order by 1
$$;

comment on function dripdrop.missing_permissions(text[]) is
  'Those of the named functions that the current role may not call.';

-- raises  nothing
create or replace function dripdrop.needs_key()
returns table (subject text, number bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select s.subject, s.number
  from (
    select 'senders with sealed credentials' as subject, count(*) as number
    from dripdrop.channel_adapters
    where credentials is not null and active
    union all
    select 'HTTP hooks with sealed credentials', count(*)
    from dripdrop.http_hooks
    where auth_config is not null and active
    union all
    select 'tenants whose messages carry links to unsubscribe', count(*)
    from dripdrop.tenant_settings
    where unsubscribe_url is not null
  ) as s
  where s.number > 0
$$;

comment on function dripdrop.needs_key() is
  'What a daemon without a key could not work for, counted; no row means that it needs none.';
