-- The legal moves of an enrolment, whoever makes them. Ended is ended, with one exception:
-- replaying the step whose failure ended it revives it.
create or replace function dripdrop._refuse_enrollment_move()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'an enrolment cannot go from % to %',
    dripdrop._quoted(old.state), dripdrop._quoted(new.state) using
    errcode = 'ZD110',
    hint = 'active: paused, completed, cancelled; paused: active, completed, cancelled; completed '
      'and cancelled have ended.';
end
$$;

comment on function dripdrop._refuse_enrollment_move() is
  'Trigger: raises ZD110 on an illegal move.';

create or replace trigger enrollments_legal_moves
before update of state on dripdrop.enrollments
for each row
when (
  old.state <> new.state
  and old.state || '>' || new.state <> all(
    '{
      active>paused, active>completed, active>cancelled,
      paused>active, paused>completed, paused>cancelled
    }'::text[]
  )
  and not (old.failed_execution_id is not null and new.state = 'active')
)
execute function dripdrop._refuse_enrollment_move();

-- raises  ZD105 unknown enrolment
create or replace function dripdrop._lock_enrollment(tenant_key text, enrollment_id uuid)
returns dripdrop.enrollments
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments;
begin
  select e.* into v_enrollment
  from dripdrop.enrollments as e
  where e.id = _lock_enrollment.enrollment_id
    and e.tenant_key is not distinct from _lock_enrollment.tenant_key
  for no key update;
  if not found then
    raise exception 'enrolment "%" not found', enrollment_id using
      errcode = 'ZD105', hint = 'Ids are looked up within the tenant that is named first.';
  end if;
  return v_enrollment;
end
$$;

comment on function dripdrop._lock_enrollment(text, uuid) is
  'An enrolment of the tenant, locked, or ZD105.';

-- Whoever stops a message touches its row, and so does the fence. Either the fence came first, and
-- the message has left; or this did, and claim_sends() finds the row changed.
-- There is no third order.
--
-- locks   the enrolment, then its executions
-- raises  ZD105 unknown enrolment, ZD110 not active
create or replace function dripdrop.pause_enrollment(tenant_key text, enrollment_id uuid)
returns dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrollment dripdrop.enrollments := dripdrop._lock_enrollment(tenant_key, enrollment_id);
begin
  if v_enrollment.state = 'paused' then
    return v_enrollment;
  end if;

  update dripdrop.enrollments as e
  set state = 'paused',
      paused_at = v_now,
      updated_at = v_now
  where e.id = v_enrollment.id
  returning e.* into v_enrollment;

  perform dripdrop._hold_for_enrollments(
    array(
      select x.id
      from dripdrop.step_executions as x
      where x.enrollment_id = v_enrollment.id
        and x.state in ('scheduled', 'queued', 'rendered')
      order by x.id
      for no key update
    ),
    v_now
  );

  perform dripdrop._wake_by_rival(array[v_enrollment.id], v_now);
  return v_enrollment;
end
$$;

comment on function dripdrop.pause_enrollment(text, uuid) is
  'Holds an enrolment: nothing that has not left yet leaves. Pausing twice is the same as once.';

-- One enrolment has one message to come, so there is no burst.
--
-- locks   the enrolment, then its executions
-- raises  ZD105 unknown enrolment, ZD110 it has ended
create or replace function dripdrop.resume_enrollment(tenant_key text, enrollment_id uuid)
returns dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_enrollment dripdrop.enrollments := dripdrop._lock_enrollment(tenant_key, enrollment_id);
begin
  if v_enrollment.state = 'active' then
    return v_enrollment;
  end if;
  if v_enrollment.state in ('completed', 'cancelled') then
    raise exception 'the enrolment has ended: %', v_enrollment.state using
      errcode = 'ZD110', hint = 'Enrol again, or replay the step whose failure ended it.';
  end if;

  update dripdrop.enrollments as e
  set state = 'active',
      updated_at = v_now
  where e.id = v_enrollment.id
  returning e.* into v_enrollment;

  perform dripdrop._wake_by_enrollment(v_enrollment, v_now);

  -- What was under way when it was paused has been recorded without going on.
  perform dripdrop._advance(dripdrop._last_ended(v_enrollment), v_now);

  select e.* into v_enrollment from dripdrop.enrollments as e where e.id = v_enrollment.id;
  return v_enrollment;
