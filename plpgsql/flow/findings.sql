-- Once per step, not once per message: a batch has many people and few steps.
create or replace function dripdrop._questions(step_id uuid, sequence_id uuid)
returns table (
  ways_out dripdrop.conditions[],
  conditions dripdrop.conditions[],
  events text[]
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    dripdrop._ways_out(_questions.sequence_id),
    array(
      select c
      from dripdrop.conditions as c
      where c.step_id = _questions.step_id
      order by c.position, c.id
    ),
    array(
      select c.config ->> 'event'
      from dripdrop.conditions as c
      where (c.step_id = _questions.step_id or c.sequence_id = _questions.sequence_id)
        and c.condition_type = 'event'
    )
$$;

comment on function dripdrop._questions(uuid, uuid) is
  'What is asked of whoever comes to a step: the goals and exit rules of its sequence, its own '
  'conditions, and the events that both name.';

-- A part of the query that calls it. Where nothing is asked, the arrays are empty or null, and
-- nothing is looked up.
create or replace function dripdrop._findings(
  ways_out dripdrop.conditions[],
  conditions dripdrop.conditions[],
  events text[],
  exclusive boolean,
  enrollment dripdrop.enrollments,
  hooks jsonb,
  step_id uuid,
  at timestamptz
)
returns table (
  exit_action text,
  exit_reason text,
  exit_detail text,
  failure text,
  failed_condition text,
  rival text
)
language sql
stable
begin atomic
  select
    (found.way_out).action, (found.way_out).reason, (found.way_out).detail,
    (found.obstacle).reason, (found.obstacle).detail,
    case when exclusive then dripdrop._rival(enrollment) end
  from (
    select
      case
        when cardinality(_findings.ways_out) > 0
        then dripdrop._way_out(
          _findings.ways_out, enrollment, _findings.hooks, happened.keys, _findings.step_id,
          _findings.at
        )
      end as way_out,
      case
        when cardinality(_findings.conditions) > 0
        then dripdrop._obstacle(
          _findings.conditions, enrollment, _findings.hooks, happened.keys, _findings.step_id,
          _findings.at
        )
      end as obstacle
    from (
      select coalesce(array_agg(v.key), '{}') as keys
      from unnest(_findings.events) as v (key)
      where exists (
        select from dripdrop.events as h
        where h.subscriber_id = (enrollment).subscriber_id and h.event_key = v.key
      )
    ) as happened
    offset 0
  ) as found
  offset 0;
end;

comment on function dripdrop._findings(
  dripdrop.conditions[], dripdrop.conditions[], text[], boolean, dripdrop.enrollments, jsonb, uuid,
  timestamptz
) is
  'What goals, exit rules, conditions and the exclusive group say about an enrolment.';
