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
  subscriber_id anycompatible default null,
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
      'subscriber_id', track_event.subscriber_id::text,
      'event_id', track_event.event_id,
      'occurred_at', track_event.occurred_at,
      'event_type', track_event.event_type
    ))
  ) as v
$$;

comment on function dripdrop.track_event(
  text, text, jsonb, uuid, text, anycompatible, text, timestamptz, text
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
begin
  perform dripdrop._check_json_list(events, 'events');
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_events(events);
  return query
  select v.*
  from dripdrop._record_events(dripdrop._read_events(tenant_key, events, v_now), v_now) as v;
end
$$;

comment on function dripdrop._track(text, jsonb) is
  'Checks and records events that come as a list of objects.';

-- One pass looks at all elements; the first fault is the one reported.
--
-- raises  ZD201, with the element in the detail
create or replace function dripdrop._check_events(events jsonb)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
begin
  if jsonb_typeof(events) is distinct from 'array' then
    raise exception 'events is not a list' using
      errcode = 'ZD201', column = 'events',
      hint = 'Pass [{"event_key": …, "subscriber_id": …}, …].';
  end if;
  select e.place, fault.* into v_fault
  from jsonb_array_elements(events) with ordinality as e (event, place)
  cross join lateral (
    select
      'event_key' as field, 'an event needs a key' as message,
      'For example event_key => ''order_completed''.' as hint
    where coalesce(e.event ->> 'event_key', '') = ''
    union all
    select
      'subscriber_id', 'an event happens to an enrolment or to a subscriber',
      'Pass either enrollment_id or subscriber_id.'
    where (e.event ->> 'enrollment_id' is null) = (coalesce(e.event ->> 'subscriber_id', '') = '')
    union all
    select 'subscriber_type', 'subscriber_type is empty', 'Leave it out for User.'
    where e.event ->> 'subscriber_type' = ''
    union all
    select
      'event_data', 'event_data is not an object',
      'Pass an object, for example ''{"amount": 10}''.'
    where jsonb_typeof(e.event -> 'event_data') not in ('object', 'null')
    union all
    select
      'event_id', 'event_id is empty',
      'Leave it out, or pass what identifies the event where it comes from.'
    where e.event ->> 'event_id' = ''
    union all
    select
      f.name, f.name || ' is longer than 500 bytes', 'Pass what the application knows it by.'
    from unnest('{event_key,subscriber_type,subscriber_id,event_id}'::text[]) as f (name)
    where octet_length(e.event ->> f.name) > 500
  ) as fault
  order by e.place
  limit 1;
  if found then
    raise exception '%', v_fault.message using
      errcode = 'ZD201', column = v_fault.field, hint = v_fault.hint,
      detail = format('Element %s of the events.', v_fault.place);
  end if;
end
$$;

comment on function dripdrop._check_events(jsonb) is
  'Raises ZD201 on the first element of a list of events that makes no sense.';

-- raises  ZD105 unknown enrolment, ZD201 malformed, or not within a hundred years
create or replace function dripdrop._read_events(tenant_key text, events jsonb, at timestamptz)
returns dripdrop.events[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_events dripdrop.events[];
begin
  begin
    v_events := array(
      select v::dripdrop.events
      from (
        select
          dripdrop._uuidv7() as id,
          _read_events.tenant_key,
          g.enrollment_id,
          coalesce(n.subscriber_type, g.subscriber_type, 'User') as subscriber_type,
          coalesce(n.subscriber_id, g.subscriber_id) as subscriber_id,
          coalesce(g.event_type, 'custom') as event_type,
          g.event_key,
          g.event_id,
          coalesce(g.event_data, '{}') as event_data,
          coalesce(g.occurred_at, _read_events.at) as occurred_at,
          _read_events.at as inserted_at,
          nextval('dripdrop.calls') as call_number
        from jsonb_to_recordset(events) as g (
          enrollment_id uuid, subscriber_type text, subscriber_id text, event_type text,
          event_key text, event_id text, event_data jsonb, occurred_at timestamptz
        )
        left join dripdrop.enrollments as n
          on n.id = g.enrollment_id and n.tenant_key is not distinct from _read_events.tenant_key
        where g.enrollment_id is null or n.id is not null
        order by g.event_id
      ) as v
    );
  exception
    when data_exception then
      raise exception 'an element of events is malformed' using
        errcode = 'ZD201', column = 'events', detail = sqlerrm,
        hint = 'enrollment_id is a uuid, occurred_at a time.';
  end;
  if exists (
    select from unnest(v_events) as v
    where v.occurred_at not between at - interval '100 years' and at + interval '100 years'
  ) then
    raise exception 'an event did not happen within 100 years' using
      errcode = 'ZD201', column = 'occurred_at', hint = 'Leave it out for now.';
  end if;
  if cardinality(v_events) < jsonb_array_length(events) then
    raise exception 'an enrolment of the events is not found' using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_events;
end
$$;

comment on function dripdrop._read_events(text, jsonb, timestamptz) is
  'The events of a list of objects, in the order of their event_id.';

-- Side steps fire once per event; someone who is paused misses them, and nobody is told of what
-- was before they were enrolled.
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
    and dripdrop._counts_for(v, (e.enrollment).call_number, e.started_at)
    and dripdrop._is_news(v, s.config)
    and dripdrop._event_matches(v.event_data, s.timing -> 'match', (e.enrollment).data)
$$;

comment on function dripdrop._fire_side_steps(dripdrop.events[], uuid[], timestamptz) is
  'Plans the side steps that events set off.';
