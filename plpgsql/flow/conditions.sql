create or replace function dripdrop._compare(actual jsonb, operator text, expected jsonb)
returns boolean
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  if operator = 'in' then
    for v_place in 0 .. jsonb_array_length(expected) - 1 loop
      if dripdrop._equal(actual, expected -> v_place) then
        return true;
      end if;
    end loop;
    return false;
  end if;
  if operator = 'contains' and jsonb_typeof(actual) = 'array' then
    return exists (
      select from jsonb_array_elements(actual) as e (value)
      where dripdrop._equal(e.value, expected)
    );
  end if;
  return case operator
    when '==' then dripdrop._equal(actual, expected)
    when '!=' then not dripdrop._equal(actual, expected)
    when '>' then dripdrop._number(actual) > dripdrop._number(expected)
    when '<' then dripdrop._number(actual) < dripdrop._number(expected)
    when '>=' then dripdrop._number(actual) >= dripdrop._number(expected)
    when '<=' then dripdrop._number(actual) <= dripdrop._number(expected)
    when 'contains' then
      case
        when jsonb_typeof(actual) = 'string' then strpos(actual #>> '{}', expected #>> '{}') > 0
      end
  end;
end
$$;

comment on function dripdrop._compare(jsonb, text, jsonb) is
  'Whether a value compares as an operator says; null when the two cannot be compared.';

-- What predicates see. What is not at hand is looked up only for a predicate that mentions it, or
-- that has wildcards, which mention everything.
create or replace function dripdrop._context(
  predicate jsonpath,
  enrollment dripdrop.enrollments,
  hooks jsonb,
  step_id uuid
)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_mentions text := predicate::text;
  v_everything boolean := v_mentions like any ('{%.*%,%keyvalue%}');
  v_context jsonb := jsonb_build_object(
    'enrollment', enrollment.data,
    'hooks', case when hooks is null then '{}' else dripdrop._hook_values(hooks) end
  );
begin
  if v_everything or v_mentions like '%"subscriber"%' then
    v_context := v_context || jsonb_build_object(
      'subscriber', enrollment.data || jsonb_build_object(
        'type', enrollment.subscriber_type, 'id', enrollment.subscriber_id
      )
    );
  end if;
  if v_everything or v_mentions like '%"sequence"%' then
    v_context := v_context || jsonb_build_object(
      'sequence', (
        select jsonb_build_object('key', q.key)
        from dripdrop.sequences as q
        where q.id = enrollment.sequence_id
      )
    );
  end if;
  if v_everything or v_mentions like '%"step"%' then
    v_context := v_context || jsonb_build_object(
      'step', (
        select jsonb_build_object('key', s.key, 'channel', s.channel)
        from dripdrop.steps as s
        where s.id = _context.step_id
      )
    );
  end if;
  if v_everything or v_mentions like '%"steps"%' then
    v_context := v_context || jsonb_build_object(
      'steps', (
        select coalesce(
          jsonb_object_agg(
            s.key,
            jsonb_build_object(
              'state', x.state, 'reason', x.reason, 'occurrence', x.occurrence,
              'ended_at', x.ended_at
            )
            order by x.id
          ),
          '{}'
        )
        from dripdrop.step_executions as x
        join dripdrop.steps as s on s.id = x.step_id
        where x.enrollment_id = enrollment.id
      )
    );
  end if;
  return v_context;
end
$$;

comment on function dripdrop._context(jsonpath, dripdrop.enrollments, jsonb, uuid) is
  'What a predicate is asked about: enrollment, subscriber, sequence, step, hooks and steps.';

-- An event that was tracked for one enrolment counts for that one only; one that was tracked for a
-- subscriber counts for each of theirs.
create or replace function dripdrop._count_events(
  enrollment dripdrop.enrollments,
  config jsonb,
  since text,
  at timestamptz
)
returns bigint
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_since timestamptz := case
    when since is not null then dripdrop._events_since(enrollment) else '-infinity'
  end;
begin
  return (
    select count(*)
    from dripdrop.events as v
    where v.subscriber_id = enrollment.subscriber_id
      and v.event_key = config ->> 'event'
      and v.subscriber_type = enrollment.subscriber_type
      and v.tenant_key is not distinct from enrollment.tenant_key
      and (v.enrollment_id = enrollment.id or v.enrollment_id is null)
      and v.occurred_at <= _count_events.at
      and v.occurred_at >= greatest(
        v_since, _count_events.at - (config ->> 'within')::interval
      )
      and (
        since is null
        or (since = 'enrollment' and v.id = enrollment.event_id)
        or dripdrop._counts_for(v, enrollment.call_number, enrollment.started_at)
      )
      and dripdrop._event_matches(v.event_data, config -> 'match', enrollment.data)
  );
end
$$;

comment on function dripdrop._count_events(dripdrop.enrollments, jsonb, text, timestamptz) is
  'How often the event of a condition has happened to an enrolment: at all (since null), since '
  'enrollment, or after what set it off.';

-- What was before must not end an enrolment at its first step, nor what set it off.
create or replace function dripdrop._times_happened(
  condition dripdrop.conditions,
  enrollment dripdrop.enrollments,
  happened text[],
  at timestamptz
)
returns jsonb
language sql
stable
return case
  when not (condition).config ->> 'event' = any(happened) then '0'
  else to_jsonb(dripdrop._count_events(
    enrollment,
    (condition).config,
    case
      when (condition).sequence_id is not null then 'after'
      else (condition).config ->> 'since'
    end,
    at
  ))
end;

comment on function dripdrop._times_happened(
  dripdrop.conditions, dripdrop.enrollments, text[], timestamptz
) is
  'How often the event of a condition has happened to a subscriber, as far as it counts.';

create or replace function dripdrop._is_open_for(
  condition dripdrop.conditions,
  enrollment dripdrop.enrollments,
  step_id uuid,
  at timestamptz
)
returns boolean
language sql
stable
return dripdrop._window_opens(
  (condition).config,
  coalesce(
    (condition).config ->> 'time_zone',
    dripdrop._time_zone_of(
      enrollment, (select s.config from dripdrop.steps as s where s.id = _is_open_for.step_id)
    )
  ),
  null,
  at
) is null;

comment on function dripdrop._is_open_for(
  dripdrop.conditions, dripdrop.enrollments, uuid, timestamptz
) is
  'Whether the time window of a condition is open, on a subscriber''s wall clock.';

-- Why a condition does not hold, or null when it does. Nothing in the data can raise: what cannot
-- be compared does not hold, and this says so. Times without a zone are in UTC. happened: those of
-- the events that conditions name which have happened at all; null when the caller has not looked.
create or replace function dripdrop._condition_failure(
  condition dripdrop.conditions,
  enrollment dripdrop.enrollments,
  hooks jsonb,
  happened text[],
  step_id uuid,
  at timestamptz
)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  v_actual jsonb;
  v_context jsonb;
  v_holds boolean;
begin
  case condition.condition_type
    when 'enrollment_data' then
      if dripdrop._takes_long(condition.field_path, enrollment.data) then
        return 'list_too_long';
      end if;
      v_actual := jsonb_path_query_first_tz(
        enrollment.data, condition.field_path, '{}', silent => true
      );
      if v_actual is null then
        return 'value_missing';
      end if;
      v_holds := dripdrop._compare(v_actual, condition.operator, condition.expected_value);
    when 'event' then
      v_holds := dripdrop._compare(
        dripdrop._times_happened(condition, enrollment, happened, _condition_failure.at),
        condition.operator,
        condition.expected_value
      );
    when 'hook' then
      if (hooks -> condition.hook ? 'value') is not true then
        return coalesce(hooks #>> array[condition.hook, 'error'], 'hook_unanswered');
      end if;
      v_holds := dripdrop._compare(
        hooks #> array[condition.hook, 'value'], condition.operator, condition.expected_value
      );
    when 'predicate' then
      v_context := dripdrop._context(
        condition.predicate, enrollment, hooks, _condition_failure.step_id
      );
      if dripdrop._takes_long(condition.predicate, v_context) then
        return 'list_too_long';
      end if;
      v_holds := jsonb_path_match_tz(v_context, condition.predicate, '{}', silent => true);
    when 'time_window' then
      v_holds := dripdrop._is_open_for(
        condition, enrollment, _condition_failure.step_id, _condition_failure.at
      );
  end case;
  return case
    when v_holds then null
    when v_holds is null then 'not_comparable'
    else 'condition_false'
  end;
exception
  -- What the path functions raise although they are told to be silent.
  when others or assert_failure then
    return 'not_comparable';
end
$$;

comment on function dripdrop._condition_failure(
  dripdrop.conditions, dripdrop.enrollments, jsonb, text[], uuid, timestamptz
) is
  'Why a condition does not hold for an enrolment (condition_false, value_missing, '
  'not_comparable, list_too_long, hook_unanswered or the hook''s error), or null when it holds.';

create or replace function dripdrop._describe(condition dripdrop.conditions)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    condition.name,
    case condition.condition_type
      when 'predicate' then condition.predicate::text
      when 'time_window' then format(
        'time between %s and %s', condition.config ->> 'start', condition.config ->> 'end'
      )
      else concat_ws(
        ' ',
        coalesce(
          condition.field_path::text,
          'hook ' || condition.hook,
          'event ' || (condition.config ->> 'event')
        ),
        condition.operator,
        condition.expected_value,
        'within ' || (condition.config ->> 'within')
      )
    end
  )
$$;

comment on function dripdrop._describe(dripdrop.conditions) is
  'A condition as people read it: its name, or what it compares.';

-- All conditions of a step must hold; the first that does not is the obstacle.
create or replace function dripdrop._failed_condition(
  conditions dripdrop.conditions[],
  enrollment dripdrop.enrollments,
  hooks jsonb,
  happened text[],
  step_id uuid,
  at timestamptz
)
returns dripdrop._finding
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_condition dripdrop.conditions;
  v_failure text;
begin
  foreach v_condition in array conditions loop
    v_failure := dripdrop._condition_failure(
      v_condition, enrollment, hooks, happened, _failed_condition.step_id, _failed_condition.at
    );
    if v_failure is not null then
      return row('skip', v_failure, dripdrop._describe(v_condition))::dripdrop._finding;
    end if;
  end loop;
  return null;
end
$$;

comment on function dripdrop._failed_condition(
  dripdrop.conditions[], dripdrop.enrollments, jsonb, text[], uuid, timestamptz
) is
  'The first condition of a step that does not hold, or null.';

-- Goals come before exits, each in their order.
create or replace function dripdrop._exit_rules(sequence_id uuid)
returns dripdrop.conditions[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select c
    from dripdrop.conditions as c
    where c.sequence_id = _exit_rules.sequence_id
    order by c.outcome desc, c.position, c.id
  )
$$;

comment on function dripdrop._exit_rules(uuid) is
  'The goals and exit rules of a sequence, in order.';

-- Whoever waits for many rules waits no longer than a few dozen of them may take.
create or replace function dripdrop._rule_cost(
  rule dripdrop.conditions,
  enrollment dripdrop.enrollments
)
returns bigint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select octet_length((enrollment).data::text) + least(
    100000,
    case
      when (rule).predicate is not null
      then dripdrop._path_cost(
        (rule).predicate,
        jsonb_build_object('enrollment', (enrollment).data, 'subscriber', (enrollment).data)
      )
      else dripdrop._path_cost((rule).field_path, (enrollment).data)
    end
  )
$$;

comment on function dripdrop._rule_cost(dripdrop.conditions, dripdrop.enrollments) is
  'What asking a rule costs at most: elements that are looked at, and the bytes of the data.';

-- The first goal or exit rule of the sequence that holds ends the enrolment. Whoever must not wait
-- says how much may be asked for; it is looked at where the rules might cost more.
create or replace function dripdrop._met_exit_rule(
  rules dripdrop.conditions[],
  enrollment dripdrop.enrollments,
  hooks jsonb,
  happened text[],
  step_id uuid,
  at timestamptz,
  at_most bigint default null
)
returns dripdrop._finding
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rule dripdrop.conditions;
  v_left bigint := case when cardinality(rules) * 150000::bigint > at_most then at_most end;
begin
  foreach v_rule in array rules loop
    if v_left is not null and coalesce(v_rule.predicate, v_rule.field_path) is not null then
      v_left := v_left - dripdrop._rule_cost(v_rule, enrollment);
      if v_left < 0 then
        return row('ask', null, null)::dripdrop._finding;
      end if;
    end if;
    if dripdrop._condition_failure(
      v_rule, enrollment, hooks, happened, _met_exit_rule.step_id, _met_exit_rule.at
    ) is null then
      return row(
        case v_rule.outcome when 'goal' then 'complete' else 'exit' end,
        coalesce(v_rule.name, case v_rule.outcome when 'goal' then 'goal' else 'exit_rule' end),
        dripdrop._describe(v_rule)
      )::dripdrop._finding;
    end if;
  end loop;
  return null;
end
$$;

comment on function dripdrop._met_exit_rule(
  dripdrop.conditions[], dripdrop.enrollments, jsonb, text[], uuid, timestamptz, bigint
) is
  'The first of goals and exit rules that holds for an enrolment, or null; ask, where those that '
  'are left would cost more than at_most with those before them, as _rule_cost() has it.';

create or replace function dripdrop._conditions_of(transition_id uuid)
returns dripdrop.conditions[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select c
    from dripdrop.conditions as c
    where c.transition_id = _conditions_of.transition_id
    order by c.position, c.id
  )
$$;

comment on function dripdrop._conditions_of(uuid) is 'The conditions of a transition, in order.';

create or replace function dripdrop._matches(
  transition dripdrop.step_transitions,
  conditions dripdrop.conditions[],
  enrollment dripdrop.enrollments,
  hooks jsonb,
  at timestamptz
)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_condition dripdrop.conditions;
  v_any boolean := transition.condition_mode = 'any';
begin
  if transition.condition_mode = 'always' then
    return true;
  end if;
  foreach v_condition in array conditions loop
    if v_any = (
      dripdrop._condition_failure(
        v_condition, enrollment, hooks, null, transition.from_step_id, _matches.at
      ) is null
    ) then
      return v_any;
    end if;
  end loop;
  return not v_any;
end
$$;

comment on function dripdrop._matches(
  dripdrop.step_transitions, dripdrop.conditions[], dripdrop.enrollments, jsonb, timestamptz
) is
  'Whether a transition may be taken: always, or all or any of its conditions hold.';
