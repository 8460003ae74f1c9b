-- Words that follow the field's name. A hint and a code only where the type has its own.
create or replace function dripdrop._value_fault(
  type text,
  choices text[],
  pattern text,
  minimum int,
  maximum int,
  value jsonb,
  out message text,
  out hint text,
  out errcode text
)
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := value #>> '{}';
begin
  case
    when type in ('any', 'document') then
      null;
    when type in ('boolean', 'object', 'switch', 'list') then
      message := dripdrop._form_fault(type, choices, minimum, value);
      if message is null and type = 'list' and jsonb_array_length(value) > maximum then
        message := format('has %s elements', jsonb_array_length(value));
        hint := format('%s are the most that are asked at once.', maximum);
      end if;
    when type in ('integer', 'share', 'weight', 'interval', 'duration') then
      message := dripdrop._amount_fault(type, pattern, minimum, maximum, value);
    when type = 'time_zone' then
      if not dripdrop._is_time_zone(v_text) is true then
        message := 'is unknown';
        hint := 'Use a name from pg_timezone_names, for example Europe/Berlin.';
        errcode := 'ZD204';
      end if;
    when jsonb_typeof(value) <> 'string' then
      message := 'is not a text';
    when choices is not null then
      message := case when v_text <> all (choices) then 'is unknown' end;
    when octet_length(v_text) > maximum and type <> 'title' or octet_length(v_text) < minimum then
      message := 'is not of the length that it may have';
      hint := case
        when octet_length(v_text) > maximum then 'Write what is needed to know it by.'
      end;
    else
      select f.message, f.hint into message, hint
      from dripdrop._text_fault(type, pattern, v_text) as f;
  end case;
end
$$;

comment on function dripdrop._value_fault(text, text[], text, int, int, jsonb) is
  'What is wrong with the value of a field, in words that follow its name, or nothing.';

create or replace function dripdrop._form_fault(
  type text,
  choices text[],
  minimum int,
  value jsonb
)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case _form_fault.type
    when 'boolean' then case when f.type <> 'boolean' then 'is not true or false' end
    when 'object' then case when f.type <> 'object' then 'is not an object' end
    when 'switch' then case when f.type <> 'object' and value <> 'false' then 'is not an object' end
    when 'list' then case
      when f.type <> 'array' then 'is not a list'
      when jsonb_array_length(value) < minimum then 'is an empty list'
      when not value <@ to_jsonb(choices) then 'is a list of something else'
    end
  end
  from jsonb_typeof(value) as f (type)
$$;

comment on function dripdrop._form_fault(text, text[], int, jsonb) is
  'What is wrong with a value that is to be true or false, an object or a list, or null.';

create or replace function dripdrop._amount_fault(
  type text,
  pattern text,
  minimum int,
  maximum int,
  value jsonb
)
returns text
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text text := value #>> '{}';
  v_type text := jsonb_typeof(value);
  v_interval interval;
begin
  if type = 'integer' then
    return case
      when not (
        v_type in ('number', 'string') and v_text ~ '^-?[0-9]{1,18}$'
        and v_text ~ coalesce(pattern, '')
      )
      then 'is not a whole number'
      when v_text::bigint < minimum or v_text::bigint > maximum then 'is not possible'
    end;
  elsif type in ('share', 'weight') then
    return case
      when v_type <> 'number' then 'is not a number'
      when v_text::numeric not between
        case type when 'share' then 0.000001 else 0.001 end
        and case type when 'share' then 1 else 1000000 end
      then 'is out of range'
    end;
  end if;
  v_interval := dripdrop._interval(v_text);
  return case
    when (
      v_type = any (case type when 'interval' then '{string}' else '{string,number}' end::text[])
      and v_text ~ coalesce(pattern, '')
      and v_interval >= coalesce(make_interval(secs => minimum), interval '1 microsecond')
      and v_interval <= coalesce(make_interval(secs => maximum), interval '100 years')
    ) is not true
    then 'is not an interval'
  end;
end
$$;

comment on function dripdrop._amount_fault(text, text, int, int, jsonb) is
  'What is wrong with a value that is to be a number or an interval, or null.';

create or replace function dripdrop._text_fault(type text, pattern text, value text)
returns table (message text, hint text)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select f.message, f.hint
  from (
    select
      'key' as type,
      octet_length(value) > 200 or value !~ '^[a-z0-9][a-z0-9_-]*$' as found,
      'is not valid' as message,
      'Use at most 200 lower-case letters, digits, "_" and "-", and begin with a letter or digit.'
      as hint
    union all
    select
      'title', not dripdrop._is_title(value), 'is no title',
      'Use at most 200 bytes, without control characters or others that cannot be seen.'
    union all
    select 'path', dripdrop._parse_path(dripdrop._rooted(value)) is null, 'is not a path', null
    union all
    select 'predicate', dripdrop._parse_predicate(value) is null, 'is not a predicate', null
    union all
    select 'regex', not dripdrop._is_pattern(value), 'is no regular expression', null
    union all
    select 'url', value !~* pattern, 'is not an https address', null
    union all
    select 'address', not dripdrop._is_address('mailbox', value), 'is not an email address', null
    union all
    select
      'time', dripdrop._is_near(value) is not true, 'is not within 100 years',
      'For example 2026-12-24T18:00:00Z.'
    union all
    select 'text', value !~ pattern, 'is not valid', null
  ) as f
  where f.type = _text_fault.type and f.found
