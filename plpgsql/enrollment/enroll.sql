-- Enrolling twice is safe: the second call returns the first enrolment, also when both run at once.
-- They meet at the unique index; the loser waits there for the winner to commit or roll back.
--
-- locks   key share on the sequence and the version, then the enrolment's unique index
-- raises  ZD101 unknown sequence, ZD102 no active version, ZD104 unknown starting step, ZD201 bad
--         argument, ZD204 unknown time zone, ZD205 no usable recipient, ZD301 enrolled before,
--         ZD302 sequence switched off
create or replace function dripdrop.enroll(
  tenant_key text,
  sequence text,
  subscriber_type text,
  subscriber_id text,
  data jsonb default '{}',
  entry_key text default '',
  metadata jsonb default '{}',
  starting_step text default null
)
returns dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments;
begin
  select e.* into v_enrollment
  from dripdrop._enroll(
    enroll.tenant_key,
    enroll.sequence,
    enroll.starting_step,
    jsonb_build_array(jsonb_build_object(
      'subscriber_type', enroll.subscriber_type,
      'subscriber_id', enroll.subscriber_id,
      'data', enroll.data,
      'entry_key', enroll.entry_key,
      'metadata', enroll.metadata
    ))
  ) as e;
  if v_enrollment.id is not null then
    return v_enrollment;
  end if;
  if exists (
    select from dripdrop.sequences as q
    where q.tenant_key is not distinct from enroll.tenant_key
      and q.key = enroll.sequence
      and dripdrop._may_enter(
        q, enroll.subscriber_type, enroll.subscriber_id, enroll.entry_key, dripdrop._now()
      )
  ) then
    raise exception 'an enrolment ended at this moment' using
      errcode = '40001', hint = 'Run the transaction again.';
  end if;
  raise exception '% "%" was enrolled in % before and may not enter now',
    subscriber_type, subscriber_id, dripdrop._quoted(sequence) using
    errcode = 'ZD301',
    hint = 'The sequence''s reentry and reentry_interval say when: never allows one enrolment per '
      'entry_key, after_exit another one when all have ended, always one per entry_key at a time.';
end
$$;

comment on function dripdrop.enroll(text, text, text, text, jsonb, text, jsonb, text) is
  'Enrols a subscriber and schedules the first step, in the caller''s transaction; returns the '
  'open enrolment if there is one. subscriber_type, subscriber_id and entry_key: at most 500 bytes '
  'each.';

-- For imports: one statement for all of them. The subscribers come as a list or from a query:
-- (select jsonb_agg(jsonb_build_object('subscriber_id', u.id, 'data', to_jsonb(u)))
-- from users as u).
-- A bad element fails the call and names its place;
-- one that was enrolled before and may not return is left out.
--
-- locks, raises  as enroll(), but never ZD301
create or replace function dripdrop.enroll_many(tenant_key text, sequence text, subscribers jsonb)
returns setof dripdrop.enrollments
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from dripdrop._enroll(
    enroll_many.tenant_key, enroll_many.sequence, null, enroll_many.subscribers
  ) as e
$$;

comment on function dripdrop.enroll_many(text, text, jsonb) is
  'Enrols a list of {subscriber_id, subscriber_type = User, data, entry_key, metadata}; returns '
  'their open enrolments.';

-- What the sequence's reentry says, apart from an open enrolment of the same entry, which enroll()
-- returns: never, not if the entry has been; after_exit, not while another one is open; always,
-- whatever else is open. No entry begins within reentry_interval of the start of a former one.
create or replace function dripdrop._may_enter(
  sequence dripdrop.sequences,
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  at timestamptz
)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select not exists (
    select
    from dripdrop._enrollments_of(_may_enter.subscriber_type, _may_enter.subscriber_id) as e
    where e.sequence_id = sequence.id
      and case
        when e.state in ('active', 'paused')
        then sequence.reentry = 'after_exit' and e.entry_key <> _may_enter.entry_key
        when sequence.reentry = 'never' then e.entry_key = _may_enter.entry_key
        else
          (e.entry_key = _may_enter.entry_key or sequence.reentry = 'after_exit')
          and e.started_at > _may_enter.at - sequence.reentry_interval
      end
  )
