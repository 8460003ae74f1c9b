-- A message repeats what it was given, and not the megabytes of it.
create or replace function dripdrop._quoted(value text)
returns text
language sql
immutable
parallel safe
return case
  when value is null then 'null'
  when length(value) <= 100 then '"' || value || '"'
  else '"' || left(value, 100) || '…"'
end;

comment on function dripdrop._quoted(text) is
  'A value as messages show it: in double quotes, its first 100 characters.';

-- Control and format characters, separators of lines, and letters that are blank: what nobody sees,
-- or turns what stands beside it around.
create or replace function dripdrop._has_unseen(value text)
returns boolean
language sql
immutable
parallel safe
return value ~ (
  '[[:cntrl:]\u0080-\u009F\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2'
  '\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u2028-\u202E\u2060-\u206F\u2800\u3164'
  '\uFEFF\uFFA0\uFFF0-\uFFFB\U000110BD\U000110CD\U00013430-\U0001343F\U0001BCA0-\U0001BCA3'
  '\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]'
);

comment on function dripdrop._has_unseen(text) is
  'Whether a text has characters that cannot be seen.';

create or replace function dripdrop._is_blank(value text)
returns boolean
language sql
immutable
parallel safe
return value !~ '[^\s\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]';

comment on function dripdrop._is_blank(text) is 'Whether a text is empty or only spaces.';

-- What people read may have what joins the parts of an emoji, or letters.
create or replace function dripdrop._is_title(value text)
returns boolean
language sql
immutable
parallel safe
return octet_length(value) <= 200
and not dripdrop._has_unseen(
  regexp_replace(value, '[\u200C\u200D\U000E0020-\U000E007F]', '', 'g')
);

comment on function dripdrop._is_title(text) is
  'Whether a text is one line, not too long and all to be seen.';

-- What others' code raises repeats what it was given. Addresses, numbers of telephones and words of
-- letters and digits go, as in the log; the ids of rows stay.
create or replace function dripdrop._without_people(value text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select regexp_replace(
    regexp_replace(
      regexp_replace(
        value,
        E'("[^"\n]{1,128}")?[^][[:space:]<>,;()"]*(@|\uff20|%40)[^[:space:]<>,;()"]*',
        '[redacted]', 'g'
      ),
      '(?<![[:alnum:]_.:/-])'
      '([+][0-9][0-9 ().-]{5,20}[0-9]|[(]?[0-9]([ ()-]{0,2}[0-9]){8,14})(?![.:/-]?[[:alnum:]_])',
      '[redacted]', 'g'
    ),
    '(?<![[:alnum:]_-])(?![0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![[:alnum:]_-]))'
    '(?=[^[:space:]"]*[0-9])(?=[^[:space:]"]*[[:alpha:]])[[:alnum:]_+/=-]{6,}',
    '[redacted]', 'g'
  )
$$;

comment on function dripdrop._without_people(text) is
  'A text without addresses, telephone numbers and what looks like a token.';

-- Names stand in log lines, in addresses of the command line and beside other names in what the
-- vault binds credentials to: none may look like two.
--
-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_name(name text, field text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(dripdrop._is_blank(name), true) then
    raise exception '% is missing', field using
      errcode = 'ZD201', column = _check_name.field,
      hint = 'Give it a name, for example "Postmark".';
  end if;
  if octet_length(name) > 200 or name like '%:%' or dripdrop._has_unseen(name) then
    raise exception '% % is not a name', field, dripdrop._quoted(name) using
      errcode = 'ZD201', column = _check_name.field,
      hint = 'Use at most 200 bytes, without ":" and without control characters or others that '
        'cannot be seen.';
  end if;
end
$$;

comment on function dripdrop._check_name(text, text) is
  'Raises ZD201 for a text that is no name.';

-- What people read: it identifies nothing, so it may have a colon.
--
-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_title(title text, field text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not dripdrop._is_title(title) then
    raise exception '% % is no title', field, dripdrop._quoted(title) using
      errcode = 'ZD201', column = _check_title.field,
      hint = 'Use at most 200 bytes, without control characters or others that cannot be seen.';
  end if;
end
$$;

comment on function dripdrop._check_title(text, text) is
  'Raises ZD201 for a text that is too long for a title or is more than one line.';

-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_key(key text, field text, what text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(octet_length(key) > 200 or key !~ '^[a-z0-9][a-z0-9_-]*$', true) then
    raise exception '% % is not valid', what, dripdrop._quoted(key) using
      errcode = 'ZD201', column = _check_key.field,
      hint = 'Use at most 200 lower-case letters, digits, "_" and "-", and begin with a letter or '
        'digit.';
  end if;
end
$$;

comment on function dripdrop._check_key(text, text, text) is
  'Raises ZD201 for a text that is no key.';

-- What an application calls something, or what a person writes: bounded, so that it fits an index
-- where it stands in one.
--
-- raises  ZD201, with the field in the diagnostics' column field
create or replace function dripdrop._check_text(value text, field text, bytes int default 500)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if octet_length(value) > bytes then
    raise exception '% is longer than % bytes', field, bytes using
      errcode = 'ZD201', column = _check_text.field, hint = 'Write what is needed to know it by.';
  end if;
end
$$;

comment on function dripdrop._check_text(text, text, int) is
  'Raises ZD201 for a text that is too long.';

-- Twice the pairs of letters that both have, of all pairs (Dice).
create or replace function dripdrop._likeness(one text, other text)
returns float8
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    2.0 * (
      select sum(least(a.n, b.n))
      from (
        select substr(one, i, 2) as pair, count(*) as n
        from generate_series(1, least(length(one), 100) - 1) as i
        group by pair
      ) as a
      join (
        select substr(other, i, 2) as pair, count(*) as n
        from generate_series(1, least(length(other), 100) - 1) as i
        group by pair
      ) as b on b.pair = a.pair
    ) / nullif(least(length(one), 100) + least(length(other), 100) - 2, 0),
    0
  )
$$;

comment on function dripdrop._likeness(text, text) is
  'How alike two words are, from 0 to 1, by the pairs of letters that both have.';

create or replace function dripdrop._is_pattern(value text)
returns boolean
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  return ('' ~ value) is not null;
exception
  when invalid_regular_expression then
    return false;
end
$$;

comment on function dripdrop._is_pattern(text) is 'Whether a text is a regular expression.';
