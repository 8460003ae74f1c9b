-- The schema and its roles. Where roles may not be created (managed Postgres), the installing role
-- owns everything and the application connects as that role;
-- installation says so once, as a notice.

create schema dripdrop;

do $$
declare
  v_role text;
begin
  foreach v_role in array array[
    'dripdrop_owner',
    'dripdrop_hooks',
    'dripdrop_admin',
    'dripdrop_app',
    'dripdrop_sender',
    'dripdrop_web',
    'dripdrop_reader'
  ] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I nologin', v_role);
    end if;
  end loop;
  foreach v_role in array array['dripdrop_owner', 'dripdrop_hooks'] loop
    if not pg_catalog.pg_has_role(current_user, v_role, 'usage') then
      execute format('grant %I to %I', v_role, current_user);
    end if;
  end loop;
  begin
    -- For open_transactions(): whose they are, and since when.
    grant pg_read_all_stats to dripdrop_owner;
  exception
    when insufficient_privilege then
      raise notice 'open_transactions() shows those of the roles of "%" only', current_user;
  end;
exception
  when insufficient_privilege then
    raise warning 'the role dripdrop_owner cannot be used here: "%" owns the schema dripdrop',
      current_user;
end
$$;

-- A role that was there before may have been made by somebody who wants to be in it.
do $$
declare
  v_found record;
begin
  for v_found in
    select r.rolname as role, m.rolname as member
    from pg_catalog.pg_auth_members as a
    join pg_catalog.pg_roles as r on r.oid = a.roleid
    join pg_catalog.pg_roles as m on m.oid = a.member
    where r.rolname in (
        'dripdrop_admin', 'dripdrop_app', 'dripdrop_sender', 'dripdrop_web', 'dripdrop_reader'
      )
      and a.admin_option
      and not pg_catalog.pg_has_role(m.oid, current_user, 'member')
    order by 1, 2
  loop
    raise warning '"%" may make anybody a member of %', v_found.member, v_found.role;
  end loop;
end
$$;

comment on schema dripdrop is
  'Messaging sequences: authoring, enrolment, the send pipeline and its full history.';
