-- The pause grows with each failure, from a minute to an hour; what was only locked is looked at
-- again in a second. The warning goes to the client's log, once per row until it gets through.
create or replace function dripdrop._note_fault(
  execution_id uuid,
  stage text,
  sqlstate text,
  message text,
  at timestamptz,
  result jsonb default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_locked boolean := _note_fault.sqlstate = '55P03';
  v_attempts int;
begin
  insert into dripdrop.faults as f (
    execution_id, stage, sqlstate, message, result, first_at, at, until
  )
  values (
    _note_fault.execution_id, _note_fault.stage, _note_fault.sqlstate,
    left(_note_fault.message, 500), _note_fault.result, _note_fault.at, _note_fault.at,
    _note_fault.at + case when v_locked then interval '1 second' else interval '1 minute' end
  )
  on conflict on constraint faults_pkey do update
  set stage = excluded.stage,
      sqlstate = excluded.sqlstate,
      message = excluded.message,
      result = coalesce(excluded.result, f.result),
      attempts = f.attempts + 1,
      at = excluded.at,
      until = excluded.at + case
        when v_locked then interval '1 second'
        else least(interval '1 minute' * power(2, least(f.attempts, 10)), interval '1 hour')
      end
  returning f.attempts into v_attempts;
  if v_attempts = 1 and not v_locked then
    raise warning 'message "%" is held: %', execution_id, left(message, 200) using
      errcode = _note_fault.sqlstate,
      detail = 'stage ' || stage,
      hint = 'explain() shows it; it is tried again by itself, after growing pauses.';
  end if;
end
$$;

comment on function dripdrop._note_fault(uuid, text, text, text, timestamptz, jsonb) is
  'Leaves a row out of the stages for a while, because one of them could not deal with it.';

-- For callers of the protocol: a message of a claim that cannot even be read.
--
-- raises  ZD106 unknown execution, ZD201 unknown stage
create or replace function dripdrop.note_fault(
  execution_id uuid,
  stage text,
  sqlstate text,
  message text
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if stage is null or stage not in ('hooks', 'render', 'send', 'record') then
    raise exception 'stage % is unknown', dripdrop._quoted(stage) using
      errcode = 'ZD201', column = 'stage', hint = 'Use hooks, render, send or record.';
  end if;
  if not exists (
    select from dripdrop.step_executions as x where x.id = note_fault.execution_id
  ) then
    raise exception 'execution "%" not found', execution_id using
      errcode = 'ZD106', hint = 'Pass the execution_id of a claim.';
  end if;
  perform dripdrop._note_fault(
    execution_id, stage,
    case when sqlstate ~ '^[0-9A-Z]{5}$' and sqlstate <> '00000' then sqlstate else 'XX000' end,
    coalesce(message, ''), dripdrop._now()
  );
end
$$;

comment on function dripdrop.note_fault(uuid, text, text, text) is
  'Leaves a message that a stage could not deal with out of all claims for a while: a minute, '
  'doubled each time, to an hour. explain() shows it.';
