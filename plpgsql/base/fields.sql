create or replace function dripdrop._field(
  kind text,
  field text,
  type text,
  description text,
  hint text default null,
  choices text[] default null,
  pattern text default null,
  minimum int default null,
  maximum int default null,
  holds text default null,
  nullable boolean default false,
  required boolean default false,
  preset jsonb default null,
  errcode text default null,
  secret boolean default false,
  destination boolean default false,
  since text default '0.1.0'
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.fields as known (
    kind, field, place, type, choices, pattern, minimum, maximum, holds, nullable, required,
    preset, errcode, hint, description, secret, destination, since
  )
  select
    _field.kind, _field.field, count(*) + 1, _field.type, _field.choices, _field.pattern,
    _field.minimum, _field.maximum, _field.holds, _field.nullable, _field.required,
    _field.preset, _field.errcode, _field.hint, _field.description, _field.secret,
    _field.destination, _field.since
  from dripdrop.fields as f
  where f.kind = _field.kind
  on conflict on constraint fields_pkey do nothing
$$;

comment on function dripdrop._field(
  text, text, text, text, text, text[], text, int, int, text, boolean, boolean, jsonb, text,
  boolean, boolean, text
) is
  'Adds a field to a kind of document.';

-- What comes with DripDrop is described anew with every installation, in documents/: a field that
-- is added to a document is added there, and nowhere else.
delete from dripdrop.fields where since is not null;
