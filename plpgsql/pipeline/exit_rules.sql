-- Ends those for whom a rule holds. Where something has happened since the question was taken, it
-- stays, and is asked again. What waited for the answer is due.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._apply_rules(results dripdrop._hook_result[], at timestamptz)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_exits record;
  v_settled uuid[];
begin
  for v_exits in
    select found.action, found.reason, array_agg(e.id) as enrollments
    from unnest(results) as r
    join dripdrop.enrollments as e on e.id = r.enrollment and e.state in ('active', 'paused')
    cross join lateral (
      select jsonb_object_agg(a.key, dripdrop._hook_answer(a.value, null, null)) as hooks
      from jsonb_each(r.values) as a
    ) as answer
    cross join lateral dripdrop._met_exit_rule(
      dripdrop._exit_rules(e.sequence_id), e, answer.hooks, null, null, _apply_rules.at
    ) as found
    where found.action is not null
    group by found.action, found.reason
  loop
    perform dripdrop._end_enrollments(
      v_exits.enrollments,
      case v_exits.action when 'complete' then 'completed' else 'cancelled' end,
      v_exits.reason,
      _apply_rules.at
    );
  end loop;

  with settled as (
    update dripdrop.enrollments as e
    set ask_at = null
    from unnest(results) as r
    where e.id = r.enrollment and e.ask_at = r.ask_at
    returning e.id
  )
  select array_agg(s.id) into v_settled
  from settled as s;
  perform dripdrop._wake_by_rules(v_settled, _apply_rules.at);
  return (select count(*) from unnest(results) as r where r.enrollment is not null);
end
$$;

comment on function dripdrop._apply_rules(dripdrop._hook_result[], timestamptz) is
  'Applies goals and exit rules, now that their functions have answered.';

-- In a simulation nobody else would ask.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._apply_assumed_rules(
  enrollments uuid[],
  assumed jsonb,
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select dripdrop._apply_rules(
    array(
      select row(
        null,
        null,
        null,
        (
          select coalesce(
            jsonb_object_agg(
              f.key,
              case
                when _apply_assumed_rules.assumed ? f.key
                then jsonb_build_object('value', _apply_assumed_rules.assumed -> f.key)
                else dripdrop._try_function(e, f.key, null, null, null)
              end
            ),
            '{}'
          )
          from dripdrop._rule_functions(q) as f
        ),
        e.id,
        e.ask_at
      )::dripdrop._hook_result
      from dripdrop.enrollments as e
      join dripdrop.sequences as q on q.id = e.sequence_id
      where e.id = any (_apply_assumed_rules.enrollments) and e.ask_at is not null
    ),
    _apply_assumed_rules.at
  )
$$;

comment on function dripdrop._apply_assumed_rules(uuid[], jsonb, timestamptz) is
  'Answers the questions of goals and exit rules in a simulation.';
