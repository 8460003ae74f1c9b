-- A condition's document in its one form. What steps, transitions and sequences hold, and what a
-- document says, come through here, so there is one set of rules.
--
-- raises  ZD208, ZD204, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._canonical_condition(condition jsonb, path text default '')
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_type text := coalesce(
    condition ->> 'type',
    case
      when condition ? 'predicate' then 'predicate'
      when condition ? 'event' then 'event'
      when condition ? 'hook' then 'hook'
      when condition ? 'field_path' then 'enrollment_data'
      when condition ?| array['start', 'end', 'days'] then 'time_window'
    end
  );
  v_fields text[] := case v_type
    when 'enrollment_data' then array['field_path', 'operator', 'expected_value']
    when 'event' then
      array['event', 'match', 'within', 'since', 'happened', 'operator', 'expected_value']
    when 'hook' then array['hook', 'operator', 'expected_value']
    when 'predicate' then array['predicate']
    when 'time_window' then array['start', 'end', 'days', 'time_zone']
  end;
  v_fault text;
  v_path jsonpath;
  v_canonical jsonb;
begin
  if jsonb_typeof(condition) is distinct from 'object' then
    raise exception 'a condition is not an object' using
      errcode = 'ZD208', column = rtrim(path, '.'),
      hint = 'Write for example {"predicate": "$.enrollment.score > 70"}.';
  end if;
  if v_fields is null then
    raise exception 'condition type "%" is unknown', v_type using
      errcode = 'ZD208', column = path || 'type',
      hint = 'Use enrollment_data, event, hook, predicate or time_window; the type may be left out '
        'when a field such as predicate or event tells it.';
  end if;
  select field into v_fault
  from jsonb_object_keys(condition) as field
  where not field = any (v_fields || array['type', 'name']);
  if v_fault is not null then
    raise exception 'a condition of type "%" has no field "%"', v_type, v_fault using
      errcode = 'ZD208', column = path || v_fault,
      hint = format('The fields are name, %s.', array_to_string(v_fields, ', '));
  end if;
  select field into v_fault
  from unnest(array[
    'type', 'name', 'field_path', 'predicate', 'hook', 'event', 'within', 'since', 'operator',
    'start', 'end', 'time_zone'
  ]) as field
  where jsonb_typeof(condition -> field) not in ('string', 'null');
  if v_fault is not null then
    raise exception 'field "%" is not a text', v_fault using
      errcode = 'ZD208', column = path || v_fault, hint = 'Write it in double quotes.';
  end if;
  if condition ->> 'name' = '' then
    raise exception 'the name is empty' using
      errcode = 'ZD208', column = path || 'name', hint = 'Leave it out, or say what it is about.';
  end if;

  v_canonical := jsonb_strip_nulls(
    jsonb_build_object('type', v_type, 'name', condition -> 'name')
  );
  case v_type
    when 'enrollment_data' then
      v_path := dripdrop._parse_path(
        case
          when condition ->> 'field_path' ~ '^\s*(lax |strict )?\s*\$' then condition ->> 'field_path'
          else '$.' || (condition ->> 'field_path')
        end
      );
      if v_path is null then
        raise exception 'field_path "%" is not a path', condition ->> 'field_path' using
          errcode = 'ZD208', column = path || 'field_path',
          hint = 'Write for example plan_tier, address.city, or $."plan-tier" for a name with '
            'other signs in it. Variables are not known here.';
      end if;
      return v_canonical
        || jsonb_build_object('field_path', v_path::text)
        || dripdrop._canonical_comparison(condition, path);

    when 'hook' then
      if coalesce(condition ->> 'hook' !~ '^[a-z0-9][a-z0-9_-]*$', true) then
        raise exception 'hook key "%" is not valid', condition ->> 'hook' using
          errcode = 'ZD208', column = path || 'hook',
          hint = 'It is the key of an HTTP hook of the sequence or of a registered function.';
      end if;
      return v_canonical
        || jsonb_build_object('hook', condition -> 'hook')
        || dripdrop._canonical_comparison(condition, path);

    when 'event' then
      return v_canonical || dripdrop._canonical_event(condition, path);

    when 'time_window' then
      return v_canonical || dripdrop._canonical_window(condition, path);

    else
      v_path := dripdrop._parse_predicate(condition ->> 'predicate');
      if v_path is null then
        raise exception 'predicate "%" is not a predicate', condition ->> 'predicate' using
          errcode = 'ZD208', column = path || 'predicate',
          hint = 'Write a test such as $.enrollment.score > 70 && $.steps.welcome.state == "sent". '
            '$.enrollment.score alone is a value: compare it, or write exists($.enrollment.score).';
      end if;
      return v_canonical || jsonb_build_object('predicate', v_path::text);
  end case;
