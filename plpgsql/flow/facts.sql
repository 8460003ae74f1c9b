-- Once per step, not once per message: a batch has many people and few steps.
create or replace function dripdrop._conditions_to_check(step_id uuid, sequence_id uuid)
returns table (
  exit_rules dripdrop.conditions[],
  conditions dripdrop.conditions[],
  events text[]
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    dripdrop._exit_rules(_conditions_to_check.sequence_id),
    array(
      select c
      from dripdrop.conditions as c
      where c.step_id = _conditions_to_check.step_id
      order by c.position, c.id
    ),
    array(
      select c.config ->> 'event'
      from dripdrop.conditions as c
      where c.condition_type = 'event'
        and (
          c.step_id = _conditions_to_check.step_id
          or c.sequence_id = _conditions_to_check.sequence_id
        )
    )
$$;

comment on function dripdrop._conditions_to_check(uuid, uuid) is
  'What is asked of whoever comes to a step: the goals and exit rules of its sequence, its own '
  'conditions, and the events that both name.';

-- A part of the query that calls it. Where nothing is asked, the arrays are empty or null, and
-- nothing is looked up.
create or replace function dripdrop._condition_facts(
  exit_rules dripdrop.conditions[],
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
    (found.met_rule).action, (found.met_rule).reason, (found.met_rule).detail,
    (found.failure).reason, (found.failure).detail,
    case when exclusive then dripdrop._rival(enrollment) end
  from (
    select
      case
        when cardinality(_condition_facts.exit_rules) > 0
        then dripdrop._met_exit_rule(
          _condition_facts.exit_rules, enrollment, _condition_facts.hooks, happened.keys,
          _condition_facts.step_id, _condition_facts.at
        )
      end as met_rule,
      case
        when cardinality(_condition_facts.conditions) > 0
        then dripdrop._failed_condition(
          _condition_facts.conditions, enrollment, _condition_facts.hooks, happened.keys,
          _condition_facts.step_id, _condition_facts.at
        )
      end as failure
    from (
      select coalesce(array_agg(v.key), '{}') as keys
      from unnest(_condition_facts.events) as v (key)
      where exists (
        select from dripdrop.events as h
        where h.subscriber_id = (enrollment).subscriber_id and h.event_key = v.key
      )
    ) as happened
    offset 0
  ) as found
  offset 0;
end;

comment on function dripdrop._condition_facts(
  dripdrop.conditions[], dripdrop.conditions[], text[], boolean, dripdrop.enrollments, jsonb, uuid,
  timestamptz
) is
  'What goals, exit rules, conditions and the exclusive group say about an enrolment.';
