create or replace function dripdrop._subscriber_fault(
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  data jsonb,
  metadata jsonb
)
returns text
language sql
stable
parallel safe
return case
  when coalesce(subscriber_type, '') = '' or coalesce(subscriber_id, '') = '' then 'name'
  when jsonb_typeof(data) is distinct from 'object' then 'data'
  when jsonb_typeof(metadata) not in ('object', 'null') then 'metadata'
  when dripdrop._own_time_zone(data) is not null
    and not dripdrop._is_time_zone(dripdrop._own_time_zone(data))
  then 'time_zone'
  when octet_length(subscriber_type) > 500 then 'subscriber_type'
  when octet_length(subscriber_id) > 500 then 'subscriber_id'
  when octet_length(entry_key) > 500 then 'entry_key'
end;

comment on function dripdrop._subscriber_fault(text, text, text, jsonb, jsonb) is
  'What is wrong with a subscriber who is to be enrolled, as _refuse_subscriber() knows it, or '
  'null.';

-- raises  ZD201 bad argument, ZD204 unknown time zone; with the element in the detail
create or replace function dripdrop._refuse_subscriber(fault text, data jsonb, place bigint)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_place text := format('Element %s of the subscribers.', place);
begin
  case fault
    when 'name' then
      raise exception 'a subscriber needs a type and an id' using
        errcode = 'ZD201', column = 'subscriber_id', detail = v_place,
        hint = 'For example subscriber_type => ''User'', subscriber_id => ''42''.';
    when 'data' then
      raise exception 'data is not an object' using
        errcode = 'ZD201', column = 'data', detail = v_place,
        hint = 'Pass an object, for example ''{"email": "sam@example.com"}''.';
    when 'metadata' then
      raise exception 'metadata is not an object' using
        errcode = 'ZD201', column = 'metadata', detail = v_place,
        hint = 'Pass an object, for example ''{"campaign": "spring"}''.';
    when 'time_zone' then
      raise exception 'time zone % is unknown',
        dripdrop._quoted(dripdrop._own_time_zone(data)) using
        errcode = 'ZD204', column = 'data.time_zone', detail = v_place,
        hint = 'Use a name from pg_timezone_names, for example Europe/Berlin.';
    else
      raise exception '% is longer than 500 bytes', fault using
        errcode = 'ZD201', column = _refuse_subscriber.fault, detail = v_place,
        hint = 'Pass what the application knows it by.';
  end case;
end
$$;

comment on function dripdrop._refuse_subscriber(text, jsonb, bigint) is
  'Raises what is wrong with a subscriber who is to be enrolled.';

create or replace function dripdrop._element_fault(subscriber jsonb)
returns text
language sql
stable
parallel safe
return dripdrop._subscriber_fault(
  case when subscriber ? 'subscriber_type' then subscriber ->> 'subscriber_type' else 'User' end,
  subscriber ->> 'subscriber_id',
  subscriber ->> 'entry_key',
  coalesce(subscriber -> 'data', '{}'),
  subscriber -> 'metadata'
);

comment on function dripdrop._element_fault(jsonb) is
  'What is wrong with an element of a list of subscribers, as _refuse_subscriber() knows it, or '
  'null.';

-- One pass looks at all elements; the first fault is the one reported.
--
-- raises  ZD201 bad argument, ZD204 unknown time zone
create or replace function dripdrop._check_subscribers(subscribers jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_bad record;
begin
  if jsonb_typeof(subscribers) is distinct from 'array' then
    raise exception 'subscribers is not a list' using
      errcode = 'ZD201', column = 'subscribers',
      hint = 'Pass [{"subscriber_id": …, "data": {…}}, …].';
  end if;
  select f.fault, s.subscriber -> 'data' as data, s.place into v_bad
  from jsonb_array_elements(subscribers) with ordinality as s (subscriber, place)
  cross join lateral (
    select dripdrop._element_fault(s.subscriber) as fault
    offset 0
  ) as f
  where f.fault is not null
  order by s.place
  limit 1;
  if found then
    perform dripdrop._refuse_subscriber(v_bad.fault, v_bad.data, v_bad.place);
  end if;
end
$$;

comment on function dripdrop._check_subscribers(jsonb) is
  'Raises on the first element of a list of subscribers that cannot be enrolled.';

create or replace function dripdrop._unreachable(enrollments uuid[])
returns table (
  enrollment_id uuid,
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  channel text,
  step_key text,
  recipient_key text
)
language sql
stable
begin atomic
  select
    u.id, u.subscriber_type, u.subscriber_id, u.entry_key, u.channel, u.step_key, u.recipient_key
  from (
    select
      e.id,
      e.subscriber_type,
      e.subscriber_id,
      e.entry_key,
      x.channel,
      s.key as step_key,
      coalesce(s.config ->> 'recipient_key', c.recipient_key) as recipient_key,
      c.address_form,
      dripdrop._recipient(c.address_form, c.recipient_key, s.config, e.data) as address
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id and not s.recurring
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.channels as c on c.channel = x.channel
    where x.enrollment_id = any(_unreachable.enrollments)
    offset 0
  ) as u
  where not dripdrop._is_address(u.address_form, u.address);
end;

comment on function dripdrop._unreachable(uuid[]) is
  'New enrolments whose data holds no address that their first step can use.';

-- raises  ZD205, with the element in the detail
create or replace function dripdrop._check_recipients(enrollments uuid[], subscribers jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_bad record;
begin
  if not exists (select from dripdrop._unreachable(enrollments)) then
    return;
  end if;
  select s.place, u.* into v_bad
  from jsonb_array_elements(subscribers) with ordinality as s (subscriber, place)
  join dripdrop._unreachable(enrollments) as u
    on u.subscriber_id = s.subscriber ->> 'subscriber_id'
    and u.subscriber_type = coalesce(s.subscriber ->> 'subscriber_type', 'User')
    and u.entry_key = coalesce(s.subscriber ->> 'entry_key', '')
  order by s.place
  limit 1;
  raise exception 'data holds no usable recipient for %', v_bad.channel using
    errcode = 'ZD205', column = 'data',
    detail = format('Element %s of the subscribers.', v_bad.place),
    hint = format(
      'data.%s must be an address the channel of step "%s" can use.',
      v_bad.recipient_key, v_bad.step_key
    );
end
$$;

comment on function dripdrop._check_recipients(uuid[], jsonb) is
  'Raises ZD205 on the first of new enrolments that its first step cannot reach.';