end
$$;

comment on function dripdrop._canonical_condition(jsonb, text) is
  'A condition''s document, checked and in its stored form.';

-- Null is a value here, told apart from nothing at all.
--
-- raises  ZD208 with the path of the fault
create or replace function dripdrop._canonical_comparison(condition jsonb, path text)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_operator text := dripdrop._canonical_operator(coalesce(condition ->> 'operator', '=='));
  v_expected jsonb := condition -> 'expected_value';
  v_kind text := jsonb_typeof(v_expected);
begin
  if v_operator is null then
    raise exception 'operator "%" is unknown', condition ->> 'operator' using
      errcode = 'ZD208', column = path || 'operator',
      hint = 'Use ==, !=, >, <, >=, <=, in or contains.';
  end if;
  if v_expected is null then
    raise exception 'expected_value is missing' using
      errcode = 'ZD208', column = path || 'expected_value',
      hint = 'Write null to compare with null.';
  end if;
  if v_operator in ('>', '<', '>=', '<=') then
    if v_kind = 'string' and v_expected #>> '{}' ~ '^\s*-?[0-9]+(\.[0-9]+)?\s*$' then
      v_expected := to_jsonb((v_expected #>> '{}')::numeric);
    elsif v_kind <> 'number' then
      raise exception 'operator % compares with a number, not with %', v_operator, v_expected using
        errcode = 'ZD208', column = path || 'expected_value',
        hint = 'Write a number, or use == or !=.';
    end if;
  end if;
  if v_operator = 'in' and (v_kind <> 'array' or v_expected = '[]') then
    raise exception 'operator in looks in a list, not in %', v_expected using
      errcode = 'ZD208', column = path || 'expected_value',
      hint = 'Write for example ["pro", "enterprise"].';
  end if;
  if v_operator = 'contains' and v_kind in ('null', 'object', 'array') then
    raise exception 'operator contains looks for one value, not for %', v_expected using
      errcode = 'ZD208', column = path || 'expected_value',
      hint = 'Write a text, a number, true or false.';
  end if;
  return jsonb_build_object('operator', v_operator, 'expected_value', v_expected);
end
$$;

comment on function dripdrop._canonical_comparison(jsonb, text) is
  'The operator and the expected value of a condition, checked.';

create or replace function dripdrop._canonical_operator(operator text)
returns text
language sql
immutable
parallel safe
return case
  when operator in ('==', '!=', '>', '<', '>=', '<=', 'in', 'contains') then operator
  else '{"eq": "==", "neq": "!=", "gt": ">", "lt": "<", "gte": ">=", "lte": "<="}'::jsonb
    ->> operator
end;

comment on function dripdrop._canonical_operator(text) is
  'An operator as a sign; null when there is none such.';

-- raises  ZD208 with the path of the fault
create or replace function dripdrop._canonical_event(condition jsonb, path text)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_happened jsonb := nullif(condition -> 'happened', 'null');
  v_comparison jsonb := jsonb '{"operator": ">=", "expected_value": 1}';
begin
  if coalesce(condition ->> 'event', '') = '' then
    raise exception 'the event has no name' using
      errcode = 'ZD208', column = path || 'event',
      hint = 'It is the key that track_event() is called with.';
  end if;
  if coalesce(jsonb_typeof(condition -> 'match'), 'null') not in ('object', 'null') then
    raise exception 'match is not an object' using
      errcode = 'ZD208', column = path || 'match',
      hint = 'Write what the event''s data must contain, for example {"plan": "pro"}.';
  end if;
  if not dripdrop._is_interval(coalesce(condition ->> 'within', '1 day')) then
    raise exception 'within "%" is not an interval', condition ->> 'within' using
      errcode = 'ZD208', column = path || 'within',
      hint = 'Write for example "7 days"; 100 years are the most.';
  end if;
  if condition ->> 'since' <> 'enrollment' then
    raise exception 'since "%" is unknown', condition ->> 'since' using
      errcode = 'ZD208', column = path || 'since',
      hint = 'Write "enrollment", or leave it out to look at the time before it too.';
  end if;

  if v_happened is not null then
    if jsonb_typeof(v_happened) <> 'boolean' then
      raise exception 'happened is not true or false' using
        errcode = 'ZD208', column = path || 'happened', hint = 'Write true or false.';
    end if;
    if condition ?| array['operator', 'expected_value'] then
      raise exception 'happened stands beside operator or expected_value' using
        errcode = 'ZD208', column = path || 'happened',
        hint = 'Say whether it happened, or how often, not both.';
    end if;
    if v_happened = 'false' then
      v_comparison := '{"operator": "==", "expected_value": 0}';
    end if;
  elsif condition ?| array['operator', 'expected_value'] then
    v_comparison := dripdrop._canonical_comparison(
      jsonb '{"operator": ">="}' || condition, path
    );
    if v_comparison ->> 'operator' in ('in', 'contains') then
      raise exception 'operator % does not count', v_comparison ->> 'operator' using
        errcode = 'ZD208', column = path || 'operator', hint = 'Use ==, !=, >, <, >= or <=.';
    end if;
    if v_comparison ->> 'expected_value' !~ '^[0-9]{1,9}$' then
      raise exception 'an event does not happen % times', v_comparison -> 'expected_value' using
        errcode = 'ZD208', column = path || 'expected_value', hint = 'Write a whole number.';
    end if;
  end if;
  return v_comparison || jsonb_strip_nulls(
    jsonb_build_object(
      'event', condition -> 'event',
      'within', condition -> 'within',
      'since', condition -> 'since'
    )
  ) || case
    when jsonb_typeof(condition -> 'match') = 'object'
    then jsonb_build_object('match', condition -> 'match')
    else '{}'
  end;
end
$$;

comment on function dripdrop._canonical_event(jsonb, text) is
  'What a condition says of an event, checked.';

-- raises  ZD208, ZD204, with the path of the fault
create or replace function dripdrop._canonical_window(condition jsonb, path text)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_week constant text[] := array['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
  v_fault record;
begin
  select f.* into v_fault from dripdrop._time_window_fault(condition) as f;
  if found then
    raise exception '%', v_fault.message using
      errcode = 'ZD208', column = path || v_fault.field, hint = v_fault.hint;
  end if;
  if condition ->> 'time_zone' is not null then
    perform dripdrop._check_time_zone(condition ->> 'time_zone', path || 'time_zone');
  end if;
  return jsonb_strip_nulls(
    jsonb_build_object(
      'start', lpad(coalesce(condition ->> 'start', '00:00'), 5, '0'),
      'end', lpad(coalesce(condition ->> 'end', '24:00'), 5, '0'),
      'days', (
        select jsonb_agg(w.day order by w.place)
        from unnest(v_week) with ordinality as w (day, place)
        where condition -> 'days' ? w.day
      ),
      'time_zone', condition -> 'time_zone'
    )
  );
end
$$;

comment on function dripdrop._canonical_window(jsonb, text) is
  'What a condition says of the time of day, checked.';

-- A path that names a variable parses and then raises whenever it is asked, whatever silent says:
-- it would stop a tick. In the canonical text a variable is $"name", a key $."name", so with the
-- contents of all quoted words gone only a variable has the sign and the quote side by side.
create or replace function dripdrop._parse_path(path text)
returns jsonpath
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  if regexp_replace(path::jsonpath::text, '"([^"\\]|\\.)*"', '""', 'g') like '%$""%' then
    return null;
  end if;
  return path::jsonpath;
exception
  when syntax_error or data_exception or feature_not_supported then
    return null;
end
$$;

comment on function dripdrop._parse_path(text) is
  'A text as SQL/JSON path; null when it is none or names a variable.';

-- Running a path over sample data does not tell a predicate from a value: both can give true, null
-- or nothing. The grammar does: the parentheses of a filter take a predicate and nothing else.
-- The text is that of a parsed path, so it cannot close the parenthesis early.
create or replace function dripdrop._parse_predicate(predicate text)
returns jsonpath
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_predicate jsonpath := dripdrop._parse_path(predicate);
begin
  perform format('$ ? (%s)', regexp_replace(v_predicate::text, '^strict ', ''))::jsonpath;
  return v_predicate;
exception
  when syntax_error then
    return null;
end
$$;

comment on function dripdrop._parse_predicate(text) is
  'A text as SQL/JSON path predicate; null when it is none.';

-- raises  ZD208, ZD204, with the path of the fault
create or replace function dripdrop._canonical_conditions(conditions jsonb, path text)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(jsonb_typeof(conditions), 'null') not in ('array', 'null') then
    raise exception 'conditions are not a list' using
      errcode = 'ZD208', column = path, hint = 'Write [{"predicate": …}, …].';
  end if;
  return (
    select coalesce(
      jsonb_agg(
        dripdrop._canonical_condition(c.condition, format('%s[%s].', path, c.place - 1))
        order by c.place
      ),
      '[]'
    )
    from jsonb_array_elements(nullif(conditions, 'null')) with ordinality as c (condition, place)
  );
end
$$;

comment on function dripdrop._canonical_conditions(jsonb, text) is
  'A list of conditions, each checked and in its stored form.';

-- A stored condition in the document's form, so that plan() compares like with like.
create or replace function dripdrop._condition_document(condition dripdrop.conditions)
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select
    condition.config
    || jsonb_strip_nulls(
      jsonb_build_object(
        'type', condition.condition_type,
        'name', condition.name,
        'operator', condition.operator,
        'field_path', condition.field_path::text,
        'predicate', condition.predicate::text,
        'hook', condition.hook
      )
    )
    || case
      when condition.expected_value is null then '{}'
      else jsonb_build_object('expected_value', condition.expected_value)
    end
$$;

comment on function dripdrop._condition_document(dripdrop.conditions) is
  'A stored condition as a document.';

create or replace function dripdrop._insert_condition(
  tenant_key text,
  condition jsonb,
  "position" bigint,
  step_id uuid default null,
  transition_id uuid default null,
  sequence_id uuid default null,
  outcome text default null
)
returns dripdrop.conditions
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.conditions (
    tenant_key, step_id, transition_id, sequence_id, outcome, name, condition_type, operator,
    expected_value, field_path, predicate, hook, config, position
  )
  select
    _insert_condition.tenant_key,
    _insert_condition.step_id,
    _insert_condition.transition_id,
    _insert_condition.sequence_id,
    _insert_condition.outcome,
    condition ->> 'name',
    condition ->> 'type',
    condition ->> 'operator',
    condition -> 'expected_value',
    (condition ->> 'field_path')::jsonpath,
    (condition ->> 'predicate')::jsonpath,
    condition ->> 'hook',
    condition - array[
      'type', 'name', 'operator', 'expected_value', 'field_path', 'predicate', 'hook'
    ],
    _insert_condition."position"
  returning *
$$;

comment on function dripdrop._insert_condition(text, jsonb, bigint, uuid, uuid, uuid, text) is
  'Inserts a condition from its canonical document.';

-- raises  ZD104 unknown step, ZD109 unknown transition, ZD201 not one owner, and what
--         _canonical_condition() raises; the trigger raises ZD111 when the version is not a draft
create or replace function dripdrop.create_condition(
  tenant_key text,
  condition jsonb,
  step_id uuid default null,
  transition_id uuid default null
)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if num_nonnulls(step_id, transition_id) <> 1 then
    raise exception 'a condition belongs to a step or to a transition' using
      errcode = 'ZD201', column = 'step_id',
      hint = 'Pass one of step_id and transition_id; create_exit_rule() is for sequences.';
  end if;
  perform from dripdrop.steps as s
  where s.id = create_condition.step_id
    and s.tenant_key is not distinct from create_condition.tenant_key;
  if not found and step_id is not null then
    raise exception 'step "%" not found', step_id using
      errcode = 'ZD104', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform from dripdrop.step_transitions as t
  where t.id = create_condition.transition_id
    and t.tenant_key is not distinct from create_condition.tenant_key;
  if not found and transition_id is not null then
    raise exception 'transition "%" not found', transition_id using
      errcode = 'ZD109', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  return dripdrop._insert_condition(
    create_condition.tenant_key,
    dripdrop._canonical_condition(create_condition.condition),
    (
      select coalesce(max(c.position) + 1, 1)
      from dripdrop.conditions as c
      where c.step_id = create_condition.step_id
        or c.transition_id = create_condition.transition_id
    ),
    step_id => create_condition.step_id,
    transition_id => create_condition.transition_id
  );
end
$$;

comment on function dripdrop.create_condition(text, jsonb, uuid, uuid) is
  'Adds a condition to a step, which it gates, or to a transition, which it routes, of a draft '
  'version.';

-- Goals and exits belong to the sequence: they hold for everybody in it, on whatever version.
--
-- locks   the sequence
-- raises  ZD101 unknown sequence, ZD201 bad outcome, and what _canonical_condition() raises
create or replace function dripdrop.create_exit_rule(
  tenant_key text,
  sequence_id uuid,
  outcome text,
  condition jsonb
)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_canonical jsonb := dripdrop._canonical_condition(create_exit_rule.condition);
  v_condition dripdrop.conditions;
begin
  if coalesce(outcome not in ('goal', 'exit'), true) then
    raise exception 'outcome "%" is unknown', outcome using
      errcode = 'ZD201', column = 'outcome',
      hint = 'Use goal, which completes an enrolment, or exit, which cancels it.';
  end if;
  perform from dripdrop.sequences as q
  where q.id = create_exit_rule.sequence_id
    and q.tenant_key is not distinct from create_exit_rule.tenant_key
  for no key update;
  if not found then
    raise exception 'sequence "%" not found', sequence_id using
      errcode = 'ZD101', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  v_condition := dripdrop._insert_condition(
    create_exit_rule.tenant_key,
    v_canonical,
    (
      select coalesce(max(c.position) + 1, 1)
      from dripdrop.conditions as c
      where c.sequence_id = create_exit_rule.sequence_id
        and c.outcome = create_exit_rule.outcome
    ),
    sequence_id => create_exit_rule.sequence_id,
    outcome => create_exit_rule.outcome
  );
  perform dripdrop._set_sequence_hooks(v_condition.sequence_id);
  return v_condition;
end
$$;

comment on function dripdrop.create_exit_rule(text, uuid, text, jsonb) is
  'Adds a condition that ends the enrolments of a sequence: as a goal, which completes them, or as '
  'an exit, which cancels them.';

-- locks   the sequence
-- raises  ZD109 unknown exit rule
create or replace function dripdrop.drop_exit_rule(tenant_key text, condition_id uuid)
returns dripdrop.conditions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_condition dripdrop.conditions;
begin
  perform from dripdrop.sequences as q
  where q.id = (
    select c.sequence_id
    from dripdrop.conditions as c
    where c.id = drop_exit_rule.condition_id
      and c.tenant_key is not distinct from drop_exit_rule.tenant_key
  )
  for no key update;
  delete from dripdrop.conditions as c
  where c.id = drop_exit_rule.condition_id
    and c.tenant_key is not distinct from drop_exit_rule.tenant_key
    and c.sequence_id is not null
  returning c.* into v_condition;
  if not found then
    raise exception 'exit rule "%" not found', condition_id using
      errcode = 'ZD109', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  perform dripdrop._set_sequence_hooks(v_condition.sequence_id);
  return v_condition;
end
$$;

comment on function dripdrop.drop_exit_rule(text, uuid) is
  'Removes a goal or an exit from a sequence and returns what it was.';

-- A hook that a goal names is a hook of every step that somebody may be on.
create or replace function dripdrop._set_sequence_hooks(sequence_id uuid)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._set_step_hooks(v.id)
  from dripdrop.sequence_versions as v
  where v.sequence_id = _set_sequence_hooks.sequence_id
    and v.state <> 'draft'
$$;

comment on function dripdrop._set_sequence_hooks(uuid) is
  'Finds out again which hooks the steps need, in every version that people can be on.';

create or replace function dripdrop._guard_conditions()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_draft(array(
    select s.sequence_version_id
    from dripdrop.steps as s
    where s.id in (new.step_id, old.step_id)
    union all
    select t.sequence_version_id
    from dripdrop.step_transitions as t
    where t.id in (new.transition_id, old.transition_id)
  ));
  return coalesce(new, old);
end
$$;

comment on function dripdrop._guard_conditions() is
  'Trigger: raises ZD111 when a version that is not a draft would change.';

create or replace trigger conditions_of_a_draft
before insert or update or delete on dripdrop.conditions
for each row
execute function dripdrop._guard_conditions();
