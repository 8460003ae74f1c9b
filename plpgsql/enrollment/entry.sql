-- locks   key share on the sequence and its active version
-- raises  ZD101 unknown sequence, ZD102 no active version, ZD104 unknown starting step,
--         ZD207 bad tenant key, ZD302 sequence switched off
create or replace function dripdrop._open_sequence(
  tenant_key text,
  sequence text,
  starting_step text,
  out sequence_id uuid,
  out reentry text,
  out reentry_interval interval,
  out version_id uuid,
  out mode text,
  out first_step uuid
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_active boolean;
begin
  perform dripdrop._check_tenant_key(tenant_key);
  select q.id, q.reentry, q.reentry_interval, q.active
  into sequence_id, reentry, reentry_interval, v_active
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from _open_sequence.tenant_key
    and q.key = _open_sequence.sequence
  for key share;
  if not found then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  if not v_active then
    raise exception 'sequence % is switched off', dripdrop._quoted(sequence) using
      errcode = 'ZD302', hint = 'Its column active is false.';
  end if;
  select v.id, v.mode into version_id, mode
  from dripdrop.sequence_versions as v
  where v.sequence_id = _open_sequence.sequence_id and v.state = 'active'
  for key share;
  if not found then
    raise exception 'sequence % has no active version', dripdrop._quoted(sequence) using
      errcode = 'ZD102', hint = 'activate_sequence_version() makes one active.';
  end if;
  if starting_step is not null then
    select s.id into first_step
    from dripdrop.steps as s
    where s.sequence_version_id = _open_sequence.version_id
      and s.active
      and not s.recurring
      and s.key = _open_sequence.starting_step;
    if not found then
      raise exception 'sequence % has no active step % to start with',
        dripdrop._quoted(sequence), dripdrop._quoted(starting_step) using
        errcode = 'ZD104', hint = 'starting_step is the key of a step of the active version.';
    end if;
  end if;
end
$$;

comment on function dripdrop._open_sequence(text, text, text) is
  'What enrolling in a sequence needs to know of it: its rules of re-entry, its active version and '
  'the step to start with, if one is named.';

-- What the sequence's reentry says, apart from an open enrolment of the same entry, which enroll()
-- returns: never, not if the entry has been; after_exit, not while another one is open; always,
-- whatever else is open. No entry begins within reentry_interval of the start of a former one.
create or replace function dripdrop._barring_enrollments(
  sequence_id uuid,
  reentry text,
  reentry_interval interval,
  subscriber_type text,
  subscriber_id text,
  entry_key text,
  at timestamptz
)
returns setof uuid
language sql
stable
begin atomic
  select e.id
  from dripdrop._enrollments_of(
    _barring_enrollments.subscriber_type, _barring_enrollments.subscriber_id
  ) as e
  where e.sequence_id = _barring_enrollments.sequence_id
    and case
      when e.state in ('active', 'paused')
      then
        _barring_enrollments.reentry = 'after_exit'
        and e.entry_key <> _barring_enrollments.entry_key
      when _barring_enrollments.reentry = 'never'
      then e.entry_key = _barring_enrollments.entry_key
      else
        (
          e.entry_key = _barring_enrollments.entry_key
          or _barring_enrollments.reentry = 'after_exit'
        )
        and e.started_at > _barring_enrollments.at - _barring_enrollments.reentry_interval
    end;
end;

comment on function dripdrop._barring_enrollments(
  uuid, text, interval, text, text, text, timestamptz
) is
  'The enrolments of a subscriber that keep it from entering a sequence.';

-- raises  40001 it may enter after all, ZD301 enrolled before
create or replace function dripdrop._open_enrollment(
  sequence_id uuid,
  sequence text,
  subscriber_type text,
  subscriber_id text,
  entry_key text
)
returns dripdrop.enrollments
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments;
begin
  select (e.enrollment).* into v_enrollment
  from dripdrop._enrollments_of(
    _open_enrollment.subscriber_type, _open_enrollment.subscriber_id
  ) as e
  where e.sequence_id = _open_enrollment.sequence_id
    and e.entry_key = _open_enrollment.entry_key
    and e.state in ('active', 'paused');
  if found then
    return v_enrollment;
  end if;
  if not exists (
    select
    from dripdrop.sequences as q
    cross join lateral dripdrop._barring_enrollments(
      q.id, q.reentry, q.reentry_interval, _open_enrollment.subscriber_type,
      _open_enrollment.subscriber_id, _open_enrollment.entry_key, dripdrop._now()
    )
    where q.id = _open_enrollment.sequence_id
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

comment on function dripdrop._open_enrollment(uuid, text, text, text, text) is
  'The open enrolment of an entry that could not be made, or the reason why there is none.';

-- An enrolment that ended while an insert waited for it was still open when enroll() looked.
--
-- raises  40001
create or replace function dripdrop._check_not_ended(enrollments uuid[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select
    from dripdrop.enrollments as n
    cross join lateral dripdrop._enrollments_of(n.subscriber_type, n.subscriber_id) as e
    where n.id = any (_check_not_ended.enrollments)
      and e.sequence_id = n.sequence_id
      and e.entry_key = n.entry_key
      and e.state in ('completed', 'cancelled')
  ) then
    raise exception 'an enrolment ended at this moment' using
      errcode = '40001', hint = 'Run the transaction again.';
  end if;
end
$$;

comment on function dripdrop._check_not_ended(uuid[]) is
  'Raises 40001 if one of these entries has been before.';

create or replace function dripdrop._find_event(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  event_id text
)
returns uuid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select v.id
  from dripdrop.events as v
  where v.subscriber_type = _find_event.subscriber_type
    and v.subscriber_id = _find_event.subscriber_id
    and v.tenant_key is not distinct from _find_event.tenant_key
    and (
      v.event_id = _find_event.event_id
      or (v.event_id is distinct from _find_event.event_id and v.id::text = _find_event.event_id)
    )
  order by v.event_id = _find_event.event_id desc nulls last
  limit 1
$$;

comment on function dripdrop._find_event(text, text, text, text) is
  'An event of a subscriber by the application''s id or ours, or null.';

-- raises  ZD119
create or replace function dripdrop._event_of(
  tenant_key text,
  subscriber_type text,
  subscriber_id text,
  event_id text
)
returns uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id uuid := dripdrop._find_event(tenant_key, subscriber_type, subscriber_id, event_id);
begin
  if v_id is null then
    raise exception 'event % of % % not found',
      dripdrop._quoted(event_id), subscriber_type, dripdrop._quoted(subscriber_id) using
      errcode = 'ZD119', column = 'event_id',
      hint = 'Call track_event() first, for this subscriber, and pass the event_id that it was '
        'given, or the id that it returned.';
  end if;
  return v_id;
end
$$;

comment on function dripdrop._event_of(text, text, text, text) is
  'The event of a subscriber that is to set an enrolment off, by the application''s id or ours.';
