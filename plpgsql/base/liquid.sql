-- The filters of the renderer, and its tags with the words that belong to them: what a request's
-- parts print is escaped where it is printed, so that what prints in other ways is missing there.
-- escaping is that of a message or of a part of a hook's request: message, url, form or json.
create or replace function dripdrop._liquid_words(escaping text)
returns table (kind text, words text[])
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select
    'filter',
    array[
      'abs', 'append', 'at_least', 'at_most', 'base64_decode', 'base64_encode',
      'base64_url_safe_decode', 'base64_url_safe_encode', 'capitalize', 'ceil', 'compact', 'concat',
      'date', 'default', 'divided_by', 'downcase', 'escape', 'escape_once', 'escapejs', 'find',
      'find_index', 'first', 'floor', 'has', 'join', 'last', 'lstrip', 'map', 'minus', 'modulo',
      'newline_to_br', 'plus', 'prepend', 'reject', 'remove', 'remove_first', 'remove_last',
      'replace', 'replace_first', 'replace_last', 'reverse', 'round', 'rstrip', 'safe', 'size',
      'slice', 'sort', 'sort_natural', 'split', 'squish', 'strip', 'strip_html', 'strip_newlines',
      'sum', 'times', 'truncate', 'truncatewords', 'uniq', 'upcase', 'url_decode', 'url_encode',
      'where'
    ] || case when escaping = 'json' then array['json'] else '{}' end
  union all
  select
    'tag',
    array[
      'assign', 'break', 'case', 'when', 'else', 'endcase', 'comment', 'endcomment', 'continue',
      'decrement', 'doc', 'enddoc', 'for', 'endfor', 'if', 'elsif', 'endif', 'increment', 'raw',
      'endraw', 'unless', 'endunless'
    ] || case
      when escaping = 'message'
      then array[
        'capture', 'endcapture', 'cycle', 'echo', 'ifchanged', 'endifchanged', 'liquid', 'tablerow',
        'endtablerow'
      ]
      else '{}'
    end
$$;

comment on function dripdrop._liquid_words(text) is
  'The filters and the tags of Liquid that a message, or a part of a hook''s request, may use.';

-- What is commented out or raw is prose. Of {% liquid %} every line is a tag. A bar within quotes
-- is no filter. Where a search has to stop at the first end, a quantifier around it says so.
create or replace function dripdrop._used_liquid(template text)
returns table (kind text, word text)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  with markup as (
    select
      m.place,
      left(m.words[1], 2) = '{%' as is_tag,
      regexp_replace(m.words[1], '^[{][{%]-?[[:space:]]*|[[:space:]]*-?[%}][}]$', '', 'g') as text
    from regexp_matches(
      regexp_replace(
        template,
        '(?:[{]%-?[[:space:]]*raw[[:space:]]*-?%[}].*?[{]%-?[[:space:]]*endraw[[:space:]]*-?%[}]'
        '|[{]%-?[[:space:]]*doc[[:space:]]*-?%[}].*?[{]%-?[[:space:]]*enddoc[[:space:]]*-?%[}]'
        '|[{]%-?[[:space:]]*comment[[:space:]]*-?%[}].*?'
        '[{]%-?[[:space:]]*endcomment[[:space:]]*-?%[}]'
        '){1,1}?',
        '', 'g'
      ),
      '(?:[{][{].*?[}][}]|[{]%.*?%[}]){1,1}?',
      'g'
    ) with ordinality as m (words, place)
  ),
  statement as (
    select m.place, l.line_place, m.is_tag, btrim(l.line, E' \t\r') as text
    from markup as m
    cross join lateral regexp_split_to_table(
      case
        when m.is_tag and m.text ~ '^liquid(?![[:alnum:]_])'
        then regexp_replace(
          m.text, E'(?:\n[ \t]*comment.*?\n[ \t]*endcomment){1,1}?', '', 'g'
        )
        else translate(m.text, E'\n', ' ')
      end,
      E'\n'
    ) with ordinality as l (line, line_place)
  )
  select used.kind, used.word
  from (
    select s.place, s.line_place, 0 as word_place, 'tag' as kind, t.words[1] as word
    from statement as s
    cross join lateral regexp_matches(s.text, '^[[:alpha:]_][[:alnum:]_]*') as t (words)
    where s.is_tag
    union all
    select s.place, s.line_place, f.word_place, 'filter', f.words[1]
    from statement as s
    cross join lateral regexp_matches(
      regexp_replace(s.text, '"[^"]*"|''[^'']*''', '""', 'g'),
      '[|][[:space:]]*([[:alpha:]_][[:alnum:]_]*)',
      'g'
    ) with ordinality as f (words, word_place)
    where s.text !~ '^#'
  ) as used
  order by used.place, used.line_place, used.word_place
$$;

comment on function dripdrop._used_liquid(text) is
  'The tags and filters of a text of Liquid, in their order.';

-- A filter or tag that there is not fails every message of its step, one by one, weeks later.
-- Whether the rest parses is the renderer's to say.
--
-- raises  ZD201 with the path of the fault
create or replace function dripdrop._check_liquid(template jsonb, field text, escaping text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_unknown record;
begin
  select u.kind, u.word, w.words into v_unknown
  from jsonb_path_query(template, 'strict $.** ? (@.type() == "string")') as part (text)
  cross join lateral dripdrop._used_liquid(part.text #>> '{}') as u
  join dripdrop._liquid_words(escaping) as w on w.kind = u.kind
  where strpos(part.text #>> '{}', '{') > 0
    and u.word <> all (w.words)
  limit 1;
  if found then
    raise exception '% % is unknown', v_unknown.kind, dripdrop._quoted(v_unknown.word) using
      errcode = 'ZD201', column = _check_liquid.field,
      hint = format(
        'The %ss of Liquid are %s.', v_unknown.kind, array_to_string(v_unknown.words, ', ')
      );
  end if;
end
$$;

comment on function dripdrop._check_liquid(jsonb, text, text) is
  'Raises on a text with a filter or a tag that Liquid does not have.';
