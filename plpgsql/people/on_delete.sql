-- One look at all rows of a statement. Whoever deletes a row of the host's need know nothing of us:
-- this runs as the owner of the engine, for the trigger that the table's owner has made.
--
-- locks   as erase_subscriber() or unenroll_subscriber(), one subscriber after the other, in the
--         order of their ids
create or replace function dripdrop._row_deleted()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_tenant_key text;
  v_subscriber_id text;
begin
  for v_tenant_key, v_subscriber_id in execute format(
    'select distinct %s as tenant_key, g.%I::text as subscriber_id from gone as g
    where g.%2$I is not null order by 1, 2',
    case when tg_argv[1] = '' then format('nullif(%L, '''')', tg_argv[0])
      else format('g.%I::text', tg_argv[1])
    end,
    tg_argv[2]
  )
  loop
    if tg_argv[4] = 'erase' then
      perform dripdrop.erase_subscriber(v_tenant_key, tg_argv[3], v_subscriber_id);
    else
      perform dripdrop.unenroll_subscriber(
        v_tenant_key, tg_argv[3], v_subscriber_id, 'deleted'
      );
    end if;
  end loop;
  return null;
end
$$;

comment on function dripdrop._row_deleted() is
  'Trigger of the application''s tables: erases or unenrols the subscribers whose rows are gone.';

-- With the rights of whoever calls it: only the owner of a table may give it a trigger. So nothing
-- is called here but what everybody may call.
--
-- raises  ZD201 bad argument, ZD207 bad tenant key; 42501 not the owner of the table
create or replace function dripdrop.on_delete(
  tenant_key text,
  of_table regclass,
  id_column text default 'id',
  subscriber_type text default 'User',
  action text default 'erase',
  tenant_column text default null
)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_missing text;
begin
  if tenant_key = '' or tenant_key like ':%' then
    raise exception 'tenant key % is not valid', quote_literal(tenant_key) using
      errcode = 'ZD207', column = 'tenant_key',
      hint = 'Null for the global scope, or a text that is not empty and has no leading colon.';
  end if;
  if tenant_key is not null and tenant_column is not null then
    raise exception 'a tenant and a column for the tenant' using
      errcode = 'ZD201', column = 'tenant_column',
      hint = 'Pass null as tenant_key to take the tenant from a column.';
  end if;
  if of_table is null or not exists (
    select from pg_class as c where c.oid = of_table and c.relkind in ('r', 'p')
  ) then
    raise exception '% is no table', coalesce(of_table::text, 'null') using
      errcode = 'ZD201', column = 'of_table', hint = 'The table whose rows are the subscribers.';
  end if;
  select n.name into v_missing
  from unnest(array[coalesce(id_column, ''), tenant_column]) as n (name)
  where n.name is not null
    and not exists (
      select from pg_attribute as a
      where a.attrelid = of_table and a.attname = n.name and a.attnum > 0 and not a.attisdropped
    );
  if found then
    raise exception 'table % has no column %', of_table, quote_ident(v_missing) using
      errcode = 'ZD201', column = 'id_column',
      hint = 'Name the column of the subscriber_id, and that of the tenant if there is one.';
  end if;
  if coalesce(subscriber_type, '') = '' then
    raise exception 'a subscriber needs a type' using
      errcode = 'ZD201', column = 'subscriber_type', hint = 'Leave it out for User.';
  end if;
  if action is null or action not in ('erase', 'unenroll') then
    raise exception 'action % is unknown', coalesce(quote_literal(action), 'null') using
      errcode = 'ZD201', column = 'action', hint = 'Use erase or unenroll.';
  end if;
  execute format(
    'create or replace trigger dripdrop_on_delete after delete on %s
    referencing old table as gone for each statement
    execute function dripdrop._row_deleted(%L, %L, %L, %L, %L)',
    of_table, coalesce(tenant_key, ''), coalesce(tenant_column, ''), id_column, subscriber_type,
    action
  );
  return format('dripdrop_on_delete on %s', of_table);
end
$$;

comment on function dripdrop.on_delete(text, regclass, text, text, text, text) is
  'Gives a table of the application''s a trigger, dripdrop_on_delete: whoever''s row is deleted is '
  'erased, or with action unenroll only unenrolled, in the same transaction. id_column holds the '
  'subscriber_id, tenant_column the tenant where rows are of several. Called by the owner of the '
  'table; again changes it; drop trigger ends it.';
