-- Most documents are small, and a small one is told by its size: what prints less than 309
-- characters holds no number beyond a double. About half a microsecond.
create or replace function dripdrop._is_plain(document jsonb)
returns boolean
language sql
stable
parallel safe
return case
  when pg_column_size(document) < 400
  then octet_length(document::text) < 309 and not document @? '$.**{50}'
  else document is null
end;

comment on function dripdrop._is_plain(jsonb) is
  'Whether a document is so small that nothing can be wrong with it.';

-- What comes in as jsonb is read by others: workers, which read numbers as doubles and have a
-- stack, and predicates, which compare lists with lists. Each rule here is one of theirs.
-- Depth first, then size in memory, then numbers: a short 1e131071 prints 131 072 digits.
create or replace function dripdrop._json_fault(document jsonb, field text, bytes int)
returns table (place text, message text, hint text)
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_number constant jsonpath := jsonpath 'strict $.** ? (@.type() == "number"
    && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))';
  v_list constant jsonpath := jsonpath 'strict $.** ? (@.type() == "array" && @.size() > 1000)';
begin
  if document @? 'strict $.**{50} ? (@.type() == "object" || @.type() == "array")' then
    return query values (
      _json_fault.field, 'nested more than 50 levels deep',
      'Pass what templates and conditions need, and no more.'
    );
  elsif pg_column_size(document) <= 8 * bytes and document @? v_number then
    return query
    select
      dripdrop._json_place(document, _json_fault.field, v_number),
      'a number is beyond what a double holds', 'Write it as a text, or less of it.';
  elsif pg_column_size(document) > 8 * bytes or octet_length(document::text) > bytes then
    return query values (
      _json_fault.field, format('longer than %s bytes', bytes),
      'Pass what templates and conditions need, and no more.'
    );
  elsif document @? v_list then
    return query
    select
      dripdrop._json_place(document, _json_fault.field, v_list),
      'a list has more than 1000 elements', 'Pass what templates and conditions need, and no more.';
  end if;
end
$$;

comment on function dripdrop._json_fault(jsonb, text, int) is
  'What is wrong with a document, and where, or no row.';

-- Only for a document that holds it, so that nobody else pays for the walk.
create or replace function dripdrop._json_place(document jsonb, field text, path jsonpath)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive node as (
    select _json_place.field as place, document as value, 0 as depth
    union all
    select n.place || part.name, part.value, n.depth + 1
    from node as n
    cross join lateral (
      select '.' || left(o.key, 100) as name, o.value
      from jsonb_each(case when jsonb_typeof(n.value) = 'object' then n.value end) as o
      union all
      select format('[%s]', a.number - 1), a.value
      from jsonb_array_elements(case when jsonb_typeof(n.value) = 'array' then n.value end)
        with ordinality as a (value, number)
    ) as part
    where part.value @? _json_place.path
  )
  select left(ltrim(n.place, '.'), 500)
  from node as n
  order by n.depth desc, n.place
  limit 1
$$;

comment on function dripdrop._json_place(jsonb, text, jsonpath) is
  'Where in a document the innermost value stands that a path finds.';

-- The first thing that each public function with a jsonb parameter does.
--
-- raises  ZD201, with the path of the value in the diagnostics' column field
create or replace function dripdrop._check_json(
  document jsonb,
  field text,
  bytes int default 65536
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
begin
  if dripdrop._is_plain(document) then
    return;
  end if;
  select f.* into v_fault from dripdrop._json_fault(document, _check_json.field, bytes) as f;
  if found then
    raise exception 'at "%": %', v_fault.place, v_fault.message using
      errcode = 'ZD201', column = v_fault.place, hint = v_fault.hint;
  end if;
end
$$;

comment on function dripdrop._check_json(jsonb, text, int) is
  'Raises ZD201 on a document that is too long, too deep, or holds a number beyond a double or a '
  'list of more than 1000 elements.';

-- A list of calls in one: as long as it likes, each field of each element as if it came alone.
--
-- raises  ZD201, with the path of the value in the diagnostics' column field, and its element
create or replace function dripdrop._check_json_list(
  list jsonb,
  field text,
  bytes int default 65536
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
begin
  select e.number, f.* into v_fault
  from jsonb_array_elements(case when jsonb_typeof(list) = 'array' then list end)
    with ordinality as e (element, number)
  cross join lateral (
    select o.key, o.value
    from jsonb_each(case when jsonb_typeof(e.element) = 'object' then e.element end) as o
    union all
    select '', e.element where jsonb_typeof(e.element) = 'array'
  ) as part
  cross join lateral dripdrop._json_fault(part.value, left(part.key, 100), bytes) as f
  where not dripdrop._is_plain(e.element) and not dripdrop._is_plain(part.value)
  limit 1;
  if found then
    raise exception 'at "%": %', v_fault.place, v_fault.message using
      errcode = 'ZD201', column = v_fault.place, hint = v_fault.hint,
      detail = format('Element %s of the %s.', v_fault.number, _check_json_list.field);
  end if;
  if jsonb_typeof(list) <> 'array' then
    perform dripdrop._check_json(list, _check_json_list.field, bytes);
  end if;
end
$$;

comment on function dripdrop._check_json_list(jsonb, text, int) is
  'Raises ZD201, as _check_json() does, on the first element of a list with such a field.';

-- A value as the number it is, also where it comes as a text, or null.
create or replace function dripdrop._number(value jsonb)
returns numeric
language sql
immutable
parallel safe
return case
  when jsonb_typeof(value) = 'number' then (value #>> '{}')::numeric
  when jsonb_typeof(value) = 'string' and value #>> '{}' ~ '^-?[0-9]{1,100}([.][0-9]{1,100})?$'
  then (value #>> '{}')::numeric
end;

comment on function dripdrop._number(jsonb) is
  'A JSON number, or a text that is one, as a number; else null.';
