-- The schema as the catalogue shows it, in a form that is the same on every server and compares:
-- scripts/build.py reads off it what check_schema() expects, reshaped.sql what stands in the way of
-- this version. Both need it before anything else is there, so it is always made anew.
drop function if exists dripdrop._catalogue();
drop function if exists dripdrop._catalogue_of_tables();
drop function if exists dripdrop._catalogue_of_code();
drop function if exists dripdrop._grants();

create function dripdrop._catalogue_of_tables()
returns table (kind text, name text, definition text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'column',
    c.relname || '.' || a.attname,
    concat_ws(
      ' ',
      format_type(a.atttypid, a.atttypmod),
      case when a.attnotnull then 'not null' end,
      case
        when a.attgenerated <> '' then 'generated'
        when a.attidentity <> '' then 'identity'
        when d.adbin is not null then 'default'
      end,
      pg_get_expr(d.adbin, d.adrelid),
      case
        when a.attstorage <> t.typstorage then 'storage ' || case a.attstorage
          when 'p' then 'plain'
          when 'e' then 'external'
          when 'm' then 'main'
          else 'extended'
        end
      end
    )
  from pg_attribute as a
  join pg_class as c on c.oid = a.attrelid
  join pg_type as t on t.oid = a.atttypid
  left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where c.relnamespace = 'dripdrop'::regnamespace
    and c.relkind in ('r', 'm')
    and a.attnum > 0
    and not a.attisdropped
  union all
  select 'table', c.relname, concat_ws(' ', c.relkind, c.relpersistence)
  from pg_class as c
  where c.relnamespace = 'dripdrop'::regnamespace and c.relkind in ('r', 'm')
  union all
  select
    'row security',
    c.relname,
    concat_ws(
      ', ',
      case when c.relrowsecurity then 'enabled' end,
      case when c.relforcerowsecurity then 'forced' end
    )
  from pg_class as c
  where c.relnamespace = 'dripdrop'::regnamespace
    and c.relkind = 'r'
    and (c.relrowsecurity or c.relforcerowsecurity)
  union all
  select 'rule', c.relname || '.' || w.rulename, concat_ws(' ', w.ev_type, w.ev_enabled)
  from pg_rewrite as w
  join pg_class as c on c.oid = w.ev_class
  where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'r'
  union all
  select
    'storage',
    c.relname || '.' || split_part(o.option, '=', 1),
    split_part(o.option, '=', 2)
  from pg_class as c
  cross join unnest(c.reloptions) as o (option)
  where c.relnamespace = 'dripdrop'::regnamespace and c.relkind in ('r', 'm', 'i')
  union all
  select
    'constraint',
    r.relname || '.' || k.conname,
    concat_ws(
      ' ',
      pg_get_constraintdef(k.oid),
      case
        when exists (
          select from pg_trigger as g where g.tgconstraint = k.oid and g.tgenabled <> 'O'
        )
        then 'with disabled triggers'
      end
    )
  from pg_constraint as k
  join pg_class as r on r.oid = k.conrelid
  where k.connamespace = 'dripdrop'::regnamespace and k.contype not in ('n', 't')
  union all
  select
    'index',
    c.relname,
    concat_ws(' ', pg_get_indexdef(c.oid), case when not i.indisvalid then 'invalid' end)
  from pg_class as c
  join pg_index as i on i.indexrelid = c.oid
  where c.relnamespace = 'dripdrop'::regnamespace
$$;

comment on function dripdrop._catalogue_of_tables() is
  'What the schema stores: tables, and what belongs to them.';

-- A function's definition is a digest of how it is called, then one of what it does; _uuidv7() does
-- it in another way from 18 on.
create function dripdrop._catalogue_of_code()
returns table (kind text, name text, definition text, class regclass, id oid)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'type' as kind,
    c.relname::text as name,
    (
      select string_agg(
        format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum
      )
      from pg_attribute as a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ) as definition,
    'pg_type'::regclass as class,
    c.reltype as id
  from pg_class as c
  where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'c'
  union all
  select
    'function',
    p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
    left(dripdrop._digest(pg_get_function_arguments(p.oid) || pg_get_function_result(p.oid)), 8)
    || ' '
    || left(
      dripdrop._digest(concat_ws(
        ' ', l.lanname, p.provolatile, p.proparallel, p.prosecdef, p.proisstrict, p.proconfig,
        case
          when p.proname <> '_uuidv7' then coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
        end
      )),
      16
    ),
    'pg_proc',
    p.oid
  from pg_proc as p
  join pg_language as l on l.oid = p.prolang
  where p.pronamespace = 'dripdrop'::regnamespace
    and p.proname not in ('_expected', '_expected_before')
  union all
  select
    'trigger',
    c.relname || '.' || t.tgname,
    concat_ws(' ', pg_get_triggerdef(t.oid), nullif(t.tgenabled, 'O')),
    'pg_trigger',
    t.oid
  from pg_trigger as t
  join pg_class as c on c.oid = t.tgrelid
  where c.relnamespace = 'dripdrop'::regnamespace and not t.tgisinternal
  union all
  select
    'policy',
    c.relname || '.' || y.polname,
    concat_ws(
      ' ', y.polcmd, y.polpermissive, y.polroles::regrole[],
      pg_get_expr(y.polqual, c.oid), pg_get_expr(y.polwithcheck, c.oid)
    ),
    'pg_policy',
    y.oid
  from pg_policy as y
  join pg_class as c on c.oid = y.polrelid
  where c.relnamespace = 'dripdrop'::regnamespace
  union all
  select
    'view',
    c.relname,
    (
      select string_agg(
        format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum
      )
      from pg_attribute as a
      where a.attrelid = c.oid and a.attnum > 0
    ),
    'pg_class',
    c.oid
  from pg_class as c
  where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'v'
  union all
  select 'query', c.relname, left(dripdrop._digest(pg_get_viewdef(c.oid)), 16), 'pg_class', c.oid
  from pg_class as c
  where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'v'
$$;

comment on function dripdrop._catalogue_of_code() is
  'What the schema decides by, all of it replaceable, and where the catalogue has it.';

-- What their owner may do goes without saying, and whom an installation admits besides our roles is
-- its own affair.
create function dripdrop._grants()
returns table (role text, object text, rights text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    r.role,
    o.object,
    string_agg(
      lower(x.privilege_type) || coalesce(' (' || o.columns || ')', ''),
      ', '
      order by x.privilege_type
    )
  from (
    select
      format('schema %I', n.nspname) as object,
      null as columns,
      n.nspowner as owner,
      n.nspacl as acl
    from pg_namespace as n
    where n.nspname = 'dripdrop'
    union all
    select
      p.oid::regprocedure::text,
      null,
      p.proowner,
      coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_proc as p
    where p.pronamespace = 'dripdrop'::regnamespace
    union all
    select c.oid::regclass::text, null, c.relowner, c.relacl
    from pg_class as c
    where c.relnamespace = 'dripdrop'::regnamespace and c.relkind in ('r', 'v', 'm')
    union all
    select
      c.oid::regclass::text,
      string_agg(quote_ident(a.attname), ', ' order by a.attname),
      c.relowner,
      a.attacl::text::aclitem[]
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid
    where c.relnamespace = 'dripdrop'::regnamespace
      and a.attacl is not null
      and not a.attisdropped
    group by c.oid, a.attacl::text
  ) as o
  cross join aclexplode(o.acl) as x
  cross join lateral (
    select case when x.grantee = 0 then 'public' else x.grantee::regrole::text end as role
  ) as r
  where r.role in (
      'public', 'dripdrop_admin', 'dripdrop_app', 'dripdrop_sender', 'dripdrop_web',
      'dripdrop_reader'
    )
    and x.grantee <> o.owner
  group by r.role, o.object
$$;

comment on function dripdrop._grants() is
  'What everybody, and each role of the engine''s, may do with what.';

create function dripdrop._catalogue()
returns table (kind text, name text, definition text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select t.kind, t.name, t.definition
  from dripdrop._catalogue_of_tables() as t
  union all
  select c.kind, c.name, c.definition
  from dripdrop._catalogue_of_code() as c
  union all
  select 'grant', g.role || ' on ' || g.object, g.rights
  from dripdrop._grants() as g
$$;

comment on function dripdrop._catalogue() is
  'The schema''s objects and their definitions, but for what differs from server to server.';
