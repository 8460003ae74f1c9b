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
  v_type text := coalesce(condition ->> 'type', dripdrop._condition_type(condition));
  v_path jsonpath;
  v_canonical jsonb;
begin
  if jsonb_typeof(condition) is distinct from 'object' then
    raise exception 'a condition is not an object' using
      errcode = 'ZD208', column = rtrim(path, '.'),
      hint = 'Write for example {"predicate": "$.enrollment.score > 70"}.';
  end if;
  if not exists (
    select from dripdrop._kinds() as k where k.kind = 'condition.' || v_type
  ) is true then
    perform dripdrop._refuse_condition_type(condition, v_type, path);
  end if;
  perform dripdrop._check_document(condition, 'condition.' || v_type, path);

  v_canonical := jsonb_strip_nulls(
    jsonb_build_object('type', v_type, 'name', condition -> 'name')
  );
  case v_type
    when 'enrollment_data' then
      v_path := dripdrop._parse_path(dripdrop._rooted(condition ->> 'field_path'));
      perform dripdrop._check_path(v_path, path || 'field_path');
      return v_canonical
        || jsonb_build_object('field_path', v_path::text)
        || dripdrop._canonical_comparison(condition, path);
    when 'hook' then
      return v_canonical
        || jsonb_build_object('hook', condition -> 'hook')
        || dripdrop._canonical_comparison(condition, path);
    when 'event' then
      return v_canonical || dripdrop._canonical_event_condition(condition, path);
    when 'time_window' then
      return v_canonical || dripdrop._canonical_window(condition, path);
    else
      v_path := dripdrop._parse_predicate(condition ->> 'predicate');
      perform dripdrop._check_path(v_path, path || 'predicate');
      return v_canonical || jsonb_build_object('predicate', v_path::text);
  end case;
end
$$;

comment on function dripdrop._canonical_condition(jsonb, text) is
  'A condition''s document, checked and in its stored form.';

create or replace function dripdrop._condition_type(condition jsonb)
returns text
language sql
immutable
parallel safe
return case
  when condition ? 'predicate' then 'predicate'
  when condition ? 'event' then 'event'
  when condition ? 'hook' then 'hook'
  when condition ? 'field_path' then 'enrollment_data'
  when condition ?| array['start', 'end', 'days'] then 'time_window'
end;

comment on function dripdrop._condition_type(jsonb) is
  'The type of a condition that one of its fields tells, or null.';

-- A word from elsewhere says more than the type that is missing because of it.
--
-- raises  ZD208 with the path of the fault
create or replace function dripdrop._refuse_condition_type(condition jsonb, type text, path text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_word record;
begin
  select w.word, w.instead into v_word
  from dripdrop._words() as w
  where w.document = 'condition' and condition ? w.word
  limit 1;
  if found then
    raise exception 'a condition has no field %', dripdrop._quoted(v_word.word) using
      errcode = 'ZD208', column = path || v_word.word,
      hint = format('Write %s instead.', v_word.instead);
  end if;
  raise exception 'condition type % is unknown', dripdrop._quoted(type) using
    errcode = 'ZD208', column = path || 'type',
    hint = 'Use enrollment_data, event, hook, predicate or time_window; the type may be left out '
      'when a field such as predicate or event tells it.';
end
$$;

comment on function dripdrop._refuse_condition_type(jsonb, text, text) is
  'Raises ZD208 for a condition of no known type.';

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
  if v_expected is null then
    raise exception 'expected_value is missing' using
      errcode = 'ZD208', column = path || 'expected_value',
      hint = 'Write null to compare with null.';
  end if;
  if v_operator in ('>', '<', '>=', '<=') then
    if v_kind = 'string'
      and v_expected #>> '{}' ~ '^[[:space:]]*-?[0-9]+([.][0-9]+)?[[:space:]]*$'
    then
      v_expected := to_jsonb((v_expected #>> '{}')::numeric);
    elsif v_kind <> 'number' then
      raise exception 'operator % compares with a number, not with %',
        v_operator, dripdrop._quoted(v_expected #>> '{}') using
        errcode = 'ZD208', column = path || 'expected_value',
        hint = 'Write a number, or use == or !=.';
    end if;
  end if;
  if v_operator = 'in' and (v_kind <> 'array' or v_expected = '[]') then
    raise exception 'operator in looks in a list, not in %',
      dripdrop._quoted(v_expected #>> '{}') using
      errcode = 'ZD208', column = path || 'expected_value',
      hint = 'Write for example ["pro", "enterprise"].';
  end if;
  if v_operator = 'contains' and v_kind in ('null', 'object', 'array') then
    raise exception 'operator contains looks for one value, not for %',
      dripdrop._quoted(v_expected #>> '{}') using
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
create or replace function dripdrop._canonical_event_condition(condition jsonb, path text)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_happened jsonb := nullif(condition -> 'happened', 'null');
  v_comparison jsonb := jsonb '{"operator": ">=", "expected_value": 1}';
  v_fault record;
begin
  if v_happened is not null then
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
      raise exception 'an event does not happen % times', v_comparison ->> 'expected_value' using
        errcode = 'ZD208', column = path || 'expected_value', hint = 'Write a whole number.';
    end if;
  end if;
  select f.* into v_fault
  from dripdrop._match_faults(condition -> 'match', path || 'match') as f
  limit 1;
  if found then
    raise exception '% is no path into the data', dripdrop._quoted(v_fault.value) using
      errcode = 'ZD208', column = v_fault.field,
      hint = 'Write for example {"order_id": "$.data.order_id"} for the order_id that the '
        'enrolment''s data holds.';
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

comment on function dripdrop._canonical_event_condition(jsonb, text) is
  'What a condition says of an event, checked.';

-- raises  ZD208 with the path of the fault
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

-- raises  ZD208, ZD204, with the path of the fault
create or replace function dripdrop._canonical_conditions(conditions jsonb, path text)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_agg(
      dripdrop._canonical_condition(c.condition, format('%s[%s].', path, c.place - 1))
      order by c.place
    ),
    '[]'
  )
  from jsonb_array_elements(nullif(conditions, 'null')) with ordinality as c (condition, place)
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

-- Each condition takes a few milliseconds at most, of somebody with the longest lists; others wait
-- for all of them together.
--
-- raises  ZD208
create or replace function dripdrop._check_most(count bigint, what text, field text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if count > 100 then
    raise exception '% % are too many', count, what using
      errcode = 'ZD208', column = field,
      hint = 'A step, the ways on from it, the goals and the exits of a sequence have 100 '
        'conditions each; several can be one predicate, with && and ||.';
  end if;
end
$$;

comment on function dripdrop._check_most(bigint, text, text) is
  'Raises ZD208 on more conditions, or transitions, than are asked at once.';