end
$$;

comment on function dripdrop.resume_enrollment(text, uuid) is
  'Lets a paused enrolment go on: remaining waits continue, overdue messages are due now, '
  'scheduled ones at their next time.';

create or replace function dripdrop._last_ended(enrollment dripdrop.enrollments)
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select last.id
    from (
      select distinct on (line.step_id) x.id, x.ended_at
      from dripdrop.step_executions as x
      join dripdrop.steps as s
        on s.id = x.step_id and s.sequence_version_id = enrollment.sequence_version_id
      cross join lateral (select case when s.recurring then s.id end as step_id) as line
      where x.enrollment_id = enrollment.id
      order by line.step_id, x.ended_at desc nulls first, x.id desc
    ) as last
    where last.ended_at is not null
  )
$$;

comment on function dripdrop._last_ended(dripdrop.enrollments) is
  'The last message on the path of an enrolment, and the last of each side step, those that are '
  'over.';

-- locks   the enrolment, then its executions
-- raises  ZD105 unknown enrolment, ZD110 it has ended
create or replace function dripdrop.unenroll(
  tenant_key text,
  enrollment_id uuid,
  reason text default 'unenrolled'
)
returns dripdrop.enrollments
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollment dripdrop.enrollments := dripdrop._lock_enrollment(tenant_key, enrollment_id);
begin
  perform dripdrop._check_text(reason, 'reason');
  if coalesce(reason, '') = '' then
    raise exception 'a reason is needed' using
      errcode = 'ZD201', column = 'reason', hint = 'Leave it out for "unenrolled".';
  end if;
  if v_enrollment.state in ('completed', 'cancelled') then
    raise exception 'the enrolment has ended: %', v_enrollment.state using
      errcode = 'ZD110', hint = 'Nothing is left to be sent; enrol again if that is meant.';
  end if;

  perform dripdrop._end_enrollments(array[v_enrollment.id], 'cancelled', reason, dripdrop._now());
  select e.* into v_enrollment from dripdrop.enrollments as e where e.id = v_enrollment.id;
  return v_enrollment;
end
$$;

comment on function dripdrop.unenroll(text, uuid, text) is
  'Ends an enrolment for good; what has not left does not leave.';

create or replace function dripdrop.get_enrollment(
  tenant_key text,
  sequence text,
  subscriber_type text,
  subscriber_id text,
  entry_key text default ''
)
returns setof dripdrop.enrollments
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from dripdrop.enrollments as e
  join dripdrop.sequences as q on q.id = e.sequence_id
  where q.tenant_key is not distinct from get_enrollment.tenant_key
    and q.key = get_enrollment.sequence
    and e.subscriber_type = get_enrollment.subscriber_type
    and e.subscriber_id = get_enrollment.subscriber_id
    and e.entry_key = get_enrollment.entry_key
  order by (e.state in ('active', 'paused')) desc, e.started_at desc, e.id desc
  limit 1
$$;

comment on function dripdrop.get_enrollment(text, text, text, text, text) is
  'A subscriber''s open enrolment in a sequence, else the latest one, else no row.';

create or replace function dripdrop.get_enrollment(
  tenant_key text,
  sequence text,
  subscriber_type text,
  subscriber_id anyelement,
  entry_key anycompatible default null
)
returns setof dripdrop.enrollments
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from dripdrop.get_enrollment(
    get_enrollment.tenant_key, get_enrollment.sequence, get_enrollment.subscriber_type,
    get_enrollment.subscriber_id::text, coalesce(get_enrollment.entry_key::text, '')
  ) as e
$$;

comment on function dripdrop.get_enrollment(text, text, text, anyelement, anycompatible) is
  'The same for ids that are no texts, such as a bigint or a uuid.';

create or replace function dripdrop.list_active_enrollments(
  tenant_key text,
  sequence text default null
)
returns setof dripdrop.enrollments
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from dripdrop.enrollments as e
  join dripdrop.sequences as q on q.id = e.sequence_id
  where q.tenant_key is not distinct from list_active_enrollments.tenant_key
    and (q.key = list_active_enrollments.sequence or list_active_enrollments.sequence is null)
    and e.state = 'active'
  order by e.started_at, e.id
$$;

comment on function dripdrop.list_active_enrollments(text, text) is
  'The active enrolments of a tenant, of one sequence or of all.';
