create or replace function dripdrop.fields()
returns setof dripdrop.fields
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select f.* from dripdrop.fields as f order by f.kind, f.place
$$;

comment on function dripdrop.fields() is
  'What documents may say, one row per field, by kind of document: step, step.config, '
  'timing.delay, … and channel.provider for the settings of a sender.';