$$;

comment on function dripdrop._may_enter(dripdrop.sequences, text, text, text, timestamptz) is
  'Whether the sequence''s rules of re-entry let a subscriber in.';

create or replace function dripdrop._enroll(
  tenant_key text,
  sequence text,
  starting_step text,
  subscribers jsonb
)
returns setof dripdrop.enrollments
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_sequence dripdrop.sequences;
  v_version dripdrop.sequence_versions;
  v_first uuid;
  v_fault record;
  v_enrolled uuid[];
begin
  perform dripdrop._check_json_list(subscribers, 'subscribers');
  perform dripdrop._check_tenant_key(tenant_key);
  select q.* into v_sequence
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from _enroll.tenant_key and q.key = _enroll.sequence
  for key share;
  if not found then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  if not v_sequence.active then
    raise exception 'sequence % is switched off', dripdrop._quoted(sequence) using
      errcode = 'ZD302', hint = 'Its column active is false.';
  end if;
  select v.* into v_version
  from dripdrop.sequence_versions as v
  where v.sequence_id = v_sequence.id and v.state = 'active'
  for key share;
  if not found then
    raise exception 'sequence % has no active version', dripdrop._quoted(sequence) using
      errcode = 'ZD102', hint = 'activate_sequence_version() makes one active.';
  end if;
  select s.id into v_first
  from dripdrop.steps as s
  where s.sequence_version_id = v_version.id
    and s.active
    and not s.recurring
    and s.key = _enroll.starting_step;
  if not found and _enroll.starting_step is not null then
    raise exception 'sequence % has no active step % to start with',
      dripdrop._quoted(sequence), dripdrop._quoted(starting_step) using
      errcode = 'ZD104', hint = 'starting_step is the key of a step of the active version.';
  end if;

  if jsonb_typeof(subscribers) is distinct from 'array' then
    raise exception 'subscribers is not a list' using
      errcode = 'ZD201', column = 'subscribers',
      hint = 'Pass [{"subscriber_id": …, "data": {…}}, …].';
  end if;
  -- All elements are looked at in one pass; the first fault is the one reported.
  select s.place, fault.* into v_fault
  from jsonb_array_elements(subscribers) with ordinality as s (subscriber, place)
  cross join lateral (
    values
    (
      'ZD201', 'subscriber_id',
      coalesce(s.subscriber ->> 'subscriber_id', '') = ''
      or s.subscriber ? 'subscriber_type'
      and coalesce(s.subscriber ->> 'subscriber_type', '') = '',
      'a subscriber needs a type and an id',
      'For example subscriber_type => ''User'', subscriber_id => ''42''.'
    ),
    (
      'ZD201', 'data',
      jsonb_typeof(coalesce(s.subscriber -> 'data', '{}')) <> 'object',
      'data is not an object',
      'Pass an object, for example ''{"email": "sam@example.com"}''.'
    ),
    (
      'ZD201', 'metadata',
      jsonb_typeof(coalesce(s.subscriber -> 'metadata', '{}')) not in ('object', 'null'),
      'metadata is not an object',
      'Pass an object, for example ''{"campaign": "spring"}''.'
    ),
    (
      'ZD204', 'data.time_zone',
      case
        when dripdrop._own_time_zone(s.subscriber -> 'data') is not null
        then not dripdrop._is_time_zone(dripdrop._own_time_zone(s.subscriber -> 'data'))
      end,
      format(
        'time zone %s is unknown',
        dripdrop._quoted(dripdrop._own_time_zone(s.subscriber -> 'data'))
      ),
      'Use a name from pg_timezone_names, for example Europe/Berlin.'
    )
    union all
    select
      'ZD201', f.name, octet_length(s.subscriber ->> f.name) > 500,
      f.name || ' is longer than 500 bytes', 'Pass what the application knows it by.'
    from unnest('{subscriber_type,subscriber_id,entry_key}'::text[]) as f (name)
  ) as fault (errcode, field, closed, message, hint)
  where fault.closed
  order by s.place
  limit 1;
  if found then
    raise exception '%', v_fault.message using
      errcode = v_fault.errcode, column = v_fault.field, hint = v_fault.hint,
      detail = format('Element %s of the subscribers.', v_fault.place);
  end if;

  with
  candidate as (
    select
      coalesce(s.subscriber_type, 'User') as subscriber_type,
      s.subscriber_id,
      coalesce(s.entry_key, '') as entry_key,
      coalesce(s.data, '{}') as data,
      coalesce(s.metadata, '{}') as metadata,
      v_sequence.reentry = 'after_exit'
      and row_number() over (
        partition by coalesce(s.subscriber_type, 'User'), s.subscriber_id order by s.entry_key
      ) > 1 as is_second
    from jsonb_to_recordset(subscribers) as s (
      subscriber_type text, subscriber_id text, entry_key text, data jsonb, metadata jsonb
    )
  ),
  enrolled as (
    insert into dripdrop.enrollments as n (
      tenant_key, sequence_id, sequence_version_id, subscriber_type, subscriber_id, entry_key,
      alone, effective_mode, data, metadata, started_at
    )
    select
      v_sequence.tenant_key, v_sequence.id, v_version.id, c.subscriber_type, c.subscriber_id,
      c.entry_key, v_sequence.reentry = 'after_exit', v_version.mode, c.data, c.metadata, v_now
    from candidate as c
    where not c.is_second
      and dripdrop._may_enter(v_sequence, c.subscriber_type, c.subscriber_id, c.entry_key, v_now)
    order by c.subscriber_type, c.subscriber_id, c.entry_key
    on conflict do nothing
    returning n.id
  )
  select array_agg(e.id) into v_enrolled
  from enrolled as e;

  -- An enrolment that ended while the insert waited for it was still open when we looked.
  if v_sequence.reentry = 'never' and exists (
    select
    from dripdrop.enrollments as n
    cross join lateral dripdrop._enrollments_of(n.subscriber_type, n.subscriber_id) as e
    where n.id = any (v_enrolled)
      and e.sequence_id = n.sequence_id
      and e.entry_key = n.entry_key
      and e.state in ('completed', 'cancelled')
  ) then
    raise exception 'an enrolment ended at this moment' using
      errcode = '40001', hint = 'Run the transaction again.';
  end if;

  perform dripdrop._begin(v_version.id, v_enrolled, v_first, v_now);
  select place.number, x.channel, s.key, s.config into v_fault
  from dripdrop.step_executions as x
  join dripdrop.steps as s on s.id = x.step_id and not s.recurring
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  cross join lateral (
    select p.number
    from jsonb_array_elements(subscribers) with ordinality as p (subscriber, number)
    where p.subscriber ->> 'subscriber_id' = e.subscriber_id
      and coalesce(p.subscriber ->> 'subscriber_type', 'User') = e.subscriber_type
      and coalesce(p.subscriber ->> 'entry_key', '') = e.entry_key
    order by p.number
    limit 1
  ) as place
  where x.enrollment_id = any (v_enrolled)
    and not dripdrop._is_recipient(
      x.channel, dripdrop._recipient(x.channel, s.config, e.data)
    )
  order by place.number
  limit 1;
  if found then
    raise exception 'data holds no usable recipient for %', v_fault.channel using
      errcode = 'ZD205', column = 'data',
      detail = format('Element %s of the subscribers.', v_fault.number),
      hint = format(
        'data.%s must be an address the channel of step "%s" can use.',
        coalesce(v_fault.config ->> 'recipient_key', v_fault.channel), v_fault.key
      );
  end if;

  return query
  select (e.enrollment).*
  from jsonb_to_recordset(subscribers) as s (
    subscriber_type text, subscriber_id text, entry_key text
  )
  cross join lateral dripdrop._enrollments_of(
    coalesce(s.subscriber_type, 'User'), s.subscriber_id
  ) as e
  where e.entry_key = coalesce(s.entry_key, '')
    and e.sequence_id = v_sequence.id
    and (e.state in ('active', 'paused') or e.id = any (v_enrolled));
end
$$;

comment on function dripdrop._enroll(text, text, text, jsonb) is
  'The one way in: enrols those who are not, and returns the open enrolments of all of them, and '
  'those whose way in was the way out.';
