-- Whoever waits in between is left for the next call: nobody is waited for.
--
-- locks   enrolments and their executions that are held, skipping what is locked
-- raises  ZD101 unknown sequence, ZD104 unknown step, ZD107 unknown adapter, ZD201 nothing is named
create or replace function dripdrop._held_as_stale(
  tenant_key text,
  sequence text,
  step text,
  adapter text
)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if sequence is null and adapter is null then
    raise exception 'nothing is named' using
      errcode = 'ZD201', column = 'sequence',
      hint = 'Pass an execution_id, a sequence, a sequence and a step of it, or an adapter.';
  end if;
  if sequence is not null and not exists (
    select from dripdrop.sequences as q
    where q.tenant_key is not distinct from _held_as_stale.tenant_key
      and q.key = _held_as_stale.sequence
  ) then
    raise exception 'sequence % not found', dripdrop._quoted(sequence) using
      errcode = 'ZD101', hint = 'Keys are looked up within the tenant that is named first.';
  end if;
  if step is not null and not exists (
    select from dripdrop.steps as s
    join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
    join dripdrop.sequences as q on q.id = v.sequence_id
    where q.tenant_key is not distinct from _held_as_stale.tenant_key
      and q.key = _held_as_stale.sequence
      and s.key = _held_as_stale.step
  ) then
    raise exception 'step % not found', dripdrop._quoted(step) using
      errcode = 'ZD104', hint = 'A step is named together with its sequence.';
  end if;
  if adapter is not null and not exists (
    select from dripdrop.channel_adapters as a
    where (a.tenant_key = _held_as_stale.tenant_key or a.tenant_key is null)
      and a.name = _held_as_stale.adapter
  ) then
    raise exception 'adapter % not found', dripdrop._quoted(adapter) using
      errcode = 'ZD107',
      hint = 'Names are looked up within the tenant, then among the global ones.';
  end if;

  return array(
    select x.id
    from dripdrop.step_executions as x
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where x.waits_for = 'release'
      and x.tenant_key is not distinct from _held_as_stale.tenant_key
      and (
        sequence is null
        or x.step_id in (
          select s.id
          from dripdrop.steps as s
          join dripdrop.sequence_versions as v on v.id = s.sequence_version_id
          join dripdrop.sequences as q on q.id = v.sequence_id
          where q.tenant_key is not distinct from _held_as_stale.tenant_key
            and q.key = _held_as_stale.sequence
            and (s.key = _held_as_stale.step or step is null)
        )
      )
      and (
        adapter is null
        or x.adapter_id in (
          select a.id
          from dripdrop.channel_adapters as a
          where (a.tenant_key = _held_as_stale.tenant_key or a.tenant_key is null)
            and a.name = _held_as_stale.adapter
        )
      )
    order by e.id, x.id
    for no key update of e, x skip locked
  );
end
$$;

comment on function dripdrop._held_as_stale(text, text, text, text) is
  'The messages of a sequence, a step or a sender that their steps'' on_stale holds, locked.';

-- locks   the enrolment, then the execution
-- raises  ZD106 unknown execution, ZD110 not held as stale
create or replace function dripdrop._held_one(tenant_key text, execution_id uuid)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_execution dripdrop.step_executions := dripdrop._lock_execution(tenant_key, execution_id);
begin
  if v_execution.waits_for is distinct from 'release' then
    raise exception 'the execution is %, not held as stale',
      dripdrop._quoted(concat_ws(', ', v_execution.state, v_execution.reason)) using
      errcode = 'ZD110',
      hint = 'resume_enrollment() and resume_sending() lift pauses; replay() repeats what failed.';
  end if;
  return array[v_execution.id];
end
$$;

comment on function dripdrop._held_one(text, uuid) is
  'An execution that its step''s on_stale holds, locked, or an error.';

-- Somebody has looked at them and wants them sent after all: it is as if they were planned for now.
--
-- locks   the enrolments, then the executions, skipping what is locked unless it is named by its id
-- raises  ZD101 unknown sequence, ZD104 unknown step, ZD106 unknown execution, ZD107 unknown
--         adapter, ZD110 not held as stale, ZD201 nothing is named
create or replace function dripdrop.release(
  tenant_key text,
  execution_id uuid default null,
  sequence text default null,
  step text default null,
  adapter text default null
)
returns setof dripdrop.step_executions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_held uuid[] := case
    when execution_id is not null then dripdrop._held_one(tenant_key, execution_id)
    else dripdrop._held_as_stale(tenant_key, sequence, step, adapter)
  end;
begin
  perform dripdrop._make_due(v_held, dripdrop._now());
  return query
  select x.* from dripdrop.step_executions as x where x.id = any (v_held) order by x.id;
end
$$;

comment on function dripdrop.release(text, uuid, text, text, text) is
  'Lets messages go that their steps'' on_stale holds: due now, and no longer stale. One of them, '
  'or those of a sequence, of a step of it, or of a sender (adapter).';

-- locks   as release()
-- raises  as release()
create or replace function dripdrop.skip_held(
  tenant_key text,
  execution_id uuid default null,
  sequence text default null,
  step text default null,
  adapter text default null
)
returns setof dripdrop.step_executions
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_held uuid[] := case
    when execution_id is not null then dripdrop._held_one(tenant_key, execution_id)
    else dripdrop._held_as_stale(tenant_key, sequence, step, adapter)
  end;
begin
  perform dripdrop._end_executions(
    array(
      select dripdrop._as_decision(
        x.id, 'stale', 'skip', 'stale', adapter_id => x.adapter_id, recipient => x.recipient
      )
      from dripdrop.step_executions as x
      where x.id = any (v_held)
    ),
    v_now
  );
  perform dripdrop._advance(v_held, v_now);
  return query
  select x.* from dripdrop.step_executions as x where x.id = any (v_held) order by x.id;
end
$$;

comment on function dripdrop.skip_held(text, uuid, text, text, text) is
  'Leaves out messages that their steps'' on_stale holds; the flow goes on with the next step. '
  'Named as in release().';
