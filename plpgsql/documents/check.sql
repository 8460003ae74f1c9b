create or replace function dripdrop._kinds_by_type()
returns table (
  kind text, noun text, errcode text, example text, words text, text_hint text,
  settings boolean, switched boolean, blank boolean, open boolean
)
language sql
stable
parallel safe
begin atomic
  select
    'timing.' || t.name, 'a timing of type "' || t.name || '"', 'ZD203',
    'Write {"type": "immediate"}, {"type": "delay", "delay_amount": 3, "delay_unit": "days"}, '
    '{"type": "cron", "cron_expression": "0 9 * * MON"}, {"type": "event", "trigger_event": '
    '"order_completed"} or "in 3 days".',
    'timing', null, false, false, false, false
  from (values ('immediate'), ('delay'), ('cron'), ('event')) as t (name)
  union all
  select
    'condition.' || t.name, 'a condition of type "' || t.name || '"', 'ZD208',
    'Write for example {"predicate": "$.enrollment.score > 70"}.',
    'condition', 'Write it in double quotes.', false, false, false, false
  from (
    values ('enrollment_data'), ('event'), ('hook'), ('predicate'), ('time_window')
  ) as t (name)
  union all
  select
    'template.' || c.channel, 'a template for ' || c.channel, 'ZD201',
    'The fields of a template for ' || c.channel || ' are ' || (
      select string_agg(f.field, ', ' order by f.place)
      from dripdrop.fields as f
      where f.kind = 'template.' || c.channel
    ) || '.',
    'template', 'Write it in double quotes.', false, false, false, false
  from dripdrop.channels as c;
end;

comment on function dripdrop._kinds_by_type() is
  'The kinds of timings and conditions, by their type, and of templates, by their channel.';

-- What holds for a whole kind of document: what messages call it, what refuses a bad one, an
-- example of it, whose words from elsewhere it knows, and what to say where a text should be.
-- settings: one hint lists all of them. switched: false switches it off. blank: null and an empty
-- text are as good as left out. open: other fields are the application's own.
create or replace function dripdrop._kinds()
returns table (
  kind text, noun text, errcode text, example text, words text, text_hint text,
  settings boolean, switched boolean, blank boolean, open boolean
)
language sql
stable
parallel safe
begin atomic
  values
  (
    'sequence', 'a sequence', 'ZD206', 'Pass {"key": …, "name": …, "steps": […]}.', 'sequence',
    'Write it in double quotes.', false, false, false, false
  ),
  (
    'sequence.config', 'config', 'ZD201', 'Pass an object, for example ''{}''.', null, null,
    true, false, false, false
  ),
  (
    'sequence.metadata', 'metadata', 'ZD201', 'Pass an object, for example ''{}''.', null, null,
    false, false, false, true
  ),
  (
    'step', 'a step', 'ZD201', 'Write {"key": …, "channel": …, "timing": …, "template": …}.',
    'step', 'Write it in double quotes.', false, false, false, false
  ),
  (
    'step.config', 'config', 'ZD201', 'Pass an object, for example ''{"max_retries": 5}''.',
    'config', null, true, false, false, false
  ),
  (
    'transition', 'a transition', 'ZD206', 'Write {"to": "offer", "conditions": […]}.',
    'transition', null, false, false, false, false
  ),
  (
    'hook', 'a hook', 'ZD201', 'Write {"key": …, "url": …}.', 'hook', 'Write it in double quotes.',
    false, false, true, false
  ),
  (
    'send_window', 'a send window', 'ZD201',
    'Write for example {"start": "08:00", "end": "21:00"}, or false for no window.', null, null,
    false, true, false, false
  ),
  (
    'thresholds', 'thresholds', 'ZD201',
    'For example {"bounce_rate": 0.05}; false switches them off.', null, null,
    true, true, false, false
  ),
  (
    'rate_limits', 'rate_limits', 'ZD209',
    'Write rates by scope, for example {"adapter": "60/m", "recipient": "2/24h"}.', null, null,
    false, false, false, false
  ),
  (
    'sender', 'a sender of a rotation', 'ZD201',
    'Write its name, or {"adapter": "Postmark", "weight": 3}.', null, null,
    false, false, false, false
  ),
  (
    'channel', 'a channel', 'ZD201', 'Write {"channel": "fax", "address_form": "phone"}.', null,
    null, false, false, false, false
  ),
  (
    'provider', 'a provider', 'ZD201', 'Write {"provider": "acme"}.', null, null,
    false, false, false, false
  ),
  (
    'template_field', 'a field of a template', 'ZD201', 'Write {"field": "text"}.', null, null,
    false, false, false, false
  ),
  (
    'setting', 'a setting', 'ZD201', 'Write {"field": "api_key", "secret": true}.', null, null,
    false, false, false, false
  )
  union all
  select f.* from dripdrop._kinds_by_type() as f;
