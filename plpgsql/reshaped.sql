-- What stands in the way of this version goes: objects that the version before has and this one has
-- not, or that `create or replace` does not turn into this one's. It runs before everything else of
-- the change, going up, going down and where something is put right. Functions that use them go
-- along and come again; what is somebody else's, or holds data, does not: the script ends there.
--
-- raises  ZD123 the tables are not this version's, ZD124 something else uses what changes

do $tables$
declare
  v_differences text array := array(
    select format(
      '%s %s is %s', e.kind, e.name,
      case when c.name is null then 'missing' else 'different' end
    )
    from dripdrop._expected() as e
    left join dripdrop._catalogue_of_tables() as c on c.kind = e.kind and c.name = e.name
    where e.kind in ('table', 'column', 'constraint', 'index')
      and c.definition is distinct from e.definition
    union all
    select format('rule %s is unexpected', c.name)
    from dripdrop._catalogue_of_tables() as c
    where c.kind = 'rule'
    order by 1
  );
begin
  if v_differences <> '{}' then
    raise exception 'the tables are not those of version "%": %',
      dripdrop.version(), v_differences[1] using
      errcode = 'ZD123',
      detail = array_to_string(v_differences, ', '),
      hint = 'This change did nothing. Put back what the detail names, as check_schema().expected '
        'has it, and begin again; docs/upgrading.md says how.';
  end if;
end
$tables$;

do $reshaped$
declare
  v_classes regclass array;
  v_ids oid array;
  v_used record;
  v_drop text;
begin
  select array_agg(c.class), array_agg(c.id)
  into v_classes, v_ids
  from dripdrop._catalogue_of_code() as c
  left join dripdrop._expected() as e on e.kind = c.kind and e.name = c.name
  where case
      when e.name is null then exists (
        select from dripdrop._expected_before() as b where b.kind = c.kind and b.name = c.name
      )
      when c.kind = 'function' then
        split_part(c.definition, ' ', 1) <> split_part(e.definition, ' ', 1)
      when c.kind = 'type' then c.definition <> e.definition
      when c.kind = 'view' then not starts_with(e.definition || ',', c.definition || ',')
      else false
    end;

  with recursive
  doomed (class, id, root) as (
    select w.class::oid, w.id, pg_describe_object(w.class, w.id, 0)
    from unnest(v_classes, v_ids) as w (class, id)
    union
    -- A view is known by its rule.
    select
      case when r.oid is null then d.classid else 'pg_class'::regclass end,
      coalesce(r.ev_class, d.objid),
      o.root
    from doomed as o
    join pg_depend as d on d.refclassid = o.class and d.refobjid = o.id
    left join pg_rewrite as r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  )
  select o.root, pg_describe_object(o.class, o.id, 0) as object
  into v_used
  from doomed as o
  where not exists (
    select from dripdrop._catalogue_of_code() as c where c.class = o.class and c.id = o.id
    union all
    -- What comes with a view or a row type.
    select from pg_type as t
    where o.class = 'pg_type'::regclass
      and t.oid = o.id
      and t.typnamespace = 'dripdrop'::regnamespace
    union all
    select from pg_class as t
    where o.class = 'pg_class'::regclass and t.oid = o.id and t.relkind = 'c'
      and t.relnamespace = 'dripdrop'::regnamespace
  )
  limit 1;
  if found then
    raise exception '% uses %, which version "%" changes',
      v_used.object, v_used.root, dripdrop.version() using
      errcode = 'ZD124',
      hint = 'This change did nothing. Drop what uses it, begin again, and make it anew '
        'afterwards.';
  end if;

  foreach v_drop in array array(
    select case w.class
        when 'pg_proc'::regclass then format('function if exists %s', w.id::regprocedure)
        when 'pg_type'::regclass then format('type if exists %s', w.id::regtype)
        when 'pg_class'::regclass then format('view if exists %s', w.id::regclass)
        when 'pg_trigger'::regclass then (
          select format('trigger if exists %I on %s', g.tgname, g.tgrelid::regclass)
          from pg_trigger as g
          where g.oid = w.id
        )
        when 'pg_policy'::regclass then (
          select format('policy if exists %I on %s', y.polname, y.polrelid::regclass)
          from pg_policy as y
          where y.oid = w.id
        )
      end
    from unnest(v_classes, v_ids) as w (class, id)
  )
  loop
    execute format('drop %s cascade', v_drop);
  end loop;
  drop function dripdrop._expected_before();
end
$reshaped$;
