-- Everything the catalogue knows about the schema dripdrop: one row per object, free of oids.
with
relation as (
  select c.*
  from pg_class as c
  where c.relnamespace = 'dripdrop'::regnamespace
    and c.relkind in ('r', 'p', 'v', 'm', 'S')
),
acl as (
  select 'relation' as kind, oid::regclass::text as name, relowner as owner, relacl as items
  from relation
  union all
  select 'schema', nspname, nspowner, nspacl
  from pg_namespace
  where nspname = 'dripdrop'
  union all
  select 'function', oid::regprocedure::text, proowner, proacl
  from pg_proc
  where pronamespace = 'dripdrop'::regnamespace
)
select 'owner and grants' as kind, kind || ' ' || name as name, owner::regrole || ': ' || coalesce((
  select string_agg(
    case when grantee = 0 then 'public' else grantee::regrole::text end || ' ' || privilege_type, ', '
    order by grantee = 0, grantee::regrole::text, privilege_type
  )
  from aclexplode(items)
), 'default') as definition
from acl
union all
select 'relation', oid::regclass::text, concat_ws(
  ' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions,
  obj_description(oid, 'pg_class')
)
from relation
union all
select 'column', format('%s.%s', a.attrelid::regclass, a.attname), concat_ws(
  ' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
  a.attstorage, a.attcompression, a.attacl, pg_get_expr(d.adbin, d.adrelid),
  col_description(a.attrelid, a.attnum)
)
from pg_attribute as a
join relation as r on r.oid = a.attrelid
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0
  and not a.attisdropped
union all
select 'constraint', format('%s.%s', c.conrelid::regclass, c.conname), concat_ws(
  ' ', pg_get_constraintdef(c.oid), c.convalidated, obj_description(c.oid, 'pg_constraint')
)
from pg_constraint as c
where c.connamespace = 'dripdrop'::regnamespace
union all
select 'index', i.indexrelid::regclass::text, concat_ws(
  ' ', pg_get_indexdef(i.indexrelid), i.indisvalid, obj_description(i.indexrelid, 'pg_class')
)
from pg_index as i
join relation as r on r.oid = i.indrelid
union all
select 'function', p.oid::regprocedure::text, concat_ws(
  ' ', pg_get_functiondef(p.oid), p.procost, p.prorows, obj_description(p.oid, 'pg_proc')
)
from pg_proc as p
where p.pronamespace = 'dripdrop'::regnamespace
union all
select 'trigger', format('%s.%s', t.tgrelid::regclass, t.tgname), concat_ws(
  ' ', pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger')
)
from pg_trigger as t
join relation as r on r.oid = t.tgrelid
where not t.tgisinternal
union all
select 'policy', format('%s.%s', p.polrelid::regclass, p.polname), concat_ws(
  ' ', p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid),
  pg_get_expr(p.polwithcheck, p.polrelid)
)
from pg_policy as p
join relation as r on r.oid = p.polrelid
union all
select 'view', oid::regclass::text, pg_get_viewdef(oid)
from relation
where relkind in ('v', 'm')
union all
select 'type', t.oid::regtype::text, concat_ws(
  ' ', t.typtype, format_type(nullif(t.typbasetype, 0), t.typtypmod), obj_description(t.oid, 'pg_type')
)
from pg_type as t
where t.typnamespace = 'dripdrop'::regnamespace
union all
select 'default grants', defaclrole::regrole::text, concat_ws(' ', defaclobjtype, defaclacl)
from pg_default_acl
where defaclnamespace = 'dripdrop'::regnamespace
union all
select 'schema', nspname, obj_description(oid, 'pg_namespace')
from pg_namespace
where nspname = 'dripdrop'
order by kind, name