end;

comment on function dripdrop._kinds() is 'The kinds of documents, and how each is refused.';

create or replace function dripdrop._fields_hint(kind text, settings boolean)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when settings then format(
      'Settings: %s.',
      string_agg(
        concat(f.field, ' (' || coalesce(f.hint, array_to_string(f.choices, ', ')) || ')'), ', '
        order by f.place
      )
    )
    else format(
      'The fields are %s.', 
      regexp_replace(
        string_agg(f.field, ', ' order by f.place), ', ([a-z_]+)$', E' and \\1'
      )
   
    )
  end
  from dripdrop.fields as f
  where f.kind = _fields_hint.kind
$$;

comment on function dripdrop._fields_hint(text, boolean) is
  'What to say to whoever wrote a field that a kind of document does not have.';

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
  v_type text := jsonb_typeof(value);
  v_interval interval;
begin
  case
    when type in ('any', 'document') then
      null;
    when type in ('boolean', 'object', 'switch') then
      message := case
        when v_type = type or type = 'switch' and (v_type = 'object' or value = 'false') then null
        when type = 'boolean' then 'is not true or false'
        else 'is not an object'
      end;
    when type = 'list' then
      message := case
        when v_type <> 'array' then 'is not a list'
        when jsonb_array_length(value) < minimum then 'is an empty list'
        when not value <@ to_jsonb(choices) then 'is a list of something else'
      end;
    when type = 'integer' then
      message := case
        when v_type in ('number', 'string') and v_text ~ '^-?[0-9]{1,18}$'
          and v_text ~ coalesce(pattern, '')
        then case
          when v_text::bigint < minimum or v_text::bigint > maximum then 'is not possible'
        end
        else 'is not a whole number'
      end;
    when type in ('share', 'weight') then
      message := case
        when v_type <> 'number' then 'is not a number'
        when v_text::numeric not between
          case type when 'share' then 0.000001 else 0.001 end
          and case type when 'share' then 1 else 1000000 end
        then 'is out of range'
      end;
    when type in ('interval', 'duration') then
      v_interval := dripdrop._interval(v_text);
      if (
        v_type = any (case type when 'interval' then '{string}' else '{string,number}' end::text[])
        and v_text ~ coalesce(pattern, '')
        and v_interval >= coalesce(make_interval(secs => minimum), interval '1 microsecond')
        and v_interval <= coalesce(make_interval(secs => maximum), interval '100 years')
      ) is not true
      then
        message := 'is not an interval';
      end if;
    when type = 'time_zone' then
      if not dripdrop._is_time_zone(v_text) is true then
        message := 'is unknown';
        hint := 'Use a name from pg_timezone_names, for example Europe/Berlin.';
        errcode := 'ZD204';
      end if;
    when v_type <> 'string' then
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
      'title', octet_length(value) > 200 or value ~ '[[:cntrl:]]', 'is no title',
      'Use at most 200 bytes, without control characters.'
    union all
    select 'path', dripdrop._parse_path(dripdrop._rooted(value)) is null, 'is not a path', null
    union all
    select 'predicate', dripdrop._parse_predicate(value) is null, 'is not a predicate', null
    union all
    select 'regex', not dripdrop._is_pattern(value), 'is no regular expression', null
    union all
    select 'url', value !~* pattern, 'is not an https address', null
    union all
    select 'text', value !~ pattern, 'is not valid', null
  ) as f
  where f.type = _text_fault.type and f.found
$$;

comment on function dripdrop._text_fault(text, text, text) is
  'What is wrong with a text that has a form, or no row.';

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
    v_value := document -> v_row.field;
    if v_value = 'null' and (v_row.required and not v_row.nullable or v_kind.blank is not false)
      or v_value = '""' and v_kind.blank is not false
    then
      v_value := null;
    end if;
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
        '{text,key,title,interval,time_zone,path,predicate,url,regex}'::text[]
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

create or replace function dripdrop._presets(kind text)
returns jsonb
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_object_agg(f.field, f.preset)
  from dripdrop.fields as f
  where f.kind = _presets.kind and f.preset is not null
$$;

comment on function dripdrop._presets(text) is
  'What holds for the fields that a document of a kind leaves out.';

create or replace function dripdrop._fields_given(document jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(f.field, f.value), '{}')
  from jsonb_each(document) as f (field, value)
  where f.value <> 'null'
$$;

comment on function dripdrop._fields_given(jsonb) is 'The fields of a document that are not null.';
