-- What each element comes to, the good ones enrolled and the others not: those that are refused are
-- few, and are asked one by one for the words of their refusal.
--
-- locks   as enroll()
-- raises  ZD101 unknown sequence, ZD102 no active version, ZD201 bad argument, ZD207 bad tenant
--         key, ZD302 sequence switched off
create or replace function dripdrop.enroll_many(
  tenant_key text,
  sequence text,
  subscribers jsonb,
  on_error text
)
returns setof dripdrop.enrolled
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entry record;
  v_good jsonb;
  v_enrolled uuid[];
  v_unreachable uuid[];
begin
  if on_error is null or on_error not in ('fail', 'skip') then
    raise exception 'on_error % is unknown', dripdrop._quoted(on_error) using
      errcode = 'ZD201', column = 'on_error', hint = 'Use fail or skip.';
  end if;
  if jsonb_typeof(subscribers) is distinct from 'array' then
    perform dripdrop._check_subscribers(subscribers);
  end if;
  select e.* into v_entry from dripdrop._open_sequence(tenant_key, sequence, null) as e;
  if on_error = 'fail' then
    perform dripdrop.enroll_many(tenant_key, sequence, subscribers);
    v_good := subscribers;
  else
    v_good := dripdrop._without_faults(tenant_key, subscribers);
    v_enrolled := dripdrop._enroll_all(
      tenant_key, v_entry.sequence_id, v_entry.version_id, v_entry.mode, v_entry.reentry,
      v_entry.reentry_interval, v_good
    );
    v_unreachable := array(select u.enrollment_id from dripdrop._unreachable(v_enrolled) as u);
  end if;
  return query
  select r.*
  from dripdrop._enrolled_or_refused(
    tenant_key, v_entry.sequence_id, sequence, subscribers, v_enrolled, v_unreachable
  ) as r;
  delete from dripdrop.enrollments as e where e.id = any (v_unreachable);
end
$$;

comment on function dripdrop.enroll_many(text, text, jsonb, text) is
  'Enrols a list of subscribers and returns, for each place in it, the open enrolment or why there '
  'is none. on_error: skip leaves out whoever cannot be enrolled, and enrols the others; fail '
  'enrols nobody then.';

create or replace function dripdrop._without_faults(tenant_key text, subscribers jsonb)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(s.subscriber order by s.place), '[]')
  from jsonb_array_elements(subscribers) with ordinality as s (subscriber, place)
  where case
    when dripdrop._element_fault(s.subscriber) is not null then false
    when s.subscriber ->> 'event_id' is not null and dripdrop._find_event(
      _without_faults.tenant_key, coalesce(s.subscriber ->> 'subscriber_type', 'User'),
      s.subscriber ->> 'subscriber_id', s.subscriber ->> 'event_id'
    ) is null
    then false
    when dripdrop._is_plain(s.subscriber) then true
    else not exists (
      select
      from jsonb_each(s.subscriber) as p
      cross join lateral dripdrop._json_fault(p.value, left(p.key, 100), 65536)
      where not dripdrop._is_plain(p.value)
    )
  end
$$;

comment on function dripdrop._without_faults(text, jsonb) is
  'Those elements of a list of subscribers that enroll_many() would take.';

create or replace function dripdrop._enrolled_or_refused(
  tenant_key text,
  sequence_id uuid,
  sequence text,
  subscribers jsonb,
  enrolled uuid[],
  unreachable uuid[]
)
returns setof dripdrop.enrolled
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_one record;
  v_row dripdrop.enrolled;
begin
  for v_one in
    select s.place, s.subscriber, n.subscriber_type, n.subscriber_id, n.entry_key, e.id, e.state
    from jsonb_array_elements(subscribers) with ordinality as s (subscriber, place)
    cross join lateral (
      select
        coalesce(s.subscriber ->> 'subscriber_type', 'User') as subscriber_type,
        s.subscriber ->> 'subscriber_id' as subscriber_id,
        coalesce(s.subscriber ->> 'entry_key', '') as entry_key
    ) as n
    left join lateral (
      select o.id, o.state
      from dripdrop._enrollments_of(n.subscriber_type, n.subscriber_id) as o
      where o.entry_key = n.entry_key
        and o.sequence_id = _enrolled_or_refused.sequence_id
        and (o.state in ('active', 'paused') or o.id = any (enrolled))
        and dripdrop._without_faults(
          _enrolled_or_refused.tenant_key, jsonb_build_array(s.subscriber)
        ) <> '[]'
      limit 1
    ) as e on true
    order by s.place
  loop
    v_row := null;
    if v_one.id is null or v_one.id = any (unreachable) then
      v_row := dripdrop._why_refused(
        tenant_key, sequence_id, sequence, v_one.subscriber, unreachable
      );
    else
      v_row.enrollment_id := v_one.id;
      v_row.state := v_one.state;
    end if;
    v_row.place := v_one.place;
    v_row.subscriber_type := v_one.subscriber_type;
    v_row.subscriber_id := v_one.subscriber_id;
    v_row.entry_key := v_one.entry_key;
    return next v_row;
  end loop;
end
$$;

comment on function dripdrop._enrolled_or_refused(text, uuid, text, jsonb, uuid[], uuid[]) is
  'For each element of a list of subscribers its enrolment, or why there is none.';

-- raises  40001 it may enter after all
create or replace function dripdrop._why_refused(
  tenant_key text,
  sequence_id uuid,
  sequence text,
  subscriber jsonb,
  unreachable uuid[]
)
returns dripdrop.enrolled
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_list jsonb := jsonb_build_array(subscriber);
  v_type text := coalesce(subscriber ->> 'subscriber_type', 'User');
  v_row dripdrop.enrolled;
begin
  perform dripdrop._check_json_list(v_list, 'subscribers');
  perform dripdrop._check_subscribers(v_list);
  if subscriber ->> 'event_id' is not null then
    perform dripdrop._event_of(
      tenant_key, v_type, subscriber ->> 'subscriber_id', subscriber ->> 'event_id'
    );
  end if;
  perform dripdrop._check_recipients(
    array(
      select e.id
      from dripdrop._enrollments_of(v_type, subscriber ->> 'subscriber_id') as e
      where e.id = any (unreachable)
    ),
    v_list
  );
  perform dripdrop._open_enrollment(
    sequence_id, sequence, v_type, subscriber ->> 'subscriber_id',
    coalesce(subscriber ->> 'entry_key', '')
  );
  return v_row;
exception
  when others then
    if sqlstate not like 'ZD%' then
      raise;
    end if;
    get stacked diagnostics
      v_row.sqlstate = returned_sqlstate,
      v_row.message = message_text,
      v_row.field = column_name,
      v_row.hint = pg_exception_hint;
    return v_row;
end
$$;

comment on function dripdrop._why_refused(text, uuid, text, jsonb, uuid[]) is
  'Why a subscriber of a list is not enrolled.';
