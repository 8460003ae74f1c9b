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
  v_instead text;
  v_path jsonpath;
  v_canonical jsonb;
begin
  if jsonb_typeof(condition) is distinct from 'object' then
    raise exception 'a condition is not an object' using
      errcode = 'ZD208', column = rtrim(path, '.'),
      hint = 'Write for example {"predicate": "$.enrollment.score > 70"}.';
  end if;
  if v_fields is null then
    select w.word, w.instead into v_fault, v_instead
    from dripdrop._words() as w
    where w.document = 'condition' and condition ? w.word
    limit 1;
    if v_fault is not null then
      raise exception 'a condition has no field %', dripdrop._quoted(v_fault) using
        errcode = 'ZD208', column = path || v_fault, hint = format('Write %s instead.', v_instead);
    end if;
    raise exception 'condition type % is unknown', dripdrop._quoted(v_type) using
      errcode = 'ZD208', column = path || 'type',
      hint = 'Use enrollment_data, event, hook, predicate or time_window; the type may be left out '
        'when a field such as predicate or event tells it.';
  end if;
  select field into v_fault
  from jsonb_object_keys(condition) as field
  where not field = any (v_fields || array['type', 'name']);
  if v_fault is not null then
    raise exception 'a condition of type % has no field %',
      dripdrop._quoted(v_type), dripdrop._quoted(v_fault) using
      errcode = 'ZD208', column = path || v_fault,
      hint = dripdrop._instead(
        'condition', v_fault,
        format('The fields are name, %s.', array_to_string(v_fields, ', '))
      );
  end if;
  select field into v_fault
  from unnest(array[
    'type', 'name', 'field_path', 'predicate', 'hook', 'event', 'within', 'since', 'operator',
    'start', 'end', 'time_zone'
  ]) as field
  where jsonb_typeof(condition -> field) not in ('string', 'null');
  if v_fault is not null then
    raise exception 'field % is not a text', dripdrop._quoted(v_fault) using
      errcode = 'ZD208', column = path || v_fault, hint = 'Write it in double quotes.';
  end if;
  if condition ->> 'name' = '' then
    raise exception 'the name is empty' using
      errcode = 'ZD208', column = path || 'name', hint = 'Leave it out, or say what it is about.';
  end if;
  perform dripdrop._check_title(condition ->> 'name', path || 'name');

  v_canonical := jsonb_strip_nulls(
    jsonb_build_object('type', v_type, 'name', condition -> 'name')
  );
  case v_type
    when 'enrollment_data' then
      v_path := dripdrop._parse_path(
        case
          when condition ->> 'field_path' ~ '^[[:space:]]*(lax |strict )?[[:space:]]*[$]'
          then condition ->> 'field_path'
          else '$.' || (condition ->> 'field_path')
        end
      );
      if v_path is null then
        raise exception 'field_path % is not a path',
          dripdrop._quoted(condition ->> 'field_path') using
          errcode = 'ZD208', column = path || 'field_path',
          hint = 'Write for example plan_tier, address.city, or $."plan-tier" for a name with '
            'other signs in it. Variables are not known here.';
      end if;
      perform dripdrop._check_path(v_path, path || 'field_path');
      return v_canonical
        || jsonb_build_object('field_path', v_path::text)
        || dripdrop._canonical_comparison(condition, path);

    when 'hook' then
      if coalesce(condition ->> 'hook' !~ '^[a-z0-9][a-z0-9_-]{0,199}$', true) then
        raise exception 'hook key % is not valid', dripdrop._quoted(condition ->> 'hook') using
          errcode = 'ZD208', column = path || 'hook',
          hint = 'It is the key of an HTTP hook of the sequence or of a registered function.';
      end if;
      return v_canonical
        || jsonb_build_object('hook', condition -> 'hook')
        || dripdrop._canonical_comparison(condition, path);

    when 'event' then
      return v_canonical || dripdrop._canonical_event_condition(condition, path);

    when 'time_window' then
      return v_canonical || dripdrop._canonical_window(condition, path);

    else
      v_path := dripdrop._parse_predicate(condition ->> 'predicate');
      if v_path is null then
        raise exception 'predicate % is not a predicate',
          dripdrop._quoted(condition ->> 'predicate') using
          errcode = 'ZD208', column = path || 'predicate',
          hint = 'Write a test such as $.enrollment.score > 70 && $.steps.welcome.state == "sent". '
            '$.enrollment.score alone is a value: compare it, or write exists($.enrollment.score).';
      end if;
      perform dripdrop._check_path(v_path, path || 'predicate');
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
    raise exception 'operator % is unknown', dripdrop._quoted(condition ->> 'operator') using
      errcode = 'ZD208', column = path || 'operator',
      hint = 'Use ==, !=, >, <, >=, <=, in or contains.';
  end if;
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
begin
  if coalesce(condition ->> 'event', '') = '' or octet_length(condition ->> 'event') > 500 then
    raise exception 'the event has no name' using
      errcode = 'ZD208', column = path || 'event',
      hint = 'It is the key that track_event() is called with, at most 500 bytes.';
  end if;
  if coalesce(jsonb_typeof(condition -> 'match'), 'null') not in ('object', 'null') then
    raise exception 'match is not an object' using
      errcode = 'ZD208', column = path || 'match',
      hint = 'Write what the event''s data must contain, for example {"plan": "pro"}.';
  end if;
  if not dripdrop._is_interval(coalesce(condition ->> 'within', '1 day')) then
    raise exception 'within % is not an interval', dripdrop._quoted(condition ->> 'within') using
      errcode = 'ZD208', column = path || 'within',
      hint = 'Write for example "7 days"; 100 years are the most.';
  end if;
  if condition ->> 'since' <> 'enrollment' then
    raise exception 'since % is unknown', dripdrop._quoted(condition ->> 'since') using
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
      raise exception 'an event does not happen % times', v_comparison ->> 'expected_value' using
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

comment on function dripdrop._canonical_event_condition(jsonb, text) is
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
