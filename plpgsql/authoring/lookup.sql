create or replace function dripdrop.get_sequence(tenant_key text, key text)
returns setof dripdrop.sequences
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select q.*
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from get_sequence.tenant_key
    and q.key = get_sequence.key
$$;

comment on function dripdrop.get_sequence(text, text) is
  'A sequence of exactly this tenant (null: a global one) by its key, else no row.';

create or replace function dripdrop.list_sequence_versions(tenant_key text, sequence_id uuid)
returns setof dripdrop.sequence_versions
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.*
  from dripdrop.sequence_versions as v
  where v.sequence_id = list_sequence_versions.sequence_id
    and v.tenant_key is not distinct from list_sequence_versions.tenant_key
  order by v.version
$$;

comment on function dripdrop.list_sequence_versions(text, uuid) is
  'The versions of a sequence of exactly this tenant, by number.';

create or replace function dripdrop.get_active_sequence_version(tenant_key text, sequence_id uuid)
returns setof dripdrop.sequence_versions
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.*
  from dripdrop.sequence_versions as v
  where v.sequence_id = get_active_sequence_version.sequence_id
    and v.tenant_key is not distinct from get_active_sequence_version.tenant_key
    and v.state = 'active'
$$;

comment on function dripdrop.get_active_sequence_version(text, uuid) is
  'The version that new enrolments get, else no row.';

create or replace function dripdrop.list_steps(tenant_key text, sequence_version_id uuid)
returns setof dripdrop.steps
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select s.*
  from dripdrop.steps as s
  where s.sequence_version_id = list_steps.sequence_version_id
    and s.tenant_key is not distinct from list_steps.tenant_key
  order by s.position, s.key
$$;

comment on function dripdrop.list_steps(text, uuid) is
  'The steps of a version of exactly this tenant, in the order of the flow; those without a place '
  'in it come last.';

create or replace function dripdrop.latest_step_by_key(
  tenant_key text,
  sequence_id uuid,
  step_key text
)
returns setof dripdrop.steps
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select s.*
  from dripdrop.steps as s
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  where v.sequence_id = latest_step_by_key.sequence_id
    and v.tenant_key is not distinct from latest_step_by_key.tenant_key
    and s.key = latest_step_by_key.step_key
  order by v.version desc
  limit 1
$$;

comment on function dripdrop.latest_step_by_key(text, uuid, text) is
  'The step with this key in the newest version that has one, drafts included, else no row.';

-- What prints nothing is rarely meant. A thousand people tell what everybody's data holds.
create or replace function dripdrop.template_variables(tenant_key text, sequence text)
returns table (variable text, source text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  with known as (
    select q.id
    from dripdrop.sequences as q
    where q.tenant_key is not distinct from template_variables.tenant_key
      and q.key = template_variables.sequence
  )
  select v.variable, 'engine' as source
  from (
    select jsonb_object_keys(
      dripdrop._variables(
        jsonb_populate_record(null::dripdrop.enrollments, '{"data": {}}'),
        null, null, null, null, null
      )
    )
    union all
    select unnest(array['event', 'unsubscribe_url'])
  ) as v (variable)
  union all
  (
    select h.key, 'hook'
    from known as k
    join dripdrop.http_hooks as h on h.sequence_id = k.id
    union
    select h.key, 'hook'
    from dripdrop.hooks as h
    where h.tenant_key = template_variables.tenant_key or h.tenant_key is null
  )
  union all
  (
    select distinct jsonb_object_keys(e.data), 'data'
    from (
      select o.data
      from known as k
      join dripdrop.enrollments as o on o.sequence_id = k.id
      limit 1000
    ) as e
  )
  order by 2, 1
$$;

comment on function dripdrop.template_variables(text, text) is
  'What the templates of a sequence may use: source is engine, hook, or data for what the data of '
  'those enrolled holds (of a thousand of them, where there are more). A sequence that is not '
  'there yet has no data and no hooks of its own.';
