create or replace function dripdrop._first_step(sequence_version_id uuid)
returns uuid
language sql
stable
parallel safe
return (
  select s.id
  from dripdrop.steps as s
  where s.sequence_version_id = _first_step.sequence_version_id
    and s.position is not null
    and s.active
    and not s.recurring
  order by s.position
  limit 1
);

comment on function dripdrop._first_step(uuid) is
  'The first active step of a version by position, or null.';

-- Where enrolments begin: at the step that is named, where the first entry transition that matches
-- leads, or at the first step by position; and the side steps that keep a schedule.
--
-- locks   nothing new: callers hold the enrolments
create or replace function dripdrop._plan_first(
  sequence_version_id uuid,
  enrollments uuid[],
  starting_step uuid,
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_first uuid;
  v_enrollments uuid[];
  v_steps uuid[];
  v_completed uuid[];
  v_unrouted uuid[];
begin
  if _plan_first.starting_step is null and exists (
    select from dripdrop.step_transitions as t
    where t.sequence_version_id = _plan_first.sequence_version_id and t.from_step_id is null
  ) then
    select
      array_agg(r.enrollment_id) filter (where r.step_id is not null),
      array_agg(r.step_id) filter (where r.step_id is not null),
      array_agg(r.enrollment_id) filter (where r.matched and r.step_id is null),
      array_agg(r.enrollment_id) filter (where not r.matched)
    into v_enrollments, v_steps, v_completed, v_unrouted
    from dripdrop._entry_routes(
      _plan_first.sequence_version_id, _plan_first.enrollments, _plan_first.at
    ) as r;
  else
    v_first := coalesce(
      _plan_first.starting_step, dripdrop._first_step(_plan_first.sequence_version_id)
    );
    if v_first is not null then
      v_enrollments := _plan_first.enrollments;
      v_steps := array_fill(v_first, array[cardinality(v_enrollments)]);
    end if;
  end if;
  if v_enrollments is not null then
    perform dripdrop._plan_steps(v_enrollments, v_steps, _plan_first.at);
  end if;

  select array_agg(e.id), array_agg(s.id) into v_enrollments, v_steps
  from dripdrop.steps as s
  cross join unnest(_plan_first.enrollments) as e (id)
  where s.sequence_version_id = _plan_first.sequence_version_id
    and s.recurring
    and s.timing ->> 'type' = 'cron'
    and s.active;
  if v_enrollments is not null then
    perform dripdrop._plan_steps(v_enrollments, v_steps, _plan_first.at);
  end if;

  if v_completed is not null then
    perform dripdrop._end_enrollments(v_completed, 'completed', 'completed', _plan_first.at);
  end if;
  if v_unrouted is not null then
    perform dripdrop._end_enrollments(v_unrouted, 'completed', 'no_transition', _plan_first.at);
  end if;
end
$$;

comment on function dripdrop._plan_first(uuid, uuid[], uuid, timestamptz) is
  'Plans the first steps of new enrolments.';

-- Most sequences begin with one step that is the same for everybody and waits for nothing but time.
create or replace function dripdrop._plain_entry(sequence_version_id uuid, starting_step uuid)
returns table (
  step_id uuid,
  tenant_key text,
  channel text,
  timing jsonb,
  config jsonb,
  time_zone text,
  address_form text,
  recipient_key text
)
language sql
stable
begin atomic
  select
    s.id,
    s.tenant_key,
    s.channel,
    s.timing,
    s.config,
    coalesce(q.time_zone, dripdrop._default_time_zone(q.tenant_key)),
    c.address_form,
    coalesce(s.config ->> 'recipient_key', c.recipient_key)
  from dripdrop.steps as s
  join dripdrop.channels as c on c.channel = s.channel
  join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
  join dripdrop.sequences as q on q.id = v.sequence_id
  where s.id = coalesce(
      _plain_entry.starting_step, dripdrop._first_step(_plain_entry.sequence_version_id)
    )
    and s.timing ->> 'trigger_event' is null
    and not exists (
      select from dripdrop.steps as n
      where n.sequence_version_id = _plain_entry.sequence_version_id
        and n.recurring
        and n.timing ->> 'type' = 'cron'
        and n.active
    )
    and (
      _plain_entry.starting_step is not null
      or not exists (
        select from dripdrop.step_transitions as t
        where t.sequence_version_id = _plain_entry.sequence_version_id and t.from_step_id is null
      )
    );
end;

comment on function dripdrop._plain_entry(uuid, uuid) is
  'The first step of every enrolment in a version, and whom it reaches by what; no row where '
  'transitions, events or schedules have a say.';

-- One person, by few scalar statements: starting up one that takes sets costs more than it does.
-- What these do not do is left to _plan_first(), and what they would refuse to its caller.
--
-- locks   nothing new: the caller has made the enrolment
create or replace function dripdrop._plan_plain_entry(
  enrollment dripdrop.enrollments,
  starting_step uuid,
  at timestamptz
)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_entry record;
  v_due_at timestamptz;
begin
  select e.* into v_entry
  from dripdrop._plain_entry(enrollment.sequence_version_id, starting_step) as e;
  if not found or not dripdrop._is_address(
    v_entry.address_form,
    dripdrop._address(v_entry.address_form, enrollment.data ->> v_entry.recipient_key)
  ) then
    return false;
  end if;
  v_due_at := dripdrop._next_time(
    v_entry.timing,
    dripdrop._time_zone(enrollment.data, v_entry.config, v_entry.time_zone),
    at,
    v_entry.tenant_key
  );
  insert into dripdrop.step_executions (
    tenant_key, enrollment_id, step_id, channel, scheduled_for, due_at, inserted_at, updated_at
  )
  values (
    v_entry.tenant_key, enrollment.id, v_entry.step_id, v_entry.channel, v_due_at, v_due_at, at, at
  );
  return true;
end
$$;

comment on function dripdrop._plan_plain_entry(dripdrop.enrollments, uuid, timestamptz) is
  'Plans the first step of a new enrolment where that is the same for everybody; false, and '
  'nothing is planned, where it is not or the data holds no address for it.';
