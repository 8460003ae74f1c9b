-- Draft 2020-12. What the engine takes fits; what crosses fields, and what only the database knows
-- (names of senders, zones, whether a predicate parses), an editor cannot tell.
--
-- raises  ZD201 unknown kind
create or replace function dripdrop.json_schema(kind text default 'sequence')
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kinds jsonb := dripdrop._document_schemas(kind);
begin
  if not v_kinds ? kind is true then
    raise exception 'there are no documents of kind %', dripdrop._quoted(kind) using
      errcode = 'ZD201', column = 'kind',
      hint = format('Use one of %s.', (
        select string_agg(k.kind, ', ') from jsonb_object_keys(v_kinds) as k (kind)
      ));
  end if;
  return jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema',
    'title', 'DripDrop ' || kind,
    '$ref', '#/$defs/' || kind,
    '$defs', v_kinds
  );
end
$$;

comment on function dripdrop.json_schema(text) is
  'A JSON Schema (draft 2020-12) of the documents of a kind, for editors: sequence, or another '
  'kind of fields().';

create or replace function dripdrop._document_schemas(kind text)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_object_agg(s.kind, s.schema)
  from (
    select k.kind, k.schema from dripdrop._kind_schemas(_document_schemas.kind) as k
    union all
    select
      split_part(k.kind, '.', 1),
      jsonb_build_object(
        'anyOf',
        jsonb_agg(jsonb_build_object('$ref', '#/$defs/' || k.kind))
        || case
          when starts_with(k.kind, 'timing') then '[{"type": "string"}]'::jsonb
          else '[]'
        end
      )
    from dripdrop._kinds() as k
    where k.kind ~ '^(timing|condition|template)[.]'
    group by split_part(k.kind, '.', 1), starts_with(k.kind, 'timing')
    union all
    values
    ('schedule', '{"type": "string", "maxLength": 500}'::jsonb),
    ('choice', '{"type": "string"}'),
    ('headers', '{"type": "object", "additionalProperties": {"type": "string"}}'),
    (
      'channel_send_windows',
      '{"type": "object", "additionalProperties": {"$ref": "#/$defs/send_window"}}'
    ),
    (
      'rotation',
      '{
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/sender"}]}
      }'
    ),
    (
      'rate',
      '{
        "anyOf": [
          {"const": false},
          {"type": "string", "pattern": "^ *[0-9]{1,9} */ *[0-9]{0,6} *[A-Za-z]{1,10} *$"},
          {"type": "object"}
        ]
      }'
    )
  ) as s
$$;

comment on function dripdrop._document_schemas(text) is
  'The JSON Schemas of the kinds of documents, by kind.';

-- A sender's settings are a document by themselves, and in none of the others.
create or replace function dripdrop._kind_schemas(account text)
returns table (kind text, schema jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    k.kind,
    dripdrop._schema_or_false(
      bool_or(k.switched),
      jsonb_build_object(
        'type', 'object',
        'properties', coalesce(
          jsonb_object_agg(f.field, dripdrop._field_schema(f)) filter (where f.kind is not null),
          '{}'
        ),
        'required', coalesce(jsonb_agg(f.field) filter (where f.required and not f.secret), '[]'),
        'additionalProperties', bool_or(k.open)
      ) || case when k.kind = 'step' then dripdrop._template_by_channel() else '{}' end
    )
  from (
    select n.kind, n.switched, n.open from dripdrop._kinds() as n
    union all
    select p.channel || '.' || p.provider, false, true
    from dripdrop.providers as p
    where p.channel || '.' || p.provider = _kind_schemas.account
  ) as k
  left join dripdrop.fields as f on f.kind = k.kind
  group by k.kind
$$;

comment on function dripdrop._kind_schemas(text) is
  'The JSON Schema of each kind of document, and of the settings of an account, channel.provider.';

create or replace function dripdrop._template_by_channel()
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('allOf', jsonb_agg(
    jsonb_build_object(
      'if', jsonb_build_object(
        'properties', jsonb_build_object('channel', jsonb_build_object('const', c.channel)),
        'required', '["channel"]'::jsonb
      ),
      'then', jsonb_build_object(
        'properties', jsonb_build_object(
          'template', jsonb_build_object('$ref', '#/$defs/template.' || c.channel)
        )
      )
    )
    order by c.channel
  ))
  from dripdrop.channels as c
$$;

comment on function dripdrop._template_by_channel() is
  'What the JSON Schema of a step says of its template: it is one of the step''s channel.';

create or replace function dripdrop._field_schema(field dripdrop.fields)
returns jsonb
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._value_schema(
    (field).type, (field).choices, (field).pattern, (field).minimum, (field).maximum,
    (field).holds, (field).nullable
  )
  || dripdrop._fields_given(jsonb_build_object(
    'default', (field).preset, 'description', dripdrop._plain((field).description)
  ))
$$;

comment on function dripdrop._field_schema(dripdrop.fields) is 'The JSON Schema of a field.';

create or replace function dripdrop._schema_or_false(switched boolean, schema jsonb)
returns jsonb
language sql
immutable
parallel safe
return case
  when switched
  then jsonb_build_object('anyOf', jsonb_build_array('{"const": false}'::jsonb, schema))
  else schema
end;

comment on function dripdrop._schema_or_false(boolean, jsonb) is
  'The JSON Schema of a document that may be false.';

create or replace function dripdrop._value_schema(
  type text,
  choices text[],
  pattern text,
  minimum int,
  maximum int,
  holds text,
  nullable boolean
)
returns jsonb
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_held jsonb := coalesce(jsonb_build_object('$ref', '#/$defs/' || holds), '{}');
  v_schema jsonb;
begin
  v_schema := case
    when type = 'any' then '{}'
    when type in ('document', 'object') and holds is not null then v_held
    when type = 'switch' then dripdrop._schema_or_false(true, v_held)
    when type = 'list' then dripdrop._fields_given(jsonb_build_object(
      'type', 'array',
      'minItems', minimum,
      'maxItems', maximum,
      'items', case when choices is null then v_held else jsonb_build_object('enum', choices) end
    ))
    when type in ('object', 'boolean') then jsonb_build_object('type', type)
    when type = 'integer' then dripdrop._fields_given(jsonb_build_object(
      'type', '["integer", "string"]'::jsonb, 'minimum', minimum, 'maximum', maximum,
      'pattern', coalesce(pattern, '^-?[0-9]+$')
    ))
    when type = 'share' then '{"type": "number", "minimum": 0.000001, "maximum": 1}'
    when type = 'weight' then '{"type": "number", "minimum": 0.001, "maximum": 1000000}'
    when type = 'duration' then '{"type": ["string", "number"]}'
    when choices is not null then jsonb_build_object('enum', choices)
    when type = 'key' then
      '{"type": "string", "maxLength": 200, "pattern": "^[a-z0-9][a-z0-9_-]*$"}'
    when type = 'interval' then dripdrop._fields_given(
      jsonb_build_object('type', 'string', 'pattern', pattern)
    )
    when type = 'time' then '{"type": "string", "format": "date-time"}'
    when type = 'address' then '{"type": "string", "format": "email"}'
    else dripdrop._fields_given(jsonb_build_object(
      'type', 'string', 'pattern', pattern, 'minLength', minimum, 'maxLength', maximum
    ))
  end;
  return case
    when nullable and v_schema <> '{}'
    then jsonb_build_object('anyOf', jsonb_build_array(v_schema, '{"type": "null"}'::jsonb))
    else v_schema
  end;
end
$$;

comment on function dripdrop._value_schema(text, text[], text, int, int, text, boolean) is
  'The JSON Schema of a field''s value.';
