create or replace function dripdrop._hook_values(hooks jsonb)
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(h.key, h.value -> 'value'), '{}')
  from jsonb_each(hooks) as h
  where h.value ? 'value'
$$;

comment on function dripdrop._hook_values(jsonb) is
  'The values among what the hooks of an execution answered, by key.';

create or replace function dripdrop._event_variable(event_id uuid)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'event', jsonb_build_object(
      'key', v.event_key, 'data', v.event_data, 'occurred_at', v.occurred_at
    )
  )
  from dripdrop.events as v
  where v.id = _event_variable.event_id
$$;

comment on function dripdrop._event_variable(uuid) is
  'The template variable event, for an execution that an event set off.';

-- What templates, of messages and of hooks, may use: later ones win, and data never stands for what
-- the engine says. Without a search_path of its
-- own the planner makes it part of the query that calls it.
create or replace function dripdrop._variables(
  enrollment dripdrop.enrollments,
  sequence_key text,
  step_key text,
  hooks jsonb,
  event_id uuid,
  at timestamptz
)
returns jsonb
language sql
stable
return ((enrollment).data - '{event,unsubscribe_url}'::text[])
  || jsonb_build_object(
    'subscriber',
    (enrollment).data
    || jsonb_build_object('type', (enrollment).subscriber_type, 'id', (enrollment).subscriber_id),
    'subscriber_type', (enrollment).subscriber_type,
    'subscriber_id', (enrollment).subscriber_id,
    'enrollment_id', (enrollment).id,
    'tenant_key', (enrollment).tenant_key,
    'sequence_key', sequence_key,
    'step_key', step_key,
    'now_iso8601', at
  )
  || case
    when event_id is null and (enrollment).event_id is null then '{}'::jsonb
    else coalesce(
      dripdrop._event_variable(coalesce(event_id, (enrollment).event_id)), '{}'
    )
  end
  || case when hooks is null then '{}'::jsonb else dripdrop._hook_values(hooks) end;

comment on function dripdrop._variables(dripdrop.enrollments, text, text, jsonb, uuid, timestamptz)
is 'The variables of a template, for one execution.';
