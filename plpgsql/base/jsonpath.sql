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

-- What is left of a path when only its shape counts: names and methods go, and W stands for what
-- finds many: a wildcard, several places of a list, and in lax mode a member of what somebody
-- else's data holds, for it may be a list, whose members are then found one by one. Of what we say
-- of steps no part is a list.
create or replace function dripdrop._path_skeleton(path jsonpath)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := regexp_replace(path::text, E'[$][.]"steps"[.]"([^"\\\\]|\\\\.)*"', '$', 'g');
begin
  v_text := regexp_replace(v_text, E'"([^"\\\\]|\\\\.)*"', '""', 'g');
  v_text := replace(v_text, '.keyvalue()', 'W');
  v_text := regexp_replace(v_text, '[.][a-z_]+[(][^()]*[)]', '', 'g');
  v_text := regexp_replace(v_text, '[.][*]([*]([{][^}]*[}])?)?|[[][*][]]', 'W', 'g');
  v_text := regexp_replace(v_text, '[[][^][]*( to |,)[^][]*[]]', 'W', 'g');
  v_text := regexp_replace(v_text, '[[][^][]*[]]', '', 'g');
  if path::text not like 'strict %' then
    v_text := regexp_replace(v_text, '([$][.]""[.]""|@[.]"")[.]""', E'\\1W', 'g');
  end if;
  return v_text;
end
$$;

comment on function dripdrop._path_skeleton(jsonpath) is
  'A path without names and methods, with W for what finds many.';

-- What a predicate compares: the sides of one comparison are looked through for each other.
create or replace function dripdrop._comparisons(predicate text)
returns table (many bigint, sides bigint, roots bigint)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select
    (select count(*) filter (where s.side ~ '[WF]') from unnest(c.sides) as s (side)),
    (select count(*) filter (where s.side ~ '[$@]') from unnest(c.sides) as s (side)),
    (select count(*) filter (where s.side ~ '[$]') from unnest(c.sides) as s (side))
  from regexp_split_to_table(predicate, '&&|[|][|]') as part
  cross join lateral (
    select regexp_split_to_array(part, ' (==|!=|<>|<=|>=|<|>|starts with) ') as sides
  ) as c
$$;

comment on function dripdrop._comparisons(text) is
  'The comparisons of a predicate without parentheses: how many of their sides find many, are '
  'paths, and are paths from the root.';

-- A path runs inside a statement, where nothing can end it: its shape must say how long it takes.
-- What finds many, for each element of another, takes the product of the two; what repeats what it
-- has found takes a power. The innermost parentheses are read first, and letters stand for what
-- was in them: W for what finds many, F for a filter, P for one value or a truth, X for two paths
-- from the root that are compared. A filter asks for each element whatever it asks from the root.
create or replace function dripdrop._path_shape(
  path jsonpath,
  out fault text,
  out products int,
  out squares int
)
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := dripdrop._path_skeleton(path);
  v_inner text;
  v_found record;
  v_is_filter boolean;
  v_whole text;
begin
  products := 0;
  squares := 0;
  loop
    v_inner := substring(v_text from '[(]([^()]*)[)]');
    v_is_filter := coalesce(strpos(v_text, '?(' || v_inner || ')') > 0, false);
    v_whole := case when v_is_filter then '?' else '' end || '(' || v_inner || ')';
    select
      max(c.many) as many, max(c.roots) as roots,
      count(*) filter (where c.sides > 1 or v_is_filter and c.roots > 0) as products,
      count(*) filter (where c.sides - c.roots > 1) as squares
    into v_found
    from dripdrop._comparisons(coalesce(v_inner, v_text)) as c;
    if v_found.many > 1 then
      fault := 'both sides of a comparison may be lists';
    elsif v_is_filter and (v_found.roots > 1 or v_inner ~ '[$][^ ,)]*[WFX]') then
      fault := 'a filter that looks through another list for each element';
    end if;
    v_found.products := v_found.products
      * coalesce((length(v_text) - length(replace(v_text, v_whole, ''))) / length(v_whole), 1);
    products := products + v_found.products;
    squares := squares + case when v_found.squares > 0 then v_found.products else 0 end;
    exit when v_inner is null or fault is not null;
    v_text := replace(
      v_text, v_whole,
      case
        when v_is_filter then 'F'
        else case when v_inner ~ '[$]' then '$' when v_inner ~ '@' then '@' else '' end
          || case
            when v_found.roots > 1 or v_inner ~ '[$][^ ,)]*X' then 'X'
            when v_inner ~ '[$][^ ,)]*[WF]' then 'W'
            when v_inner ~ '[WF]' and v_inner !~ '[=<>&|]|starts' then 'W'
            else 'P'
          end
      end
    );
  end loop;
