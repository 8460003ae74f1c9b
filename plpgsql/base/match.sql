-- Numbers are equal as numbers and booleans as booleans, also where one side comes as a text. What
-- is of different kinds cannot be compared, but for null, which only null equals.
create or replace function dripdrop._equal(actual jsonb, expected jsonb)
returns boolean
language sql
immutable
parallel safe
return case
  when jsonb_typeof(actual) = jsonb_typeof(expected) then actual = expected
  when actual = 'null' or expected = 'null' then false
  when 'number' in (jsonb_typeof(actual), jsonb_typeof(expected))
  then dripdrop._number(actual) = dripdrop._number(expected)
  when actual #>> '{}' in ('true', 'false') and expected #>> '{}' in ('true', 'false')
  then actual #>> '{}' = expected #>> '{}'
end;

comment on function dripdrop._equal(jsonb, jsonb) is
  'Whether two values are the same; null when they cannot be compared.';

create or replace function dripdrop._event_agrees(event_data jsonb, match jsonb, data jsonb)
returns boolean
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_field record;
begin
  for v_field in select m.key, m.value from jsonb_each(match) as m loop
    if coalesce(
      case
        when jsonb_typeof(v_field.value) = 'object' then dripdrop._event_agrees(
          event_data -> v_field.key, v_field.value, data
        )
        when v_field.value #>> '{}' like '$.%' then dripdrop._equal(
          event_data -> v_field.key,
          data #> (string_to_array(v_field.value #>> '{}', '.'))[3:]
        )
        else jsonb_build_object(v_field.key, event_data -> v_field.key)
          @> jsonb_build_object(v_field.key, v_field.value)
      end,
      false
    ) is false then
      return false;
    end if;
  end loop;
  return true;
end
$$;

comment on function dripdrop._event_agrees(jsonb, jsonb, jsonb) is
  'Whether each field of an event is what a match says, or what the enrolment''s data holds.';

-- What a match compares may be a value of the enrolment, "$.data.order_id": of two carts the event
-- of one is then nothing to the other. Numbers and texts are compared as conditions compare them;
-- what is missing matches nothing.
create or replace function dripdrop._event_matches(event_data jsonb, match jsonb, data jsonb)
returns boolean
language sql
immutable
parallel safe
return case
  when match is null then true
  when match::text not like '%"$.%' then event_data @> match
  else dripdrop._event_agrees(event_data, match, data)
end;

comment on function dripdrop._event_matches(jsonb, jsonb, jsonb) is
  'Whether the data of an event is what a match asks for, for an enrolment with this data.';

create or replace function dripdrop._match_faults(match jsonb, path text)
returns table (field text, value text)
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select f.*
  from jsonb_each(
    case when jsonb_typeof(_match_faults.match) = 'object' then _match_faults.match else '{}' end
  ) as m
  cross join lateral (
    select below.*
    from dripdrop._match_faults(m.value, _match_faults.path || '.' || m.key) as below
    where jsonb_typeof(m.value) = 'object'
    union all
    select _match_faults.path || '.' || m.key, m.value #>> '{}'
    where jsonb_typeof(m.value) <> 'object'
      and m.value::text like '%"$.%'
      and m.value #>> '{}' !~ '^[$][.]data([.][A-Za-z_][A-Za-z0-9_-]*)+$'
  ) as f
$$;

comment on function dripdrop._match_faults(jsonb, text) is
  'The fields of a match that name what is no value of the enrolment''s data.';
