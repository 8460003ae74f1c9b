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

comment on schema dripdrop is
  'Messaging sequences: authoring, enrolment, the send pipeline and its full history.';
