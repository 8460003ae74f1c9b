-- Calls one of our functions (uuid[], timestamptz) for a batch, and where that raises for its
-- halves: the row at fault is left out for a while, the others go on.
--
-- raises  ZD120, 40001, 40P01: no row's fault
create or replace function dripdrop._halved(
  callee text,
  executions uuid[],
  stage text,
  at timestamptz
)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(executions) / 2;
begin
  if cardinality(executions) = 0 then
    return 0;
  end if;
  execute format('select dripdrop.%I($1, $2)', callee) using executions, at;
  return cardinality(executions);
exception
  when sqlstate 'ZD120' or sqlstate '40001' or sqlstate '40P01' then
    raise;
  when others or assert_failure then
    if v_half = 0 then
      perform dripdrop._note_fault(executions[1], stage, sqlstate, sqlerrm, at);
      return 0;
    end if;
    return dripdrop._halved(callee, executions[:v_half], stage, at)
      + dripdrop._halved(callee, executions[v_half + 1:], stage, at);
end
$$;

comment on function dripdrop._halved(text, uuid[], text, timestamptz) is
  'Does something to executions, but for those to which it cannot be done; returns to how many.';

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
