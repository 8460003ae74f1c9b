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
  if coalesce(name, '') = '' then
    raise exception '% is missing', field using
      errcode = 'ZD201', column = _check_name.field,
      hint = 'Give it a name, for example "Postmark".';
  end if;
  if octet_length(name) > 200 or name ~ '[[:cntrl:]:]' then
    raise exception '% % is not a name', field, dripdrop._quoted(name) using
      errcode = 'ZD201', column = _check_name.field,
      hint = 'Use at most 200 bytes, without ":" and without control characters.';
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
  if octet_length(title) > 200 or title ~ '[[:cntrl:]]' then
    raise exception '% % is no title', field, dripdrop._quoted(title) using
      errcode = 'ZD201', column = _check_title.field,
      hint = 'Use at most 200 bytes, without control characters.';
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
