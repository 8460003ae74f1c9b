-- Enrolling twice is safe: the second call returns the first enrolment, also when both run at once.
-- They meet at the unique index; the loser waits there for the winner to commit or roll back.
--
-- locks   key share on the sequence and the version, then the enrolment's unique index, then the
--         executions that it makes
-- raises  ZD101 unknown sequence, ZD102 no active version, ZD104 unknown starting step, ZD201 bad
--         argument, ZD119 unknown event, ZD204 unknown time zone, ZD205 no usable recipient,
--         ZD301 enrolled before, ZD302 sequence switched off
create or replace function dripdrop.enroll(
  tenant_key text,
  sequence text,
  subscriber_type text,
  subscriber_id text,
  data jsonb default '{}',
  entry_key text default '',
  metadata jsonb default '{}',
  starting_step text default null,
  event_id text default null
)
returns dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_entry record;
  v_fault text;
  v_enrollment dripdrop.enrollments;
begin
  if not (dripdrop._is_plain(data) and dripdrop._is_plain(metadata)) then
    perform dripdrop._check_json_list(
      jsonb_build_array(jsonb_build_object('data', data, 'metadata', metadata)), 'subscribers'
    );
  end if;
  select e.* into v_entry from dripdrop._open_sequence(tenant_key, sequence, starting_step) as e;
  entry_key := coalesce(entry_key, '');
  metadata := coalesce(nullif(metadata, 'null'), '{}');
  v_fault := dripdrop._subscriber_fault(subscriber_type, subscriber_id, entry_key, data, metadata);
  if v_fault is not null then
    perform dripdrop._refuse_subscriber(v_fault, data, 1);
  end if;

  insert into dripdrop.enrollments as n (
    tenant_key, sequence_id, sequence_version_id, subscriber_type, subscriber_id, entry_key,
    alone, effective_mode, data, metadata, started_at, inserted_at, updated_at, event_id
  )
  select
    enroll.tenant_key, v_entry.sequence_id, v_entry.version_id, enroll.subscriber_type,
    enroll.subscriber_id, enroll.entry_key, v_entry.reentry = 'after_exit', v_entry.mode,
    enroll.data, enroll.metadata, v_now, v_now, v_now,
    case
      when enroll.event_id is not null
      then dripdrop._event_of(
        enroll.tenant_key, enroll.subscriber_type, enroll.subscriber_id, enroll.event_id
      )
    end
  where not exists (
    select from dripdrop._barring_enrollments(
      v_entry.sequence_id, v_entry.reentry, v_entry.reentry_interval, enroll.subscriber_type,
      enroll.subscriber_id, enroll.entry_key, v_now
    )
  )
  on conflict do nothing
  returning n.* into v_enrollment;
  if not found then
    return dripdrop._open_enrollment(
      v_entry.sequence_id, sequence, subscriber_type, subscriber_id, entry_key
    );
  end if;
  if v_entry.reentry = 'never' then
    perform dripdrop._check_not_ended(array[v_enrollment.id]);
  end if;
  if not dripdrop._plan_plain_step(v_enrollment, v_entry.first_step, v_now) then
    perform dripdrop._plan_first(
      v_entry.version_id, array[v_enrollment.id], v_entry.first_step, v_now
    );
    perform dripdrop._check_recipients(
      array[v_enrollment.id],
      jsonb_build_array(jsonb_build_object(
        'subscriber_type', subscriber_type, 'subscriber_id', subscriber_id, 'entry_key', entry_key
      ))
    );
    -- The way in may have been the way out.
    select e.* into v_enrollment from dripdrop.enrollments as e where e.id = v_enrollment.id;
  end if;
  return v_enrollment;
end
$$;

comment on function dripdrop.enroll(text, text, text, text, jsonb, text, jsonb, text, text) is
  'Enrols a subscriber and schedules the first step, in the caller''s transaction; returns the '
  'open enrolment if there is one. subscriber_type, subscriber_id and entry_key: at most 500 bytes '
  'each. event_id: the event that sets it off, as track_event() was given it, or the id that was '
  'made; of other events only those count that are tracked later.';

-- For triggers, whose ids are numbers and uuids: without a cast in every call.
create or replace function dripdrop.enroll(
  tenant_key text,
  sequence text,
  subscriber_type text,
  subscriber_id anyelement,
  data jsonb default '{}',
  entry_key anycompatible default null,
  metadata jsonb default '{}',
  starting_step text default null,
  event_id text default null
)
returns dripdrop.enrollments
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from dripdrop.enroll(
    enroll.tenant_key, enroll.sequence, enroll.subscriber_type, enroll.subscriber_id::text,
    enroll.data, enroll.entry_key::text, enroll.metadata, enroll.starting_step, enroll.event_id
  ) as e
$$;

