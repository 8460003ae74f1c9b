-- What happened, to one enrolment or to a subscriber, in the caller's transaction: roll back the
-- order, and it never happened. A subscriber's event is one of each of their enrolments, also of
-- those that begin later. Under the same event_id it happens once.
--
-- locks   the open enrolments it concerns, in id order, then their executions
-- raises  ZD105 unknown enrolment, ZD201 bad argument, ZD207 bad tenant key
create or replace function dripdrop.track_event(
  tenant_key text,
  event_key text,
  event_data jsonb default '{}',
  enrollment_id uuid default null,
  subscriber_type text default null,
  subscriber_id text default null,
  event_id text default null,
  occurred_at timestamptz default null,
  event_type text default 'custom'
)
returns dripdrop.events
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.*
  from dripdrop._track(
    track_event.tenant_key,
    jsonb_build_array(jsonb_build_object(
      'event_key', track_event.event_key,
      'event_data', coalesce(track_event.event_data, '{}'),
      'enrollment_id', track_event.enrollment_id,
      'subscriber_type', track_event.subscriber_type,
      'subscriber_id', track_event.subscriber_id,
      'event_id', track_event.event_id,
      'occurred_at', track_event.occurred_at,
      'event_type', track_event.event_type
    ))
  ) as v
$$;

comment on function dripdrop.track_event(
  text, text, jsonb, uuid, text, text, text, timestamptz, text
) is
  'Records that something happened to an enrolment (enrollment_id) or to a subscriber '
  '(subscriber_id, subscriber_type = User), wakes the steps that wait for it and ends what it '
  'ends. '
  'event_id makes it idempotent: the same again returns the first. event_key, event_id, '
  'subscriber_type and subscriber_id: at most 500 bytes each.';

-- For imports and queues of events: one statement for all of them.
--
-- locks, raises  as track_event(); the detail names the place of a bad element
create or replace function dripdrop.track_events(tenant_key text, events jsonb)
returns setof dripdrop.events
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.* from dripdrop._track(track_events.tenant_key, track_events.events) as v
$$;

comment on function dripdrop.track_events(text, jsonb) is
  'Records a list of {event_key, event_data, enrollment_id or subscriber_id and subscriber_type = '
  'User, event_id, occurred_at, event_type}, as track_event() does one.';

create or replace function dripdrop._track(tenant_key text, events jsonb)
returns setof dripdrop.events
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_fault record;
  v_given dripdrop.events[];
  v_new dripdrop.events[];
  v_held uuid[];
  v_open uuid[];
