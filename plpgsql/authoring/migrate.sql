-- raises  ZD101 unknown sequence, ZD103 unknown version, ZD104 unknown step in step_map,
--         ZD110 to_version is a draft, ZD201 bad argument
create or replace function dripdrop.migrate_preview(
  tenant_key text,
  sequence text,
  from_version int,
  to_version int,
  step_map jsonb default '{}'
)
returns table (step_key text, to_step_key text, moved bigint, skipped bigint, blocked bigint)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_migration dripdrop._migration := dripdrop._check_migration(
    tenant_key, sequence, from_version, to_version, step_map
  );
begin
  return query
  select
    m.step_key,
    m.to_step_key,
    count(*) filter (where m.verdict = 'moved'),
    count(*) filter (where m.verdict = 'skipped'),
    count(*) filter (where m.verdict = 'blocked')
  from dripdrop._migrating(v_migration) as m
  group by m.step_key, m.to_step_key, m.position
  order by m.position, m.step_key;
end
$$;

comment on function dripdrop.migrate_preview(text, text, int, int, jsonb) is
  'How many people migrate_enrollments() would move, leave for good (skipped: their step is gone) '
  'and leave for now (blocked: a message is under way), by the step they are at.';

-- locks   the sequence, then its open enrolments there, then their executions
create or replace function dripdrop._lock_migrating(migration dripdrop._migration)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_enrollments uuid[];
begin
  perform from dripdrop.sequences as q where q.id = (migration).sequence_id for no key update;
  v_enrollments := array(
    select e.id
    from dripdrop.enrollments as e
    where e.sequence_id = (migration).sequence_id
      and e.sequence_version_id = (migration).from_version_id
      and e.state in ('active', 'paused')
    order by e.id
    for no key update
  );
  perform from dripdrop.step_executions as x
  where x.enrollment_id = any (v_enrollments) and x.ended_at is null
  order by x.id
  for no key update;
  return array(
    select m.enrollment_id
    from dripdrop._migrating(migration) as m
    -- One that has been reopened meanwhile is not held, and stays where it is.
    where m.verdict = 'moved' and m.enrollment_id = any (v_enrollments)
    order by m.enrollment_id
  );
end
$$;

comment on function dripdrop._lock_migrating(dripdrop._migration) is
  'The enrolments that a migration moves, held with their executions.';

