-- What an address of a step to come is may be mended or taken away, but not made unusable; and
-- what is planned needs one, as at enroll().
create or replace function dripdrop._unusable_addresses(enrollments uuid[], data jsonb)
returns table (enrollment_id uuid, channel text, step_key text, recipient_key text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select e.id, c.channel, s.key, k.name
  from dripdrop.enrollments as e
  join dripdrop.steps as s on s.sequence_version_id = e.sequence_version_id and s.active
  join dripdrop.channels as c on c.channel = s.channel and c.address_form <> 'none'
  cross join lateral (
    select coalesce(s.config ->> 'recipient_key', c.recipient_key) as name
  ) as k
  where e.id = any (_unusable_addresses.enrollments)
    and _unusable_addresses.data ? k.name
    and not dripdrop._is_address(
      c.address_form,
      dripdrop._recipient(c.address_form, c.recipient_key, s.config, _unusable_addresses.data)
    )
    and (
      _unusable_addresses.data ->> k.name is not null
      or exists (
        select from dripdrop.step_executions as x
        where x.enrollment_id = e.id
          and x.step_id = s.id
          and not s.recurring
          and x.state in ('scheduled', 'queued')
      )
    )
  order by e.id, s.position, s.key
$$;

comment on function dripdrop._unusable_addresses(uuid[], jsonb) is
  'The steps of enrolments that could not reach anybody by an address of new data.';

-- raises  ZD201 bad argument, ZD204 unknown time zone, ZD205 no usable recipient
create or replace function dripdrop._check_change(enrollments uuid[], data jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_zone text;
  v_bad record;
begin
  if jsonb_typeof(data) is distinct from 'object' then
    raise exception 'data is not an object' using
      errcode = 'ZD201', column = 'data',
      hint = 'Pass what changes, for example ''{"email": "sam@example.com"}''.';
  end if;
  v_zone := dripdrop._own_time_zone(data);
  if v_zone is not null and not dripdrop._is_time_zone(v_zone) then
    raise exception 'time zone % is unknown', dripdrop._quoted(v_zone) using
      errcode = 'ZD204', column = 'data.time_zone',
      hint = 'Use a name from pg_timezone_names, for example Europe/Berlin.';
  end if;
  perform dripdrop._check_json(dripdrop._changed_data(e.data, _check_change.data), 'data')
  from dripdrop.enrollments as e
  where e.id = any (_check_change.enrollments);
  select u.* into v_bad from dripdrop._unusable_addresses(enrollments, data) as u limit 1;
  if found then
    raise exception 'data.% is no usable recipient for %',
      v_bad.recipient_key, v_bad.channel using
      errcode = 'ZD205', column = 'data.' || v_bad.recipient_key,
      detail = format('Enrolment %s.', v_bad.enrollment_id),
      hint = format('It must be an address the channel of step "%s" can use.', v_bad.step_key);
  end if;
end
$$;

comment on function dripdrop._check_change(uuid[], jsonb) is
  'Raises on data that enrolments cannot be given.';

create or replace function dripdrop._changed_data(before jsonb, data jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select (before || data) - array(
    select d.key from jsonb_each(data) as d where jsonb_typeof(d.value) = 'null'
  )
$$;

comment on function dripdrop._changed_data(jsonb, jsonb) is
  'Data with other values for some of its keys; null takes a key away.';

-- What waits to be rendered is decided anew, whoever has it in hand: its address, its conditions
-- and the answers of its hooks may be others. What is rendered keeps its words.
--
-- locks   the executions that are not rendered; callers hold the enrolments
-- raises  ZD201 bad argument, ZD204 unknown time zone, ZD205 no usable recipient
create or replace function dripdrop._update_enrollments(
  tenant_key text,
  enrollments uuid[],
  data jsonb
)
returns setof dripdrop.enrollments
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_events jsonb;
  v_unrendered uuid[];
begin
  perform dripdrop._check_change(enrollments, data);
  select jsonb_agg(jsonb_build_object(
    'enrollment_id', c.id,
    'event_type', 'enrollment_event',
    'event_key', 'enrollment_updated',
    'event_data', jsonb_build_object('before', c.before, 'after', c.after)
  ))
  into v_events
  from (
    select
      e.id,
      coalesce(jsonb_object_agg(d.key, e.data -> d.key) filter (where e.data ? d.key), '{}')
      as before,
      coalesce(
        jsonb_object_agg(d.key, d.value) filter (where jsonb_typeof(d.value) <> 'null'), '{}'
      ) as after
    from dripdrop.enrollments as e
    cross join jsonb_each(_update_enrollments.data) as d
    where e.id = any (_update_enrollments.enrollments)
      and e.data -> d.key is distinct from nullif(d.value, 'null')
    group by e.id
  ) as c;

  if v_events is not null then
    update dripdrop.enrollments as e
    set data = dripdrop._changed_data(e.data, _update_enrollments.data),
        updated_at = v_now
    where e.id in (select (v ->> 'enrollment_id')::uuid from jsonb_array_elements(v_events) as v);
    v_unrendered := array(
      select x.id
      from dripdrop.step_executions as x
      where x.enrollment_id in (
          select (v ->> 'enrollment_id')::uuid from jsonb_array_elements(v_events) as v
        )
        and (x.state = 'queued' or x.state = 'scheduled' and x.retry_count = 0)
      order by x.id
      for no key update
    );
    perform dripdrop._make_due(
      array(
        select x.id
        from dripdrop.step_executions as x
        where x.id = any (v_unrendered) and x.state = 'queued'
      ),
      v_now
    );
    update dripdrop.step_executions as x
    set hooks = null,
        hook_failures = null
    where x.id = any (v_unrendered)
      and x.state = 'scheduled'
      and x.waits_for is distinct from 'hook'
      and coalesce(x.hooks, x.hook_failures) is not null;
    perform dripdrop._record_events(dripdrop._read_events(tenant_key, v_events, v_now), v_now);
  end if;
  return query
  select e.* from dripdrop.enrollments as e where e.id = any (enrollments) order by e.id;
end
$$;

comment on function dripdrop._update_enrollments(text, uuid[], jsonb) is
  'Merges data into enrolments, and has what is not rendered use it.';

-- locks   the enrolment, then its executions
-- raises  ZD105 unknown enrolment, ZD110 it has ended, ZD201 bad argument, ZD204 unknown time zone,
--         ZD205 no usable recipient
create or replace function dripdrop.update_enrollment(
  tenant_key text,
  enrollment_id uuid,
  data jsonb
)
returns dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments;
begin
  perform dripdrop._check_json(data, 'data');
  v_enrollment := dripdrop._lock_enrollment(tenant_key, enrollment_id);
  if v_enrollment.state in ('completed', 'cancelled') then
    raise exception 'the enrolment has ended: %', v_enrollment.state using
      errcode = 'ZD110', hint = 'Nothing is left to be sent; enrol again if that is meant.';
  end if;
  select e.* into v_enrollment
  from dripdrop._update_enrollments(tenant_key, array[v_enrollment.id], data) as e;
  return v_enrollment;
end
$$;

comment on function dripdrop.update_enrollment(text, uuid, jsonb) is
  'Changes the data of an enrolment: data has the keys that change, null takes one away. What is '
  'not yet rendered uses it. Recorded as the event enrollment_updated of the enrolment, with what '
  'the keys held before and after.';

-- locks   the subscriber's enrolments, in id order, then their executions
-- raises  ZD201 bad argument, ZD204 unknown time zone, ZD205 no usable recipient, ZD207 bad tenant
--         key
create or replace function dripdrop.update_subscriber(
  tenant_key text,
  subscriber_type text,
  subscriber_id anycompatible,
  data jsonb
)
returns setof dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._check_json(data, 'data');
  perform dripdrop._check_tenant_key(tenant_key);
  perform dripdrop._check_subscriber(subscriber_type, subscriber_id::text);
  perform dripdrop._lock_subscriber(tenant_key, subscriber_type, subscriber_id::text);
  return query
  select u.*
  from dripdrop._update_enrollments(
    tenant_key,
    array(
      select e.id
      from dripdrop._enrollments_of(subscriber_type, subscriber_id::text) as e
      where e.tenant_key is not distinct from update_subscriber.tenant_key
        and e.state in ('active', 'paused')
    ),
    data
  ) as u;
end
$$;

comment on function dripdrop.update_subscriber(text, text, anycompatible, jsonb) is
  'Changes the data of all open enrolments of a subscriber, as update_enrollment() does that of '
  'one, and returns them.';