begin
  perform dripdrop._check_json_list(events, 'events');
  perform dripdrop._check_tenant_key(tenant_key);
  if jsonb_typeof(events) is distinct from 'array' then
    raise exception 'events is not a list' using
      errcode = 'ZD201', column = 'events', hint = 'Pass [{"event_key": …, "subscriber_id": …}, …].';
  end if;
  select e.place, fault.* into v_fault
  from jsonb_array_elements(events) with ordinality as e (event, place)
  cross join lateral (
    values
    (
      'event_key', coalesce(e.event ->> 'event_key', '') = '',
      'an event needs a key', 'For example event_key => ''order_completed''.'
    ),
    (
      'subscriber_id',
      (e.event ->> 'enrollment_id' is null) = (coalesce(e.event ->> 'subscriber_id', '') = ''),
      'an event happens to an enrolment or to a subscriber',
      'Pass either enrollment_id or subscriber_id.'
    ),
    (
      'subscriber_type', e.event ->> 'subscriber_type' = '',
      'subscriber_type is empty', 'Leave it out for User.'
    ),
    (
      'event_data', jsonb_typeof(e.event -> 'event_data') not in ('object', 'null'),
      'event_data is not an object', 'Pass an object, for example ''{"amount": 10}''.'
    ),
    (
      'event_id', e.event ->> 'event_id' = '',
      'event_id is empty', 'Leave it out, or pass what identifies the event where it comes from.'
    )
    union all
    select
      f.name, octet_length(e.event ->> f.name) > 500,
      f.name || ' is longer than 500 bytes', 'Pass what the application knows it by.'
    from unnest('{event_key,subscriber_type,subscriber_id,event_id}'::text[]) as f (name)
  ) as fault (field, closed, message, hint)
  where fault.closed
  order by e.place
  limit 1;
  if found then
    raise exception '%', v_fault.message using
      errcode = 'ZD201', column = v_fault.field, hint = v_fault.hint,
      detail = format('Element %s of the events.', v_fault.place);
  end if;
  begin
    v_given := array(
      select row(
        dripdrop._uuidv7(),
        _track.tenant_key,
        g.enrollment_id,
        coalesce(n.subscriber_type, g.subscriber_type, 'User'),
        coalesce(n.subscriber_id, g.subscriber_id),
        coalesce(g.event_type, 'custom'),
        g.event_key,
        g.event_id,
        coalesce(g.event_data, '{}'),
        coalesce(g.occurred_at, v_now),
        v_now
      )::dripdrop.events
      from jsonb_to_recordset(events) as g (
        enrollment_id uuid, subscriber_type text, subscriber_id text, event_type text,
        event_key text, event_id text, event_data jsonb, occurred_at timestamptz
      )
      left join dripdrop.enrollments as n
        on n.id = g.enrollment_id and n.tenant_key is not distinct from _track.tenant_key
      where g.enrollment_id is null or n.id is not null
      order by g.event_id
    );
  exception
    when data_exception then
      raise exception 'an element of events is malformed' using
        errcode = 'ZD201', column = 'events', detail = sqlerrm,
        hint = 'enrollment_id is a uuid, occurred_at a time.';
  end;
  if exists (
    select from unnest(v_given) as g
    where g.occurred_at < v_now - interval '100 years'
      or g.occurred_at > v_now + interval '100 years'
  ) then
    raise exception 'an event did not happen within 100 years' using
      errcode = 'ZD201', column = 'occurred_at', hint = 'Leave it out for now.';
  end if;
  if cardinality(v_given) < jsonb_array_length(events) then
    raise exception 'an enrolment of the events is not found' using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;

  -- Whoever plans a step that waits for an event holds its enrolment: either the wait is there to be
  -- woken, or the event is there to be found. One that begins after this is nobody's here: two
  -- trackers that both came to it would not wait for each other.
  v_held := array(
    select e.id
    from dripdrop.enrollments as e
    where e.id in (
      select n.id
      from unnest(v_given) as g
      cross join lateral dripdrop._enrollments_of(g.subscriber_type, g.subscriber_id) as n
      where n.tenant_key is not distinct from g.tenant_key
        and (n.id = g.enrollment_id or g.enrollment_id is null)
        and n.state in ('active', 'paused')
    )
    order by e.id
    for no key update
  );

  with recorded as (
    insert into dripdrop.events
    select g.* from unnest(v_given) as g
    on conflict do nothing
    returning *
  )
  select array_agg(row(r.*)::dripdrop.events) into v_new
  from recorded as r;

  if v_new is not null then
    v_open := array(
      select distinct n.id
      from unnest(v_new) as g
      cross join lateral dripdrop._enrollments_of(g.subscriber_type, g.subscriber_id) as n
      where n.tenant_key is not distinct from g.tenant_key
        and (n.id = g.enrollment_id or g.enrollment_id is null)
        and n.id = any (v_held)
        and n.state in ('active', 'paused')
    );
    perform dripdrop._let_out(v_open, v_now);
    perform dripdrop._wake_by_event(v_new, v_open, v_now);
    perform dripdrop._fire_side_steps(v_new, v_open, v_now);
  end if;

  return query
  select v.*
  from unnest(v_given) with ordinality as g
  -- Written out, because an index knows no "is not distinct from".
  join dripdrop.events as v
    on v.id = g.id
    or (v.tenant_key = g.tenant_key and v.event_id = g.event_id)
    or (v.tenant_key is null and g.tenant_key is null and v.event_id = g.event_id)
  order by g.ordinality;