$$;

comment on function dripdrop._text_fault(text, text, text) is
  'What is wrong with a text that has a form, or no row.';

create or replace function dripdrop._value_given(value jsonb, missed boolean, blank boolean)
returns jsonb
language sql
immutable
parallel safe
return case
  when not (value = 'null' and (missed or blank) or value = '""' and blank) then value
end;

comment on function dripdrop._value_given(jsonb, boolean, boolean) is
  'The value of a field, or null if it is as good as left out.';

-- What a bad value is refused with says its row, else its type, else the kind of document. A value
-- that is no text where one belongs is a fault of the document's shape.
create or replace function dripdrop._field_faults(kind text, document jsonb)
returns table (field text, missing boolean, errcode text, message text, hint text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_kind record;
  v_row record;
  v_value jsonb;
  v_fault record;
begin
  select k.* into v_kind from dripdrop._kinds() as k where k.kind = _field_faults.kind;
  for v_row in
    select f.*
    from dripdrop.fields as f
    where f.kind = _field_faults.kind
    order by f.place
  loop
    v_value := dripdrop._value_given(
      document -> v_row.field, v_row.required and not v_row.nullable, v_kind.blank is not false
    );
    continue when v_value = 'null' and v_row.nullable or v_value is null and not v_row.required;

    field := v_row.field;
    missing := v_value is null;
    v_fault := dripdrop._value_fault(
      v_row.type, v_row.choices, v_row.pattern, v_row.minimum, v_row.maximum,
      coalesce(v_value, '""')
    );
    continue when v_fault.message is null and not missing;
    errcode := coalesce(v_row.errcode, v_fault.errcode, v_kind.errcode, 'ZD201');
    hint := coalesce(v_fault.hint, v_row.hint, v_row.description);
    message := case
      when missing then format('%s is missing', field)
      when v_row.secret or v_row.type = 'url' or jsonb_typeof(v_value) in ('array', 'object')
      then format('%s %s', field, v_fault.message)
      else format('%s %s %s', field, dripdrop._quoted(v_value #>> '{}'), v_fault.message)
    end;
    if missing then
      hint := coalesce(v_row.hint, v_fault.hint, v_row.description);
    elsif v_kind.settings and v_fault.hint is null then
      hint := dripdrop._unknown_field_hint(v_kind.words, field, dripdrop._fields_hint(kind, true));
    elsif v_kind.text_hint is not null
      and jsonb_typeof(v_value) <> 'string'
      and v_row.type = any (
        '{text,key,title,interval,time,time_zone,path,predicate,url,address,mailbox,regex}'::text[]
      )
    then
      errcode := v_kind.errcode;
      message := format('field %s is not a text', dripdrop._quoted(field));
      hint := v_kind.text_hint;
    end if;
    return next;
  end loop;
end
$$;

comment on function dripdrop._field_faults(text, jsonb) is
  'What is wrong with the fields of a document, each by itself, in their order.';

-- What crosses fields, and documents within documents, are for the caller to look at. Of a partial
-- document nothing is missed that is not there.
--
-- raises  what the kind and its fields say: ZD201, ZD202, ZD203, ZD204, ZD206 or ZD208, with the
--         path of the fault in the diagnostics' column field
create or replace function dripdrop._check_document(
  document jsonb,
  kind text,
  path text default '',
  partial boolean default false
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kind record;
  v_known text[];
  v_unknown text;
  v_fault record;
begin
  select k.* into v_kind from dripdrop._kinds() as k where k.kind = _check_document.kind;
  if v_kind.switched and document = 'false' then
    return;
  end if;
  if jsonb_typeof(document) is distinct from 'object' then
    raise exception '% is not an object', v_kind.noun using
      errcode = v_kind.errcode, column = rtrim(path, '.'), hint = v_kind.example;
  end if;
  v_known := array(select f.field from dripdrop.fields as f where f.kind = _check_document.kind);
  if not v_kind.open and document - v_known <> '{}' then
    v_unknown := (select o.field from jsonb_object_keys(document - v_known) as o (field) limit 1);
    raise exception '% has no field %', v_kind.noun, dripdrop._quoted(v_unknown) using
      errcode = v_kind.errcode, column = path || v_unknown,
      hint = dripdrop._unknown_field_hint(
        v_kind.words, v_unknown, dripdrop._fields_hint(kind, v_kind.settings)
      );
  end if;
  select f.* into v_fault from dripdrop._field_faults(kind, document) as f
  where not (partial and f.missing and not document ? f.field)
  limit 1;
  if found then
    raise exception '%', v_fault.message using
      errcode = v_fault.errcode, column = path || v_fault.field, hint = v_fault.hint;
  end if;
end
$$;

comment on function dripdrop._check_document(jsonb, text, text, boolean) is
  'Raises on the first field of a document that it does not have, or whose value will not do.';
