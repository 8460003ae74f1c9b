-- Whoever plans a step that waits for an event holds its enrolment: either the wait is there to be
-- woken, or the event is there to be found. One that begins after the lock is nobody's here: two
-- trackers that both came to it would not wait for each other.
--
-- locks   the open enrolments and those that are named, in id order, then their executions
-- raises  ZD105 an enrolment that is named is gone: it was erased meanwhile
create or replace function dripdrop._record_events(events dripdrop.events[], at timestamptz)
returns setof dripdrop.events
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_named uuid[] := array(
    select distinct v.enrollment_id from unnest(events) as v where v.enrollment_id is not null
  );
  v_locked uuid[];
  v_new dripdrop.events[];
  v_open uuid[];
begin
  v_locked := array(
    select e.id
    from dripdrop.enrollments as e
    where e.id = any (dripdrop._enrollments_of_events(events) || v_named)
    order by e.id
    for no key update
  );
  if exists (select from unnest(v_named) as n (id) where n.id <> all (v_locked)) then
    raise exception 'an enrolment of the events is not found' using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  with recorded as (
    insert into dripdrop.events
    select v.* from unnest(events) as v
    on conflict do nothing
    returning *
  )
  select array_agg(row(r.*)::dripdrop.events) into v_new
  from recorded as r;

  if v_new is not null then
    v_open := array(
      select n.id
      from unnest(dripdrop._enrollments_of_events(v_new)) as n (id)
      where n.id = any (v_locked)
    );
    perform dripdrop._exit_by_rules(v_open, cardinality(v_new), at);
    perform dripdrop._wake_by_event(v_new, v_open, at);
    perform dripdrop._fire_side_steps(v_new, v_open, at);
  end if;

  return query
  select v.*
  from unnest(events) with ordinality as g
  -- Written out, because an index knows no "is not distinct from".
  join dripdrop.events as v
    on v.id = g.id
    or (v.tenant_key = g.tenant_key and v.event_id = g.event_id)
    or (v.tenant_key is null and g.tenant_key is null and v.event_id = g.event_id)
  order by g.ordinality;
end
$$;

comment on function dripdrop._record_events(dripdrop.events[], timestamptz) is
  'The one way in for events: records those that are new, and does what follows from them.';

create or replace function dripdrop._enrollments_of_events(events dripdrop.events[])
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select distinct n.id
    from unnest(events) as v
    cross join lateral dripdrop._enrollments_of(v.subscriber_type, v.subscriber_id) as n
    where n.tenant_key is not distinct from v.tenant_key
      and (n.id = v.enrollment_id or v.enrollment_id is null)
      and n.state in ('active', 'paused')
  )
$$;

comment on function dripdrop._enrollments_of_events(dripdrop.events[]) is
  'The open enrolments that events happen to.';

-- Goals and exit rules, asked for every enrolment that something has happened to. Those that name a
-- function of the application do not hold yet: claim_hooks() has it asked. Whoever tracks, or
-- unsubscribes, does not wait for hundreds of them, of one enrolment or of many: those that would
-- take more than about a quarter of a second for an event are left to claim_hooks() as well.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._exit_by_rules(
  enrollments uuid[],
  events int,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_at_most bigint := 3000000::bigint * events / greatest(cardinality(enrollments), 1);
  v_unasked uuid[] := array[]::uuid[];
  v_found record;
begin
  for v_found in
    with
    -- Once per sequence, not once per enrolment.
    sequence as materialized (
      select q.id, dripdrop._exit_rules(q.id) as exit_rules
      from dripdrop.sequences as q
      where q.id = any (array(
        select distinct e.sequence_id
        from dripdrop.enrollments as e
        where e.id = any (_exit_by_rules.enrollments)
      ))
    )
    select found.action, found.reason, array_agg((n.enrollment).id) as enrollments
    from (
      select e as enrollment
      from dripdrop.enrollments as e
      where e.id = any (_exit_by_rules.enrollments)
      offset 0
    ) as n
    join sequence as q on q.id = (n.enrollment).sequence_id and cardinality(q.exit_rules) > 0
    cross join lateral dripdrop._met_exit_rule(
      q.exit_rules, n.enrollment, null, null, null, _exit_by_rules.at, v_at_most
    ) as found
    where found.action is not null
    group by found.action, found.reason
  loop
    if v_found.action = 'ask' then
      v_unasked := v_found.enrollments;
      continue;
    end if;
    perform dripdrop._end_enrollments(
      v_found.enrollments,
      case v_found.action when 'complete' then 'completed' else 'cancelled' end,
      v_found.reason,
      _exit_by_rules.at
    );
  end loop;

  update dripdrop.enrollments as e
  set ask_at = _exit_by_rules.at
  where e.id = any (_exit_by_rules.enrollments)
    and e.state in ('active', 'paused')
    and (
      e.id = any (v_unasked)
      or e.sequence_id = any (array(
        select q.id
        from dripdrop.sequences as q
        where q.id in (
          select n.sequence_id
          from dripdrop.enrollments as n
          where n.id = any (_exit_by_rules.enrollments)
        )
        and exists (select from dripdrop._rule_functions(q))
      ))
    );
end
$$;

comment on function dripdrop._exit_by_rules(uuid[], int, timestamptz) is
  'Ends the enrolments that have reached a goal or meet an exit rule of their sequence, and has '
  'those be asked whose rules name SQL functions, or are too many for so many events.';
