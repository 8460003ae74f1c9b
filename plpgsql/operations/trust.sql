-- Whoever owns a function runs code as its callers. A role is trusted if it can act as the current
-- role already, as every superuser can. The engine's own roles are trusted unless a login can act
-- as them that cannot act as the current role: then they count as its. The scripts that install,
-- revert and verify ask this before anything else: scripts/build.py puts it at their head.
create or replace function dripdrop._untrusted()
returns table (object text, owner text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  owned as (
    select 1 as rank, format('schema %I', n.nspname) as object, n.nspowner as owner
    from pg_namespace as n
    where n.nspname in ('dripdrop', 'pgmq', 'cron')
    union all
    select 2, format('function %s', p.oid::regprocedure), p.proowner
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname in ('dripdrop', 'pgmq', 'cron')
    union all
    -- Anybody may have a queue of his own: only ours, and what they share, count.
    select 3, format('table %I.%I', n.nspname, c.relname), c.relowner
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
      and (
        n.nspname in ('dripdrop', 'cron')
        or n.nspname = 'pgmq' and (c.relname = 'meta' or c.relname ~ '^[qa]_dripdrop_')
      )
    union all
    select 4, format('type %I.%I', n.nspname, t.typname), t.typowner
    from pg_type as t
    join pg_namespace as n on n.oid = t.typnamespace
    where n.nspname = 'dripdrop'
    union all
    -- A role that was made before us is ours only if we are going to use it.
    select 0, format('role %I', r.rolname), r.oid
    from pg_roles as r
    where r.rolname in ('dripdrop_owner', 'dripdrop_hooks')
      and pg_has_role(current_user, r.oid, 'member')
  ),
  role as (
    select
      r.oid,
      case
        when pg_has_role(r.oid, current_user, 'member') then null
        when r.rolname not in ('dripdrop_owner', 'dripdrop_hooks') then r.rolname
        else (
          select min(m.rolname)
          from pg_roles as m
          where m.rolcanlogin
            and pg_has_role(m.oid, r.oid, 'member')
            and not pg_has_role(m.oid, current_user, 'member')
        )
      end as stranger
    from pg_roles as r
    where r.oid in (select w.owner from owned as w)
  )
  select w.object, r.stranger::text as owner
  from owned as w
  join role as r on r.oid = w.owner
  where r.stranger is not null
  order by w.rank, w.object
$$;

comment on function dripdrop._untrusted() is
  'What the engine calls or is made of, and belongs to a role that could act as the current one '
  'through it.';

-- raises  ZD122 a schema the engine uses belongs to somebody else
create or replace function dripdrop._check_owners()
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_found record;
begin
  select u.object, u.owner into v_found
  from dripdrop._untrusted() as u
  limit 1;
  if found then
    raise exception '% belongs to "%", who could act as "%" through it',
      v_found.object, v_found.owner, current_user using
      errcode = 'ZD122',
      hint = 'Give it to a role you trust, take that role''s members away, drop it, or connect '
        'as its owner.';
  end if;
end
$$;

comment on function dripdrop._check_owners() is
  'Refuses to go on where somebody else''s code could run as the current role.';
