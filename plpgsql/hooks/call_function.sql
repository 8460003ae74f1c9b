-- The one place where the application's code runs. It belongs to dripdrop_hooks, who has no rights
-- on the engine: a function runs with its own owner's rights, or with none. What it does is rolled
-- back once its value is read, its settings too; what outlives that is taken away by hand. The
-- value is built before, so that nothing of it is left in a row that is gone.
--
-- raises  whatever the function raises
create or replace function dripdrop._call_function(
  function regprocedure,
  enrollment dripdrop.enrollments,
  context jsonb
)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set client_min_messages = error
as $$
declare
  v_prepared text[] := array(select p.name from pg_prepared_statements as p);
  v_left text;
  v_answer jsonb;
  v_returned boolean := false;
begin
  begin
    execute (
      select format('select jsonb_build_object(''value'', %I.%I($1, $2))', n.nspname, p.proname)
      from pg_proc as p
      join pg_namespace as n on n.oid = p.pronamespace
      where p.oid = _call_function.function
    )
    into v_answer
    using enrollment, context;
    v_returned := true;
    raise sqlstate 'ZX000';
  exception
    when others or query_canceled or assert_failure then
      perform pg_advisory_unlock_all();
      for v_left in
        select p.name from pg_prepared_statements as p where p.name <> all (v_prepared)
      loop
        execute format('deallocate %I', v_left);
      end loop;
      if not v_returned then
        raise;
      end if;
  end;
  return v_answer;
end
$$;

comment on function dripdrop._call_function(regprocedure, dripdrop.enrollments, jsonb) is
  'Calls a function of the application, leaves nothing of what it did on the connection but its '
  'value, and returns {"value": …}.';

-- Asked when a hook is registered and again at each call: whoever owns the function may have
-- replaced it since. Without dripdrop_hooks the caller is the owner of the engine itself; then only
-- a function that brings another role's rights is called.
create or replace function dripdrop._function_fault(function regprocedure)
returns table (message text, hint text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select fault.message, fault.hint
  from pg_proc as p
  join pg_proc as caller
    on caller.pronamespace = 'dripdrop'::regnamespace and caller.proname = '_call_function'
  join pg_namespace as engine on engine.oid = caller.pronamespace
  cross join lateral (
    values
    (
      1,
      not (
        p.prokind = 'f'
        and not p.proretset
        and p.prorettype = 'jsonb'::regtype
        and p.pronargs = 2
        and p.proargtypes[0] = 'dripdrop.enrollments'::regtype
        and p.proargtypes[1] = 'jsonb'::regtype
      ),
      format('function "%s" is no hook', p.oid::regprocedure),
      'A hook is a function (enrollment dripdrop.enrollments, context jsonb) returns jsonb.'
    ),
    (
      2,
      p.prosecdef and p.proowner = engine.nspowner,
      format('function "%s" would run as the owner of the engine', p.oid::regprocedure),
      'Give it to the application''s role: alter function … owner to ….'
    ),
    (
      3,
      not p.prosecdef and caller.proowner = engine.nspowner,
      format('function "%s" is not security definer', p.oid::regprocedure),
      'There is no role dripdrop_hooks here to call it as: make it security definer, of another '
        'role than the owner of the schema dripdrop.'
    ),
    (
      4,
      not (
        has_function_privilege(caller.proowner, p.oid, 'execute')
        and has_schema_privilege(caller.proowner, p.pronamespace, 'usage')
      ),
      format('role "%s" may not call "%s"', caller.proowner::regrole, p.oid::regprocedure),
      format(
        'Grant usage on its schema and execute on it to %s; it reads what its owner may read if '
        'it is security definer, else what that role may.',
        caller.proowner::regrole
      )
    )
  ) as fault (place, found, message, hint)
  where p.oid = _function_fault.function and fault.found
  order by fault.place
  limit 1
$$;

comment on function dripdrop._function_fault(regprocedure) is
  'Why a function cannot be a hook, and what to do about it; no row if it can.';

-- Looked up in the catalogue: to_regprocedure() asks for rights on a schema that are not ours.
create or replace function dripdrop._function_named(function text)
returns regprocedure
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select p.oid::regprocedure
  from pg_namespace as n
  join pg_proc as p on p.pronamespace = n.oid
  where n.nspname = (parse_ident(_function_named.function, false))[1]
    and p.proname = (parse_ident(_function_named.function, false))[2]
    and p.pronargs = 2
    and p.proargtypes[0] = 'dripdrop.enrollments'::regtype
    and p.proargtypes[1] = 'jsonb'::regtype
$$;

comment on function dripdrop._function_named(text) is
  'The function that hooks.function names, or null when there is none any more.';

-- Nothing bounds it but the caller's statement_timeout.
--
-- raises  whatever the function raises
create or replace function dripdrop._ask_function(
  enrollment dripdrop.enrollments,
  key text,
  context jsonb
)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_function regprocedure;
begin
  select dripdrop._function_named(h.function) into v_function
  from dripdrop._hook(enrollment.tenant_key, _ask_function.key) as h;
  if v_function is null then
    return '{"error": "hook_missing"}'::jsonb;
  end if;
  if exists (select from dripdrop._function_fault(v_function)) then
    return '{"error": "hook_refused"}'::jsonb;
  end if;
  return dripdrop._hook_answer(
    dripdrop._call_function(v_function, enrollment, context), null, null
  );
end
$$;

comment on function dripdrop._ask_function(dripdrop.enrollments, text, jsonb) is
  'What a SQL function says about an enrolment: {"value": …} or {"error": code}.';

-- Within the caller's statement, and failing closed.
create or replace function dripdrop._try_function(
  enrollment dripdrop.enrollments,
  key text,
  step_key text,
  hooks jsonb,
  event_id uuid
)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return dripdrop._ask_function(
    enrollment,
    _try_function.key,
    dripdrop._variables(
      enrollment,
      (select q.key from dripdrop.sequences as q where q.id = enrollment.sequence_id),
      step_key,
      hooks,
      event_id,
      dripdrop._now()
    )
  );
exception
  when others or assert_failure then
    return '{"error": "hook_exception"}'::jsonb;
end
$$;

comment on function dripdrop._try_function(dripdrop.enrollments, text, text, jsonb, uuid) is
  'What a SQL function says about an enrolment; an error of its own is "hook_exception".';