comment on function dripdrop.enroll(
  text, text, text, anyelement, jsonb, anycompatible, jsonb, text, text
) is
  'The same for ids that are no texts, such as a bigint or a uuid.';

-- For imports: few statements for all of them. The subscribers come as a list or from a query:
-- (select jsonb_agg(jsonb_build_object('subscriber_id', u.id, 'data', to_jsonb(u)))
-- from users as u).
-- A bad element fails the call and names its place;
-- one that was enrolled before and may not return is left out.
--
-- locks, raises  as enroll(), but never ZD301
create or replace function dripdrop.enroll_many(tenant_key text, sequence text, subscribers jsonb)
returns setof dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entry record;
  v_enrolled uuid[];
begin
  perform dripdrop._check_json_list(subscribers, 'subscribers');
  select e.* into v_entry from dripdrop._open_sequence(tenant_key, sequence, null) as e;
  perform dripdrop._check_subscribers(subscribers);
  v_enrolled := dripdrop._enroll_all(
    tenant_key, v_entry.sequence_id, v_entry.version_id, v_entry.mode, v_entry.reentry,
    v_entry.reentry_interval, subscribers
  );
  perform dripdrop._check_recipients(v_enrolled, subscribers);

  return query
  select (e.enrollment).*
  from jsonb_to_recordset(subscribers) as s (
    subscriber_type text, subscriber_id text, entry_key text
  )
  cross join lateral dripdrop._enrollments_of(
    coalesce(s.subscriber_type, 'User'), s.subscriber_id
  ) as e
  where e.entry_key = coalesce(s.entry_key, '')
    and e.sequence_id = v_entry.sequence_id
    and (e.state in ('active', 'paused') or e.id = any (v_enrolled));
end
$$;

comment on function dripdrop.enroll_many(text, text, jsonb) is
  'Enrols a list of {subscriber_id, subscriber_type = User, data, entry_key, metadata, event_id}; '
  'returns their open enrolments.';

-- locks   the enrolments' unique index, then the executions that it makes
-- raises  40001 an enrolment ended at this moment, ZD119 unknown event
create or replace function dripdrop._enroll_all(
  tenant_key text,
  sequence_id uuid,
  version_id uuid,
  mode text,
  reentry text,
  reentry_interval interval,
  subscribers jsonb
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrolled uuid[];
begin
  with
  candidate as (
    select
      coalesce(s.subscriber_type, 'User') as subscriber_type,
      s.subscriber_id,
      coalesce(s.entry_key, '') as entry_key,
      coalesce(s.data, '{}') as data,
      coalesce(s.metadata, '{}') as metadata,
      case
        when s.event_id is not null
        then dripdrop._event_of(
          _enroll_all.tenant_key, coalesce(s.subscriber_type, 'User'), s.subscriber_id, s.event_id
        )
      end as event_id,
      _enroll_all.reentry = 'after_exit'
      and row_number() over (
        partition by coalesce(s.subscriber_type, 'User'), s.subscriber_id order by s.entry_key
      ) > 1 as is_second
    from jsonb_to_recordset(subscribers) as s (
      subscriber_type text, subscriber_id text, entry_key text, data jsonb, metadata jsonb,
      event_id text
    )
  ),
  enrolled as (
    insert into dripdrop.enrollments as n (
      tenant_key, sequence_id, sequence_version_id, subscriber_type, subscriber_id, entry_key,
      alone, effective_mode, data, metadata, started_at, inserted_at, updated_at, event_id
    )
    select
      _enroll_all.tenant_key, _enroll_all.sequence_id, _enroll_all.version_id, c.subscriber_type,
      c.subscriber_id, c.entry_key, _enroll_all.reentry = 'after_exit', _enroll_all.mode, c.data,
      c.metadata, v_now, v_now, v_now, c.event_id
    from candidate as c
    where not c.is_second
      and not exists (
        select from dripdrop._barring_enrollments(
          _enroll_all.sequence_id, _enroll_all.reentry, _enroll_all.reentry_interval,
          c.subscriber_type, c.subscriber_id, c.entry_key, v_now
        )
      )
    order by c.subscriber_type, c.subscriber_id, c.entry_key
    on conflict do nothing
    returning n.id
  )
  select coalesce(array_agg(e.id), '{}') into v_enrolled
  from enrolled as e;
  if cardinality(v_enrolled) > 0 then
    if reentry = 'never' then
      perform dripdrop._check_not_ended(v_enrolled);
    end if;
    perform dripdrop._plan_first(version_id, v_enrolled, null, v_now);
  end if;
  return v_enrolled;
end
$$;

comment on function dripdrop._enroll_all(
  text, uuid, uuid, text, text, interval, jsonb
) is 'Enrols those of a list of subscribers who may enter, and plans their first steps.';