-- Everybody whose step is in the other version too goes there, and waits there as long as before.
-- What was rendered is rendered again, in the words of the other version.
--
-- locks   the sequence, then its open enrolments there, then their executions
-- raises  as migrate_preview()
create or replace function dripdrop.migrate_enrollments(
  tenant_key text,
  sequence text,
  from_version int,
  to_version int,
  step_map jsonb default '{}'
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_migration dripdrop._migration := dripdrop._check_migration(
    tenant_key, sequence, from_version, to_version, step_map
  );
  v_enrollments uuid[] := dripdrop._lock_migrating(v_migration);
begin
  update dripdrop.enrollments as e
  set sequence_version_id = v_migration.to_version_id,
      effective_mode = v_migration.mode,
      adapter_id = case when v_migration.mode = 'outbound' then e.adapter_id end,
      updated_at = v_now
  where e.id = any (v_enrollments);

  -- A side step that the other version does not have is over.
  perform dripdrop._cancel_executions(
    array(
      select x.id
      from dripdrop._counterparts(v_migration) as c
      join dripdrop.step_executions as x on x.step_id = c.step_id
      where x.enrollment_id = any (v_enrollments)
        and x.ended_at is null
        and c.to_step_id is null
    ),
    'migrated',
    v_now
  );

  perform dripdrop._move_executions(v_migration, v_enrollments, v_now);
  perform dripdrop._begin_schedules(v_enrollments, v_now);
  return cardinality(v_enrollments);
end
$$;

comment on function dripdrop.migrate_enrollments(text, text, int, int, jsonb) is
  'Moves the open enrolments of a version to another one, step by step of the same key or as '
  'step_map {"old key": "new key"} says; returns how many.';

-- What was rendered is rendered again, with the words and the sender of its step there.
--
-- locks   nothing new: callers hold the enrolments and their executions
create or replace function dripdrop._move_executions(
  migration dripdrop._migration,
  enrollments uuid[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform dripdrop._make_due(
    array(
      select x.id
      from dripdrop.step_executions as x
      where x.enrollment_id = any (_move_executions.enrollments)
        and x.state in ('queued', 'rendered')
    ),
    at,
    'migrated'
  );
  update dripdrop.step_executions as x
  set step_id = moved.to_step_id,
      occurrence = moved.occurrence,
      channel = moved.channel,
      adapter_id = null,
      recipient = null,
      payload = null,
      updated_at = at
  from (
    select
      o.id,
      c.to_step_id,
      c.channel,
      row_number() over (partition by o.enrollment_id, c.to_step_id order by o.id) - 1
      + coalesce(
        (
          select max(former.occurrence) + 1
          from dripdrop.step_executions as former
          where former.enrollment_id = o.enrollment_id and former.step_id = c.to_step_id
        ),
        0
      ) as occurrence
    from dripdrop.step_executions as o
    join dripdrop._counterparts(_move_executions.migration) as c on c.step_id = o.step_id
    where o.enrollment_id = any (_move_executions.enrollments)
      and o.ended_at is null
      and c.to_step_id is not null
  ) as moved
  where x.id = moved.id;
end
$$;

comment on function dripdrop._move_executions(dripdrop._migration, uuid[], timestamptz) is
  'Moves the open messages of enrolments to the steps of the version they migrate to.';

create or replace function dripdrop._begin_schedules(enrollments uuid[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new record;
begin
  select array_agg(e.id) as enrollments, array_agg(s.id) as steps into v_new
  from dripdrop.enrollments as e
  join dripdrop.steps as s on s.sequence_version_id = e.sequence_version_id
  where e.id = any (_begin_schedules.enrollments)
    and s.active
    and s.recurring
    and s.timing ->> 'type' in ('cron', 'interval')
    and not exists (
      select from dripdrop.step_executions as x
      where x.enrollment_id = e.id and x.step_id = s.id and x.ended_at is null
    );
  if v_new.steps is not null then
    perform dripdrop._plan_steps(v_new.enrollments, v_new.steps, at);
    perform dripdrop._hold_for_enrollments(
      array(
        select x.id
        from dripdrop.step_executions as x
        join dripdrop.enrollments as e on e.id = x.enrollment_id
        where e.state = 'paused'
          and x.enrollment_id = any (v_new.enrollments)
          and x.step_id = any (v_new.steps)
          and x.due_at is not null
      ),
      at
    );
  end if;
end
$$;

comment on function dripdrop._begin_schedules(uuid[], timestamptz) is
  'Plans the side steps with a schedule that enrolments do not have yet in their version.';

-- raises  ZD103, with the field in the diagnostics' column field
create or replace function dripdrop._numbered_version(sequence_id uuid, version int, field text)
returns dripdrop.sequence_versions
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_version dripdrop.sequence_versions;
begin
  select v.* into v_version
  from dripdrop.sequence_versions as v
  where v.sequence_id = _numbered_version.sequence_id and v.version = _numbered_version.version;
  if not found then
    raise exception 'version % not found', version using
      errcode = 'ZD103', column = _numbered_version.field, hint = 'Versions count from 1.';
  end if;
  return v_version;
end
$$;

comment on function dripdrop._numbered_version(uuid, int, text) is
  'A version of a sequence by its number.';

-- raises  ZD104, ZD201
create or replace function dripdrop._check_step_map(
  step_map jsonb,
  from_version dripdrop.sequence_versions,
  to_version dripdrop.sequence_versions
)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault text;
begin
  if jsonb_typeof(step_map) is distinct from 'object'
    or step_map @? 'strict $.* ? (@.type() != "string")'
  then
    raise exception 'step_map does not map steps to steps' using
      errcode = 'ZD201', column = 'step_map', hint = 'Write {"old key": "new key"}.';
  end if;
  select m.key into v_fault
  from jsonb_each_text(step_map) as m
  where not exists (
      select from dripdrop.steps as s
      where s.sequence_version_id = (from_version).id and s.key = m.key
    )
    or not exists (
      select from dripdrop.steps as s
      where s.sequence_version_id = (to_version).id and s.key = m.value
    );
  if v_fault is not null then
    raise exception 'step_map: no step % in version %, or no % in version %',
      dripdrop._quoted(v_fault), (from_version).version,
      dripdrop._quoted(step_map ->> v_fault), (to_version).version using
      errcode = 'ZD104', column = 'step_map.' || v_fault,
      hint = 'Left is the key of a step of from_version, right of one of to_version.';
  end if;
end
$$;

comment on function dripdrop._check_step_map(
  jsonb, dripdrop.sequence_versions, dripdrop.sequence_versions
) is
  'Raises on what does not map steps of one version to steps of another.';

-- raises  ZD101, ZD103, ZD104, ZD110, ZD201
create or replace function dripdrop._check_migration(
  tenant_key text,
  sequence text,
  from_version int,
  to_version int,
  step_map jsonb
)
returns dripdrop._migration
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequence_id uuid;
  v_from dripdrop.sequence_versions;
  v_to dripdrop.sequence_versions;
begin
  perform dripdrop._check_json(step_map, 'step_map');
  select q.id into v_sequence_id
  from dripdrop.sequences as q
  where q.tenant_key is not distinct from _check_migration.tenant_key
    and q.key = _check_migration.sequence;
  if not found then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  v_from := dripdrop._numbered_version(v_sequence_id, from_version, 'from_version');
  v_to := dripdrop._numbered_version(v_sequence_id, to_version, 'to_version');
  if v_to.id = v_from.id then
    raise exception 'from_version and to_version are the same' using
      errcode = 'ZD201', column = 'to_version', hint = 'Name two versions of the sequence.';
  end if;
  if v_to.state = 'draft' then
    raise exception 'version % is a draft', to_version using
      errcode = 'ZD110', column = 'to_version',
      hint = 'activate_sequence_version() checks it first.';
  end if;
  perform dripdrop._check_step_map(step_map, v_from, v_to);
  return (v_sequence_id, v_from.id, v_to.id, v_to.mode, step_map)::dripdrop._migration;
end
$$;

comment on function dripdrop._check_migration(text, text, int, int, jsonb) is
  'The arguments of a migration, checked.';

-- A side step stays a side step: what is on the way never becomes one, nor the other way about.
create or replace function dripdrop._counterparts(migration dripdrop._migration)
returns table (step_id uuid, to_step_id uuid, channel text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select s.id, other.id, other.channel
  from dripdrop.steps as s
  left join dripdrop.steps as other
    on other.sequence_version_id = migration.to_version_id
    and other.key = coalesce(migration.step_map ->> s.key, s.key)
    and other.recurring = s.recurring
  where s.sequence_version_id = migration.from_version_id
$$;

comment on function dripdrop._counterparts(dripdrop._migration) is
  'What each step is in the other version; null when it is gone.';

-- One row per person, at the step they are at. Who was paused while a message was under way is
-- between two steps, with nothing planned: like a message under way, that passes.
create or replace function dripdrop._migrating(migration dripdrop._migration)
returns table (
  enrollment_id uuid,
  step_key text,
  to_step_key text,
  "position" int,
  verdict text
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  counterpart as materialized (
    select c.step_id, s.key, s.position, s.recurring, other.key as to_key
    from dripdrop._counterparts(migration) as c
    join dripdrop.steps as s on s.id = c.step_id
    left join dripdrop.steps as other on other.id = c.to_step_id
  )
  select
    e.id,
    at.key,
    at.to_key,
    at.position,
    case
      when at.under_way or (at.is_over and e.state = 'paused') then 'blocked'
      when not at.is_over and not at.recurring and at.to_key is null then 'skipped'
      else 'moved'
    end
  from dripdrop.enrollments as e
  -- The open message on the way, else the last one that was, else one of a side step.
  left join lateral (
    select
      c.key,
      c.to_key,
      c.position,
      c.recurring,
      x.ended_at is not null and not c.recurring as is_over,
      bool_or(x.state in ('sending', 'unknown')) over () as under_way
    from dripdrop.step_executions as x
    join counterpart as c on c.step_id = x.step_id
    where x.enrollment_id = e.id
    order by c.recurring, x.ended_at desc nulls first, x.id desc
    limit 1
  ) as at on true
  where e.sequence_id = migration.sequence_id
    and e.sequence_version_id = migration.from_version_id
    and e.state in ('active', 'paused')
$$;

comment on function dripdrop._migrating(dripdrop._migration) is
  'Who would be moved, skipped or blocked by a migration, and at which step.';
