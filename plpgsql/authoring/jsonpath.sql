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
  if regexp_replace(path::jsonpath::text, E'"([^"\\\\]|\\\\.)*"', '""', 'g') like '%$""%' then
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
