-- What templates call by themselves, or conditions look under: no hook may hide it.
create or replace function dripdrop._check_hook_key(key text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if key in (
    'subscriber', 'subscriber_type', 'subscriber_id', 'enrollment_id', 'tenant_key',
    'sequence_key', 'step_key', 'now_iso8601', 'event', 'hooks', 'steps'
  ) then
    raise exception 'hook key % is taken by a template variable', dripdrop._quoted(key) using
      errcode = 'ZD201', column = 'key',
      hint = 'Choose another key: the engine sets this variable itself.';
  end if;
end
$$;

comment on function dripdrop._check_hook_key(text) is
  'Raises ZD201 for a key that the engine uses itself.';

-- Whether the function may be called at all is asked here, where it can be put right. It is kept as
-- text, because a regprocedure column would stand in the way of pg_upgrade.
--
-- locks   the sequences that may use it, in id order, then the steps that begin to name it
-- raises  ZD201 bad key, signature or timeout, or not callable, ZD207 bad tenant key
create or replace function dripdrop.create_hook(
  tenant_key text,
  key text,
  function regprocedure,
  timeout_ms int default 1000,
  description text default null
)
returns dripdrop.hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
  v_hook dripdrop.hooks;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  if coalesce(key !~ '^[a-z][a-z0-9_]{0,199}$', true) then
    raise exception 'hook key % is not valid', dripdrop._quoted(key) using
      errcode = 'ZD201', column = 'key',
      hint = 'Use lower-case letters, digits and "_", and begin with a letter.';
  end if;
  perform dripdrop._check_hook_key(key);
  perform dripdrop._check_text(description, 'description', 10000);
  if coalesce(timeout_ms not between 1 and 30000, true) then
    raise exception 'timeout_ms % is not possible', timeout_ms using
      errcode = 'ZD201', column = 'timeout_ms', hint = 'Use 1 to 30000 milliseconds.';
  end if;
  if function is null then
    raise exception 'a hook needs a function' using
      errcode = 'ZD201', column = 'function',
      hint = 'Pass app.score(dripdrop.enrollments,jsonb), or whatever it is called.';
  end if;
  select f.message, f.hint into v_fault
  from dripdrop._function_fault(create_hook.function) as f;
  if found then
    raise exception '%', v_fault.message using
      errcode = 'ZD201', column = 'function', hint = v_fault.hint;
  end if;

  perform from dripdrop.sequences as q
  where q.tenant_key = create_hook.tenant_key or create_hook.tenant_key is null
  order by q.id
  for no key update;
  insert into dripdrop.hooks (tenant_key, key, function, timeout_ms, description)
  values (
    create_hook.tenant_key,
    create_hook.key,
    create_hook.function::text,
    create_hook.timeout_ms,
    create_hook.description
  )
  on conflict on constraint hooks_one_key_per_tenant do update
  set function = excluded.function,
      timeout_ms = excluded.timeout_ms,
      description = excluded.description,
      updated_at = dripdrop._now()
  returning * into v_hook;
  perform dripdrop._set_step_hooks(v.id)
  from dripdrop.sequence_versions as v
  where v.state = 'active'
    and (v.tenant_key = create_hook.tenant_key or create_hook.tenant_key is null)
  order by v.id;
  return v_hook;
end
$$;

comment on function dripdrop.create_hook(text, text, regprocedure, int, text) is
  'Registers a SQL function (dripdrop.enrollments, jsonb) returns jsonb under a key, or replaces '
  'the one of that key.';

-- Steps that name the key go on naming it: they fail closed with hook_missing.
--
-- raises  ZD108 unknown hook
create or replace function dripdrop.drop_hook(tenant_key text, key text)
returns dripdrop.hooks
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hook dripdrop.hooks;
begin
  delete from dripdrop.hooks as h
  where h.tenant_key is not distinct from drop_hook.tenant_key
    and h.key = drop_hook.key
  returning h.* into v_hook;
  if v_hook.id is null then
    raise exception 'hook % not found', dripdrop._quoted(key) using
      errcode = 'ZD108', hint = 'list_hooks() shows the hooks of the tenant that is named first.';
  end if;
  return v_hook;
end
$$;

comment on function dripdrop.drop_hook(text, text) is
  'Removes a SQL function from the hooks; what still names it fails closed.';

create or replace function dripdrop.list_hooks(tenant_key text)
returns setof dripdrop.hooks
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select h.*
  from dripdrop.hooks as h
  where h.tenant_key is not distinct from list_hooks.tenant_key
  order by h.key
$$;

comment on function dripdrop.list_hooks(text) is
  'The SQL functions registered for exactly this tenant (null: those shared by all).';

create or replace function dripdrop._hook(tenant_key text, key text)
returns setof dripdrop.hooks
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select h.*
  from dripdrop.hooks as h
  where (h.tenant_key = _hook.tenant_key or h.tenant_key is null)
    and h.key = _hook.key
  order by h.tenant_key nulls last
  limit 1
$$;

comment on function dripdrop._hook(text, text) is
  'The SQL function a tenant''s steps mean by a key: its own, else the shared one, else no row.';

-- A statement of its own, so that the caller's statement_timeout bounds the function. What the
-- function raises passes through: its words may hold values, so nothing here keeps them.
--
-- raises  ZD105 unknown enrolment, ZD106 unknown execution, and whatever the function raises
create or replace function dripdrop.call_hook(
  execution_id uuid,
  key text,
  enrollment_id uuid default null
)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_call record;
begin
  select
    e as enrollment,
    dripdrop._variables(e, q.key, s.key, x.hooks, x.event_id, dripdrop._now()) as variables
  into v_call
  from (select call_hook.execution_id as id) as n
  left join dripdrop.step_executions as x on x.id = n.id
  left join dripdrop.steps as s on s.id = x.step_id
  join dripdrop.enrollments as e
    on e.id = case when n.id is null then call_hook.enrollment_id else x.enrollment_id end
  join dripdrop.sequences as q on q.id = e.sequence_id;
  if not found and execution_id is null then
    raise exception 'enrolment "%" not found', enrollment_id using
      errcode = 'ZD105', hint = 'claim_hooks() names the enrolments whose rules are to be asked.';
  elsif not found then
    raise exception 'execution "%" not found', execution_id using
      errcode = 'ZD106', hint = 'claim_hooks() names the executions that wait for a hook.';
  end if;
  return dripdrop._ask_function(v_call.enrollment, call_hook.key, v_call.variables);
end
$$;

comment on function dripdrop.call_hook(uuid, text, uuid) is
  'Calls the SQL function of a hook for an execution, or without one for an enrolment, and returns '
  '{"value": …} or {"error": code} for complete_hooks().';
