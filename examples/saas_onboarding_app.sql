-- A pretend application, as far as its onboarding needs it: the users and what they have set up, and
-- two functions about them that conditions and templates ask.

create schema app;

create table app.users (
  id bigint generated always as identity primary key,
  name text not null,
  email text not null unique,
  phone text,
  plan_tier text not null default 'free'
);

create table app.setup_tasks (
  user_id bigint not null references app.users (id) on delete cascade,
  task text not null,
  done boolean not null default false,
  primary key (user_id, task)
);

-- A hook is called by the engine, which may read nothing of the application's: so these run with
-- the rights of the role that makes them.
create function app.progress(enrollment dripdrop.enrollments, context jsonb)
returns jsonb
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select to_jsonb(coalesce(100 * count(*) filter (where t.done) / nullif(count(*), 0), 0))
  from app.setup_tasks as t
  where t.user_id = enrollment.subscriber_id::bigint
$$;

create function app.setup_completed(enrollment dripdrop.enrollments, context jsonb)
returns jsonb
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select to_jsonb(app.progress(enrollment, context) = '100')
$$;

revoke execute on function app.progress, app.setup_completed from public;
grant usage on schema app to dripdrop_hooks;
grant execute on function app.progress, app.setup_completed to dripdrop_hooks;

select key, function
from dripdrop.create_hook(
  tenant_key => null,
  key => 'progress',
  function => 'app.progress(dripdrop.enrollments, jsonb)'
);

select key, function
from dripdrop.create_hook(
  tenant_key => null,
  key => 'setup_completed',
  function => 'app.setup_completed(dripdrop.enrollments, jsonb)'
);