end
$$;

comment on function dripdrop._track(text, jsonb) is
  'The one way in for events: records those that are new, and does what follows from them.';

-- Goals and exit rules, asked for every enrolment that something has happened to. Those that name a
-- function of the application do not hold yet: claim_hooks() has it asked.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._let_out(enrollments uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_exits record;
begin
  for v_exits in
    with
    -- Once per sequence, not once per enrolment.
    sequence as materialized (
      select q.id, dripdrop._ways_out(q.id) as ways_out
      from dripdrop.sequences as q
      where q.id = any (array(
        select distinct e.sequence_id
        from dripdrop.enrollments as e
        where e.id = any (_let_out.enrollments)
      ))
    )
    select found.action, found.reason, array_agg((n.enrollment).id) as enrollments
    from (
      select e as enrollment
      from dripdrop.enrollments as e
      where e.id = any (_let_out.enrollments)
      offset 0
    ) as n
    join sequence as q on q.id = (n.enrollment).sequence_id and cardinality(q.ways_out) > 0
    cross join lateral dripdrop._way_out(
      q.ways_out, n.enrollment, null, null, null, _let_out.at
    ) as found
    where found.action is not null
    group by found.action, found.reason
  loop
    perform dripdrop._end_enrollments(
      v_exits.enrollments,
      case v_exits.action when 'complete' then 'completed' else 'cancelled' end,
      v_exits.reason,
      _let_out.at
    );
  end loop;

  update dripdrop.enrollments as e
  set ask_at = _let_out.at
  where e.id = any (_let_out.enrollments)
    and e.state in ('active', 'paused')
    and e.sequence_id = any (array(
      select q.id
      from dripdrop.sequences as q
      where q.id in (
        select n.sequence_id
        from dripdrop.enrollments as n
        where n.id = any (_let_out.enrollments)
      )
      and exists (select from dripdrop._rule_functions(q))
    ));
end
$$;

comment on function dripdrop._let_out(uuid[], timestamptz) is
  'Ends the enrolments that have reached a goal or meet an exit rule of their sequence, and has '
  'those be asked whose rules name SQL functions.';

-- Side steps fire once per event; someone who is paused misses them.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._fire_side_steps(
  events dripdrop.events[],
  enrollments uuid[],
  at timestamptz
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into dripdrop.step_executions (
    tenant_key, enrollment_id, step_id, occurrence, channel, scheduled_for, due_at, reason,
    reason_at, event_id
  )
  select
    s.tenant_key,
    e.id,
    s.id,
    coalesce(
      (
        select max(x.occurrence) + 1
        from dripdrop.step_executions as x
        where x.enrollment_id = e.id and x.step_id = s.id
      ),
      0
    ) + row_number() over (partition by e.id, s.id order by v.occurred_at, v.id)::int - 1,
    s.channel,
    due.at,
    due.at,
    'event',
    _fire_side_steps.at,
    v.id
  from unnest(_fire_side_steps.events) as v
  cross join lateral dripdrop._enrollments_of(v.subscriber_type, v.subscriber_id) as e
  join dripdrop.steps as s
    on s.sequence_version_id = e.sequence_version_id
    and s.recurring
    and s.active
    and s.timing ->> 'trigger_event' = v.event_key
  cross join lateral (
    select dripdrop._due_after_event(s, e.enrollment, v.occurred_at, _fire_side_steps.at) as at
  ) as due
  where e.tenant_key is not distinct from v.tenant_key
    and (e.id = v.enrollment_id or v.enrollment_id is null)
    and e.id = any (_fire_side_steps.enrollments)
    and e.state = 'active'
    and v.event_data @> coalesce(s.timing -> 'match', '{}')
$$;

comment on function dripdrop._fire_side_steps(dripdrop.events[], uuid[], timestamptz) is
  'Plans the side steps that events set off.';
