-- A function of the application, asked within the caller's statement: under the caller's
-- statement_timeout, and failing closed. The pipeline asks through call_hook() instead. Its plans
-- are its own affair, whatever the engine's functions have forbidden the planner.
create or replace function dripdrop._ask_function(enrollment dripdrop.enrollments, key text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = auto
set enable_seqscan = on
set enable_hashjoin = on
set enable_mergejoin = on
as $$
declare
  v_value jsonb;
begin
  execute (
    select format('select %I.%I($1, $2)', n.nspname, p.proname)
    from dripdrop._hook(enrollment.tenant_key, _ask_function.key) as h
    join pg_proc as p on p.oid = to_regprocedure(h.function)
    join pg_namespace as n on n.oid = p.pronamespace
  )
  into strict v_value
  using enrollment, (
    select dripdrop._variables(enrollment, q.key, null, null, null, dripdrop._now())
    from dripdrop.sequences as q
    where q.id = enrollment.sequence_id
  );
  return jsonb_build_object('value', v_value);
exception
  when null_value_not_allowed then
    return jsonb_build_object('error', 'hook_missing');
  when others then
    return jsonb_build_object('error', 'hook_exception');
end
$$;

comment on function dripdrop._ask_function(dripdrop.enrollments, text) is
  'What a SQL function says about an enrolment: {"value": …} or {"error": code}.';

-- An HTTP hook is asked when a step is decided; here it has no answer, and its rule does not hold.
create or replace function dripdrop._rule_answers(enrollment dripdrop.enrollments)
returns jsonb
language sql
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_object_agg(c.hook, dripdrop._ask_function(enrollment, c.hook))
  from dripdrop.conditions as c
  where c.sequence_id = enrollment.sequence_id and c.hook is not null
$$;

comment on function dripdrop._rule_answers(dripdrop.enrollments) is
  'What the SQL functions that goals and exit rules name say about an enrolment.';
