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

-- A path runs inside a statement, where nothing can end it: its shape must say how long it takes.
-- Each wildcard looks through a list; what looks through one for each element of another takes the
-- product of the two. The innermost parentheses are read first, and a letter stands for what was in
-- them: W for what looks through a list, F for a filter, P for a truth.
create or replace function dripdrop._path_fault(path jsonpath)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := regexp_replace(path::text, E'"([^"\\\\]|\\\\.)*"', '""', 'g');
  v_inner text;
begin
  if path::text ~ E'like_regex "([^"\\\\]|\\\\.)*\\\\\\\\[1-9]' then
    return 'a regular expression that refers back to itself';
  end if;
  if regexp_count(v_text, '[.][*][*]') > 1 then
    return 'more than one .**';
  end if;
  v_text := replace(v_text, '.keyvalue()', 'W');
  v_text := regexp_replace(v_text, '[.][a-z_]+[(][^()]*[)]', '', 'g');
  v_text := regexp_replace(v_text, '[.][*]([*]([{][^}]*[}])?)?|[[][*][]]', 'W', 'g');
  v_text := regexp_replace(v_text, '[[][^][]*( to |,)[^][]*[]]', 'W', 'g');
  loop
    v_inner := substring(v_text from '[(]([^()]*)[)]');
    if dripdrop._multiplies(coalesce(v_inner, v_text)) then
      return 'wildcards on both sides of a comparison';
    end if;
    exit when v_inner is null;
    if v_text ~ '[?][(][^()]*[)]' and strpos(v_text, '?(' || v_inner || ')') > 0 then
      if v_inner ~ '[$][^ ,)]*[WF]' then
        return 'a filter that looks through another list for each element';
      end if;
      v_text := replace(v_text, '?(' || v_inner || ')', 'F');
    else
      v_text := replace(
        v_text, '(' || v_inner || ')',
        case
          when v_inner ~ '[$][^ ,)]*[WF]' then '$W'
          when v_inner ~ 'W' and v_inner !~ '[=<>&|]|starts' then 'W'
          else 'P'
        end
      );
    end if;
  end loop;
  return null;
end
$$;

comment on function dripdrop._path_fault(jsonpath) is
  'What in a path could take for ever, or null.';

create or replace function dripdrop._multiplies(predicate text)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from regexp_split_to_table(predicate, '&&|[|][|]') as part
    where (
      select count(*) > 1
      from regexp_split_to_table(part, ' (==|!=|<=|>=|<|>|starts with) ') as side
      where side ~ 'W'
    )
  )
$$;

comment on function dripdrop._multiplies(text) is
  'Whether one of the comparisons of a predicate without parentheses has wildcards on both sides.';

-- raises  ZD208, with the path of the fault in the diagnostics' column field
create or replace function dripdrop._check_path(path jsonpath, field text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault text := dripdrop._path_fault(path);
begin
  if octet_length(path::text) > 4000 then
    raise exception 'the path is longer than 4000 bytes' using
      errcode = 'ZD208', column = _check_path.field, hint = 'Make several conditions of it.';
  elsif v_fault is not null then
    raise exception '% takes too long on long lists: %',
      dripdrop._quoted(path::text), v_fault using
      errcode = 'ZD208', column = _check_path.field,
      hint = 'Compare one list with a value, for example $.enrollment.orders[*].total > 100, or '
        'let the application compute the answer and pass it as data.';
  end if;
end
$$;

comment on function dripdrop._check_path(jsonpath, text) is
  'Raises ZD208 on a path that could take for ever.';

create or replace function dripdrop._rooted(path text)
returns text
language sql
immutable
parallel safe
return regexp_replace(path, '^(?![[:space:]]*(lax |strict )?[[:space:]]*[$])', '$.');

comment on function dripdrop._rooted(text) is
  'A path from the root, also where it leaves out "$.".';