end
$$;

comment on function dripdrop._path_shape(jsonpath) is
  'What in a path could take for ever, or null; how often it looks through one list for each '
  'element of another (products), and for each of the same (squares).';

create or replace function dripdrop._path_fault(path jsonpath)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when path::text ~ E'like_regex "([^"\\\\]|\\\\.)*\\\\\\\\[1-9]'
    then 'a regular expression that refers back to itself'
    when regexp_count(p.text, '[.][*][*]') > 1 then 'more than one .**'
    when regexp_count(p.text, '[.]keyvalue[(][)]') > 1 then 'more than one .keyvalue()'
    when regexp_count(p.text, '[[][^][]*,') > 1 then 'more than one list of places'
    when p.text ~ '[[][^][]*[$@]' then 'a place in a list that has to be found'
    else (dripdrop._path_shape(path)).fault
  end
  from (
    select regexp_replace(path::text, E'"([^"\\\\]|\\\\.)*"', '""', 'g') as text
  ) as p
$$;

comment on function dripdrop._path_fault(jsonpath) is
  'What in a path could take for ever, or null.';

-- How many elements each mention of something from the root reaches: those of its lists, or with
-- a wildcard that looks into objects, all there is. The third mention of the same counts no more.
create or replace function dripdrop._reached(path jsonpath, document jsonb)
returns int[]
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select n.elements
    from (
      select m.words[1] as place, least(count(*), 2) as times
      from regexp_matches(
        path::text,
        E'[$]((?:[.]"(?:[^"\\\\]|\\\\.)*"){0,2})|"(?:[^"\\\\]|\\\\.)*"',
        'g'
      ) as m (words)
      where m.words[1] is not null
      group by m.words[1]
    ) as p
    cross join lateral (
      select jsonb_path_query_array(document, ('$' || p.place)::jsonpath, '{}', true) as found
    ) as r
    cross join lateral (
      select
        case
          when path::text like any ('{%.*%,%keyvalue%}')
          then (select count(*)::int from jsonb_path_query(r.found, 'strict $.**'))
          else (
            select sum(s.size::int)::int
            from jsonb_path_query(
              r.found, 'strict $.** ? (@.type() == "array").size()', '{}', true
            ) as s (size)
          )
        end as elements
      offset 0
    ) as n
    cross join lateral generate_series(1, p.times)
    order by n.elements desc
  )
$$;

comment on function dripdrop._reached(jsonpath, jsonb) is
  'The numbers of elements that the parts of a document have which a path names, largest first.';

-- What comes in has no list of more than a thousand elements, but lists of such lists. Most data
-- has so few elements that they need not be counted.
create or replace function dripdrop._path_cost(path jsonpath, document jsonb)
returns int
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_path text := path::text;
  v_document text := document::text;
  v_most int := length(v_document) - length(translate(v_document, ',[{', ''));
  v_repeats boolean := v_path like any ('{%.**%,%keyvalue%,"%,%"}');
  v_steps int;
  v_shape record;
  v_reached int[];
begin
  if v_most <= 25
    or not v_repeats and (v_most + v_most::bigint * v_most / 2) * length(v_path) < 400000
  then
    return 0;
  elsif dripdrop._path_fault(path) is not null then
    return 2147483647;
  end if;
  v_steps := regexp_count(regexp_replace(v_path, E'"([^"\\\\]|\\\\.)*"', '', 'g'), '[.,?([]') + 1;
  v_shape := dripdrop._path_shape(path);
  v_reached := dripdrop._reached(path, document);
  return least(
    (
      v_steps::numeric * (select coalesce(sum(r), 0) from unnest(v_reached) as r)
      + v_shape.products::numeric * v_reached[1] * coalesce(v_reached[2], v_reached[1])
      + v_shape.squares::numeric * v_reached[1] * v_reached[1]
    ) * case when v_repeats then v_steps else 1 end,
    2147483647
  );
end
$$;

comment on function dripdrop._path_cost(jsonpath, jsonb) is
  'How many elements of a document a path looks at, at most, each as often as it does; 0: hardly '
  'any.';

create or replace function dripdrop._takes_long(path jsonpath, document jsonb)
returns boolean
language sql
immutable
parallel safe
return dripdrop._path_cost(path, document) > 100000;

comment on function dripdrop._takes_long(jsonpath, jsonb) is
  'Whether a path would take more than a few milliseconds of what others wait for.';

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
      hint = 'Compare one list with a value, for example $.enrollment.orders[*].total > 100; begin '
        'with "strict" where nothing is a list; or let the application compute the answer and '
        'pass it as data.';
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
